"""Lengths of time in words."""

from __future__ import annotations

import pytest

from icefloe.pki.spans import span_text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"),
        (-5, "5 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (7500, "2 h 5 min"),
        (172799, "47 h 59 min"),
        (172800, "2 days"),
        (397 * 86400, "397 days"),
    ],
)
def test_a_span_is_in_words_that_fit_its_size(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
