"""A real terminal for tests: tmux, on a server of the test's own.

What a person would do: type, press keys, read the screen.  Every wait looks for a text
and has a deadline; nothing is taken for granted after a while.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.peer_gate import REQUIRE_VARIABLE, peers_are_required

PATIENCE_SECONDS = 60.0
"""For one text to appear; a loaded machine starts a Python in seconds."""

_LOOK_AGAIN_SECONDS = 0.05

# Ctrl-C is for the program; the shell has to live on to tell how it ended.
_KEEP_CODE = 'trap : INT; "$@"; echo $? > "$0.new"; mv "$0.new" "$0"'
_HISTORY_LINES = 5000


def require_tmux() -> None:
    """Skip a test where there is no tmux; fail where that is forbidden."""
    if shutil.which("tmux") is not None:
        return
    missing = "tmux is not installed (Debian: apt-get install tmux)"
    if peers_are_required():
        pytest.fail(f"{missing}; {REQUIRE_VARIABLE} forbids to skip it", pytrace=False)
    pytest.skip(missing)


class Terminal:
    """A program in a terminal.

    Use it as a context manager: the server, and with it the program, is ended.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        columns: int = 80,
        rows: int = 24,
        term: str = "",
    ) -> None:
        """Start it.

        Args:
            argv: The program.
            environment: All of its environment, but for TERM, which is tmux's.
            columns: Of the terminal.
            rows: Of the terminal.
            term: TERM for the program, when it is not to be tmux's.
        """
        require_tmux()
        self._socket = f"icefloe-test-{os.getpid()}-{secrets.token_hex(4)}"
        self._typed = 0
        kept = {name: text for name, text in environment.items() if name != "TERM"}
        command = ["env", f"TERM={term}", *argv] if term else list(argv)
        self._files = tempfile.TemporaryDirectory(prefix="terminal-")
        self._code = Path(self._files.name) / "code"
        # remain-on-exit: the last screen can still be looked at.  The exit code tmux
        # itself sometimes loses (3.3a).
        self._tmux(
            *("set-option", "-g", "remain-on-exit", "on", ";"),
            *("set-option", "-g", "history-limit", str(_HISTORY_LINES), ";"),
            *("set-option", "-g", "status", "off", ";"),
            *("new-session", "-d", "-x", str(columns), "-y", str(rows)),
            *("--", "sh", "-c", _KEEP_CODE, str(self._code), *command),
            environment=kept,
            start=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server", check=False)
        self._files.cleanup()

    # What a person does.

    def type(self, text: str) -> Self:
        """Type a text, without Enter."""
        self._tmux("send-keys", "-l", "--", text)
        return self

    def press(self, *keys: str) -> Self:
        """Press keys by tmux's names: `Enter`, `C-c`, `Tab`."""
        self._tmux("send-keys", *keys)
        return self

    def enter(self, text: str = "") -> Self:
        """Type a line."""
        if text:
            self.type(text)
        return self.press("Enter")

    def answer(self, question: str, text: str = "") -> Self:
        """Wait for a question, the last thing on the screen, and answer it."""
        self.expect_prompt(question)
        return self.enter(text)

    # What a person sees.

    def screen(self, *, styled: bool = False) -> str:
        """Return what is on the screen now; styled: with its escape sequences."""
        return self._tmux("capture-pane", "-p", *(["-e"] if styled else []))

    def everything(self) -> str:
        """Return the screen and all that has scrolled away above it."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")

    def expect(self, text: str) -> Self:
        """Wait until a text is there, line breaks aside."""
        self._until(lambda: squeezed(text) in squeezed(self.everything()), text)
        return self

    def expect_prompt(self, question: str) -> Self:
        """Wait until a question is what the cursor stands behind."""

        def asked() -> bool:
            return _last_prompt(self.screen()).startswith(question)

        self._until(asked, f"the question '{question}'")
        return self

    def expect_end(self) -> int:
        """Wait until the program has ended; return its exit code."""
        self._until(self._code.exists, "its end")
        return int(self._code.read_text())

    # Inside.

    def _until(self, look: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not look():
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen: {what}\n{self.everything()}")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _tmux(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        start: bool = False,
        check: bool = True,
    ) -> str:
        server = ["-f", os.devnull] if start else []
        done = subprocess.run(
            ["tmux", "-L", self._socket, *server, *words],
            # tmux leaves its socket behind; so it is made where all is taken away.
            env={**(environment or os.environ), "TMUX_TMPDIR": self._files.name},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout


def squeezed(text: str) -> str:
    """Return a text with every run of blanks and line breaks as one blank."""
    return " ".join(text.split())


def _last_prompt(screen: str) -> str:
    """Return the last line that is a question, leaving the hints below it out."""
    lines = [line for line in screen.splitlines() if line.strip()]
    prompts = [line for line in lines if line.rstrip().endswith((":", "]:"))]
    return prompts[-1] if prompts else ""
