"""Run as a program: one of several that switch one node's identity at the same time.

    python switch_writers.py DATA_DIR NUMBER TIMES

Switches to a pair of its own, again and again, and checks each time that what is in
place then is one pair.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pki.makers import AGENT, NOW, ec_key, leaf_made_by_us
from tests.storage.material import CA, CA_KEY
from tests.storage.switches import files_in, journal_in

from icefloe.pki.certificates import to_pem
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.identity import load_identity
from icefloe.storage.keys import encode_private_key


def main(root: Path, number: int, times: int) -> None:
    """Switch."""
    files = files_in(root)
    for time in range(times):
        key = ec_key(1000 * number + time + 100)
        leaf = leaf_made_by_us(CA, CA_KEY, key=key, serial=1000 * number + time + 1)
        journal = journal_in(root)
        journal.switch(
            [
                (files.key, encode_private_key(key), 0o600),
                (files.certificate, to_pem(leaf).encode(), 0o644),
            ],
            files=files,
            node_name=AGENT,
            at=NOW,
        )
        # A reader that wants both parts of one moment.
        with locked_directories([files.key], patience_seconds=50):
            load_identity(root / "certs", AGENT)
        journal.confirm(NOW)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
