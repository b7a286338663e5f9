from __future__ import annotations

import os
import subprocess
import sys

import pytest

from icefloe.lab.cpu import NoSuchProcess, cpu_seconds, cpu_seconds_of

BURN = """
import sys, time
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
sys.stdin.readline()
"""
PARENT = f"""
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", {BURN!r}], stdin=subprocess.PIPE) as child:
    print(child.pid, flush=True)
    sys.stdin.readline()
    child.communicate()
print("reaped", flush=True)
sys.stdin.readline()
"""


def test_what_a_process_spends_is_counted() -> None:
    before = cpu_seconds(os.getpid())
    done = os.times()
    while os.times().user - done.user < 0.1:
        pass
    assert cpu_seconds(os.getpid()) - before >= 0.09


def test_children_count_while_they_live_and_after_they_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        child = int(process.stdout.readline())
        while cpu_seconds(child) < 0.3:
            pass
        assert cpu_seconds(process.pid) >= 0.3
        process.stdin.write("end\n")
        process.stdin.flush()
        assert process.stdout.readline() == "reaped\n"
        assert cpu_seconds(process.pid) >= 0.3
        process.communicate("end\n")


def test_a_process_that_is_not_there_is_named() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        with pytest.raises(NoSuchProcess, match=str(process.pid)):
            cpu_seconds_of([os.getpid(), process.pid])
