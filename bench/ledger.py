# ruff: noqa: INP001 - a script
"""How many turns a second a ledger takes, by how many turns share a transaction.

    python bench/ledger.py [--seconds 1.0] [--directory DIR]

A turn is what a relay does with a new request: three reads, a request, an attempt
with a certificate of 700 bytes, and two hops. The directory should be on the disk in
question: the time of a small transaction is the time of its fsync.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import (
    AddHop,
    LedgerWriter,
    StoreAttempt,
    StoreRequest,
    Write,
)
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    HopRecord,
    Origin,
    RequestRecord,
    RequestState,
)
from icefloe.storage.ledger import SQLiteLedger

TURNS_PER_TRANSACTION = (1, 2, 4, 8, 16, 32, 64)
CERTIFICATE = bytes(range(256)) * 2 + bytes(188)


def writes_of_turn(number: int) -> list[Write]:
    """Return what turn `number` writes: a request nobody asked for before."""
    at = WallTime(1e9 + number)
    # Ids are digests: they fall anywhere into the indexes, as these do.
    request_id = f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}"
    request = RequestRecord(
        request_id=request_id,
        cn=f"agent{number}.example.org",
        key_id=request_id * 2,
        renews="",
        state=RequestState.FORWARDED,
        created_at=at,
        updated_at=at,
    )
    attempt = AttemptRecord(
        attempt_id=request_id[::-1],
        request_id=request_id,
        fingerprint=request_id * 2,
        certificate=CERTIFICATE,
        ticket=request_id,
        ticket_digest=request_id * 2,
        requestor_ca="",
        origin=Origin.DIRECT,
        via="192.0.2.1",
        state=AttemptState.FORWARDED,
        asked_at=at,
    )
    hops = [
        AddHop(HopRecord(request_id=request_id, node="satellite", did=did, at=at))
        for did in ("received", "forwarded")
    ]
    return [StoreRequest(request), StoreAttempt(attempt), *hops]


def turns_per_second(ledger: LedgerWriter, *, together: int, seconds: float) -> float:
    """Return how many turns a second the ledger takes, `together` in a transaction."""
    done = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        ledger.begin()
        for number in range(done, done + together):
            writes = writes_of_turn(number)
            ledger.request(f"{number}")
            ledger.attempts(f"{number}")
            ledger.open_request_count()
            ledger.apply(writes)
        ledger.commit()
        done += together
    return done / (time.perf_counter() - begun)


def table(make: Callable[[], LedgerWriter], *, seconds: float) -> None:
    """Write one line for each number of turns that share a transaction."""
    first = 0.0
    for together in TURNS_PER_TRANSACTION:
        rate = turns_per_second(make(), together=together, seconds=seconds)
        first = first or rate
        sys.stdout.write(f"{together:8} {rate:12.0f} {rate / first:8.1f}\n")


def main() -> None:
    """Measure both ledgers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each line")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        made: list[SQLiteLedger] = []

        def on_disk() -> SQLiteLedger:
            made.append(SQLiteLedger.open(Path(directory) / str(len(made)) / "ledger"))
            return made[-1]

        sys.stdout.write(f"SQLite in {given.directory or tempfile.gettempdir()}\n")
        sys.stdout.write("together      turns/s    ratio\n")
        table(on_disk, seconds=given.seconds)
        for ledger in made:
            ledger.close()
    sys.stdout.write("memory\n")
    table(MemoryLedger, seconds=given.seconds)


if __name__ == "__main__":
    main()
