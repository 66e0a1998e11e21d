"""Work beside each other: what comes of it, what is raised, and that no process outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import pytest

from export.errors import DataError, ExportError
from export.processes import beside_each_other


def doubled(number: int) -> int:
    return 2 * number


def refused(number: int) -> int:
    if number == 3:
        raise DataError("three is refused.")
    time.sleep(60)
    return number


def killed(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_what_is_made_of_each_piece_comes() -> None:
    made = list(beside_each_other(doubled, range(9), processes=2))
    assert sorted(made) == [2 * number for number in range(9)]
    assert not active_children()


def test_what_the_work_raises_is_raised_and_the_rest_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match="three is refused"):
        list(beside_each_other(refused, [1, 3, 4], processes=2))
    assert time.monotonic() - began < 40
    assert not active_children()


def test_a_process_that_was_killed_is_told_with_the_remedy() -> None:
    with pytest.raises(ExportError, match="most likely killed for want of memory: give fewer --jobs"):
        list(beside_each_other(killed, [1, 2], processes=2))


ENDLESS = """
import signal, sys, time
from pathlib import Path
from export.processes import beside_each_other

def endless(name):
    Path(name).touch()
    time.sleep(120)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have told to ignore it
    list(beside_each_other(endless, sys.argv[1:], processes=2))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_parent(by: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS, encoding="utf-8")
    marks = [tmp_path / "one", tmp_path / "two"]
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "endless.py"), *map(str, marks)], stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(lambda: all(mark.exists() for mark in marks))
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text(encoding="ascii").split()
        assert len(children) >= 2
        parent.send_signal(by)
        parent.wait(20)
        _wait_for(lambda: not any(map(_is_alive, children)))
    finally:
        parent.kill()
        parent.wait()


def _is_alive(pid: str) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for(is_so: Callable[[], bool], timeout_s: float = 40.0) -> None:
    ends = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.05)
