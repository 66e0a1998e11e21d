import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import worker.demo.machines
from worker.cli import main
from worker.demo.configuration import AT_LEAST_ONCE, EXACTLY_ONCE, worker_yaml
from worker.demo.journey import ALARM_RATE
from worker.errors import ExitCode
from worker.settings_file import load_settings

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [str(Path(sys.executable).with_name("anomaly-worker")), "demo", "--events-per-second"]
FAST, SLOW = [*COMMAND, "100000"], [*COMMAND, "500"]


@pytest.mark.parametrize("delivery", [AT_LEAST_ONCE, EXACTLY_ONCE])
def test_the_settings_that_the_demo_writes_are_settings_of_a_worker(tmp_path: Path, delivery: str) -> None:
    config = tmp_path / "worker.yaml"
    config.write_text(worker_yaml(model="m.onnx", bootstrap="127.0.0.1:1", delivery=delivery, http_port=0))
    settings = load_settings(config, environ={})
    assert settings.delivery == delivery
    assert settings.events.entity == "server"


def test_without_the_example_files_one_sentence_says_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker.demo.machines, "__file__", str(tmp_path / "a" / "b" / "machines.py"))
    assert main(["demo"]) == ExitCode.WRONG_USE
    assert capsys.readouterr().err.count("\n") == 1


def test_an_output_that_cannot_be_a_folder_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--output", str(tmp_path / "file")]) == ExitCode.WRONG_USE
    said = capsys.readouterr().err
    assert "--output" in said
    assert said.count("\n") == 1


@pytest.mark.timeout(600)  # half a minute on a free machine; a busy one takes longer
def test_the_demo_goes_from_training_to_a_picture_shows_every_command_and_finds_what_the_page_says(
    tmp_path: Path,
) -> None:
    output = tmp_path / "demo"  # outside the checkout, where users may want it too
    done = subprocess.run(
        [*FAST, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("anomaly-export train", "anomaly-export inspect", "anomaly-worker run", "anomaly-worker capture"):
        assert f"$ {command}" in done.stdout
    assert "25,920 of 25,920 events scored; SIGTERM ended the worker: exit code 0." in done.stdout
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (output / "report.html").read_text()
    # Another processor rounds otherwise, and the network is a little another one.
    (found,) = re.findall(r"autoencoder\D+(\d+) of 39\D+(\d+\.\d+)", done.stdout)
    assert [float(count) for count in found] == pytest.approx(counts_on_the_training_page(), rel=0.1, abs=0.05)


def counts_on_the_training_page() -> list[float]:
    """Incidents found and false episodes a server and day, at the alarm rate of the demo."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `ae` \| {ALARM_RATE} \| (\d+) \| (\d+\.\d+) \|$", page, re.MULTILINE)
    return [float(count) for count in row]


@pytest.mark.parametrize(
    ("moment", "number"), [("$ anomaly-export train", signal.SIGINT), ("events in,", signal.SIGTERM)]
)
def test_an_interrupted_demo_leaves_nothing_running(moment: str, number: signal.Signals) -> None:
    # Where the tests run in the background of a shell, SIGINT is ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    demo = subprocess.Popen(
        [*SLOW, "--output", str(ROOT / "build" / "demo-test-interrupted")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a process group of its own, to look for what is left of it
    )
    signal.signal(signal.SIGINT, before)
    assert demo.stdout is not None
    for text in demo.stdout:
        if moment in text:
            break
    time.sleep(1)
    demo.send_signal(number)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number
    assert "Nothing is left running." in said
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
