import contextlib
import io
import os
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.http_server import Handler, serving
from worker.demo.commands import WorkerProcess, free_port, run, wait_until_ready, worker
from worker.errors import WorkerError


def python(code: str) -> list[str]:
    return [Path(sys.executable).name, "-c", code]


def start(tmp_path: Path, code: str, output: io.StringIO | None = None):  # noqa: ANN201 - contextlib's own type
    console = Console(file=output or io.StringIO(), width=120)
    return worker(console, python(code), folder=tmp_path, log=tmp_path / "log", environment=os.environ)


def alive(running: WorkerProcess) -> bool:
    try:
        os.kill(running.pid, 0)
    except ProcessLookupError:
        return False
    return True


SLEEPS = "import time; time.sleep(60)"


def test_a_command_is_printed_before_it_runs_in_its_folder(tmp_path: Path) -> None:
    output = io.StringIO()
    run(Console(file=output, width=120), python("open('made','w')"), folder=tmp_path)
    assert "$ python" in output.getvalue()
    assert (tmp_path / "made").exists()


def test_a_pattern_names_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "other.txt"):
        (tmp_path / name).touch()
    code = "import sys; open('seen','w').write(' '.join(sys.argv[1:]))"
    run(Console(file=io.StringIO()), [*python(code), "*.csv"], folder=tmp_path)
    assert shlex.split((tmp_path / "seen").read_text()) == ["a.csv", "b.csv"]


def test_a_command_that_fails_ends_the_demo(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="exit code 3"):
        run(Console(file=io.StringIO()), python("raise SystemExit(3)"), folder=tmp_path)


def test_a_command_that_is_not_installed_is_named() -> None:
    with pytest.raises(WorkerError, match="no-such-program is not installed"):
        run(Console(file=io.StringIO()), ["no-such-program", "x"], folder=Path())


def test_a_worker_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    with start(tmp_path, SLEEPS) as running:
        assert alive(running)
    assert not alive(running)


def test_a_worker_is_gone_when_its_block_fails(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), start(tmp_path, SLEEPS) as running:
        raise KeyboardInterrupt
    assert not alive(running)


def test_a_worker_that_ends_before_it_is_ready_is_reported_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; sys.exit('no such topic')"
    with start(tmp_path, code) as running, pytest.raises(WorkerError, match="exit code 1: no such topic"):
        wait_until_ready(running, free_port())


def test_a_worker_is_ready_when_its_page_says_so(tmp_path: Path) -> None:
    class Ready(Handler):
        answers = iter([503, 503, 200])

        def do_GET(self) -> None:
            self.send_response(next(self.answers))
            self.end_headers()

    with serving(Ready) as port, start(tmp_path, SLEEPS) as running:
        assert wait_until_ready(running, port) < 10
