"""Look for new inputs with atheris: what `make fuzz` does.

For each target: fuzz for a bounded time from its seeds, its committed corpus and what
earlier campaigns found (`.fuzz/`, not committed); then choose the fewest inputs that
cover most and put them into the corpus.  What fails is made small and kept as
`crash-...`: the replay in `make test` fails until it is mended.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import corpus, targets
from tests.fuzz.coverage_of import fewest
from tests.fuzz.shrinking import failure_of, shrunk
from tests.fuzz.targets import Target
from tests.source_tree import ROOT

WORK = ROOT / ".fuzz"

INPUT_SECONDS_MAX = 30
MEMORY_MB_MAX = 1024

_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one target's campaign came to.

    Attributes:
        executed: Inputs tried.
        steps: Steps through Icefloe that all kept inputs take together.
        kept: Inputs of the corpus that coverage chose.
        crashes: Files of inputs that fail; the log when it failed without one.
    """

    executed: int
    steps: int
    kept: int
    crashes: tuple[Path, ...]


def main() -> int:
    """Run the campaigns that the command line names; 1 when something failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    wanted = parser.parse_args()
    unknown = set(wanted.targets) - set(targets.NAMES)
    if unknown:
        parser.error(f"no such target; there are {', '.join(targets.NAMES)}")
    failed = False
    for name in wanted.targets or targets.NAMES:
        target = targets.load(name)
        outcome = run(target, wanted.seconds)
        failed |= bool(outcome.crashes)
        print(
            f"{name:>18}: {outcome.executed:>9,} executions,"
            f" {outcome.steps:>5,} steps, {outcome.kept:>3} inputs kept",
            flush=True,
        )
        for crash in outcome.crashes:
            print(f"{'':>18}  FAILED: {crash.relative_to(ROOT)}", flush=True)
    return int(failed)


def run(target: Target, seconds: int) -> Outcome:
    """Fuzz one target, keep what is new."""
    work = WORK / target.name
    found, seeds, failing = work / "found", work / "seeds", work / "failing"
    for directory in (found, seeds, failing):
        directory.mkdir(parents=True, exist_ok=True)
    for name, data in target.seeds.items():
        (seeds / name).write_bytes(data)
    committed = corpus.ROOT / target.name
    committed.mkdir(parents=True, exist_ok=True)
    log = work / "log"
    memory = Path("/dev/shm")
    with (
        log.open("wb") as sink,
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place,
    ):
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.atheris_run", target.name),
                *(f"-max_total_time={seconds}", f"-max_len={target.bytes_max}"),
                *(f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}"),
                *(f"-artifact_prefix={failing}/", "-print_final_stats=1"),
                *map(str, (found, seeds, committed)),
            ],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": place},
            stdout=sink,
            stderr=subprocess.STDOUT,
            check=False,
        )
    executed = _EXECUTED.search(log.read_text(errors="replace"))
    crashes = tuple(_keep(target, path) for path in sorted(failing.iterdir()))
    if ended.returncode != 0 and not crashes:
        crashes = (log,)  # it did not even begin
    steps, kept = choose(target, found)
    return Outcome(int(executed[1]) if executed else 0, steps, kept, crashes)


def choose(target: Target, found: Path) -> tuple[int, int]:
    """Choose the corpus anew; return its steps and its number of inputs."""
    named = [path for path in corpus.files(target.name) if not corpus.is_chosen(path)]
    chosen = [path for path in corpus.files(target.name) if corpus.is_chosen(path)]
    candidates = [path.read_bytes() for path in [*chosen, *found.iterdir()]]
    covered = [*target.seeds.values(), *(path.read_bytes() for path in named)]
    inputs, steps = fewest(
        target.check,
        [data for data in candidates if _passes(target, data)],
        covered=[data for data in covered if _passes(target, data)],
    )
    return steps, corpus.replace_chosen(target.name, inputs)


def _passes(target: Target, data: bytes) -> bool:
    return failure_of(target.check, data) is None


def _keep(target: Target, artifact: Path) -> Path:
    """Make a failing input small and put it into the corpus."""
    data = artifact.read_bytes()
    kind = artifact.name.partition("-")[0]  # crash, timeout, oom
    if kind == "crash":
        failure = failure_of(target.check, data)
        kind = failure[0] if failure is not None else "unrepeatable"
        data = shrunk(target.check, data)
    artifact.unlink()
    return corpus.keep_crash(target.name, kind, data)


if __name__ == "__main__":
    sys.exit(main())
