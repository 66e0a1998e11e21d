"""The command line as a user meets it: help that teaches, one sentence for each fault, exit codes, no secrets."""

import csv
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml

from schemas.score_record import ScoreRecord
from tests.artifacts import make_artifact
from tests.broker import free_port
from tests.log_record import LogRecord
from tests.topics import write_records
from worker.cli import main
from worker.demo.cluster import embedded_cluster
from worker.settings_file import HIDDEN

COMMANDS = ("run", "check", "capture", "score", "fetch", "demo", "settings")
CANARY = "canary-3f1c"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of the machine's, a folder of one's own, and logging as it was."""
    for name in list(os.environ):
        if name.startswith("ANOMALY_WORKER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "machine.onnx", features=("x", "y"), window=4)


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Callable[..., str]:
    """Writes worker.yaml; brokers are out of reach unless told otherwise."""

    def config(kafka: dict[str, object] | None = None, **sections: object) -> str:
        needed = {
            "bootstrap_servers": f"127.0.0.1:{free_port()}",
            "group_id": "machines",
            "input_topics": ["events"],
            "output_topic": "scores",
            "dead_letter_topic": "dead-letters",
            "start_timeout_s": 0.3,
        }
        given = {
            "model": {"uri": str(model)},
            "kafka": needed | (kafka or {}),
            "start": "earliest",
            "inference": {"provider": "cpu"},
            "http": {"port": None},
        }
        path = tmp_path / "worker.yaml"
        path.write_text(yaml.safe_dump(given | sections))
        return str(path)

    return config


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """The one sentence that was said at the end; log lines may stand before it."""

    def said() -> str:
        told = capfd.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err
        *before, last = told.err.splitlines()
        assert last.startswith("anomaly-worker: ")
        assert all(line.startswith("{") for line in before)
        return last

    return said


def ended(*argv: str) -> int:
    """The exit code where the parser ends it."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    return end.value.code


# --- help


def test_help_names_every_command_the_first_steps_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--help") == 0
    told = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command} " in told
    assert "anomaly-worker demo" in told
    assert "exit codes: 0 done" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_teaches_by_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(command, "--help") == 0
    usage, _, lesson = capsys.readouterr().out.partition("example")
    assert f"usage: anomaly-worker {command}" in usage
    assert f"anomaly-worker {command}" in lesson


def test_help_loads_no_runtime_and_no_file_readers() -> None:
    program = "import sys; from worker.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += "print([name for name in ('torch', 'onnxruntime', 'pyarrow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"anomaly-worker {version('anomaly-worker')}\n"


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["run", "--nonsense"], ["run", "extra"], ["score"], ["capture"], ["run", "--config"]]
)
def test_wrong_use_is_exit_code_2_and_says_what_is_right(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(*argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"(anomaly-worker( \w+)?): [A-Z].+; see \1 --help\.\n", told.err)


def test_a_wrong_argument_is_told_with_what_it_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("capture", "--output", "a.csv", "--last", "7") == 2
    assert capsys.readouterr().err == (
        "anomaly-worker capture: Argument --last: '7' is no span of time such as 90s, 15m, 12h, 7d or 2w;"
        " see anomaly-worker capture --help.\n"
    )


@pytest.mark.parametrize("sample", ["0", "-3", "many"])
def test_a_sample_has_at_least_one_event(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("check", f"--sample={sample}") == 2
    assert f"Argument --sample: '{sample}' is not a whole number above 0; see" in capsys.readouterr().err


# --- settings that are wrong


@pytest.mark.parametrize("command", ["run", "check", "settings"])
def test_a_missing_settings_file_is_named(command: str, said: Callable[[], str]) -> None:
    assert main([command, "--config", "nowhere.yaml"]) == 2
    assert "nowhere.yaml cannot be read" in said()


def test_without_settings_every_required_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("anomaly-worker: model.uri is required")
    assert any(line.startswith("kafka.group_id is required") for line in told)


@pytest.mark.parametrize("command", ["run", "check", "settings"])
def test_an_unknown_setting_is_told_with_the_nearest(
    command: str, config: Callable[..., str], said: Callable[[], str]
) -> None:
    assert main([command, "--config", config(batch={"max_event": 5})]) == 2
    assert "batch.max_events" in said()


def test_a_file_that_is_no_yaml_is_a_wrong_setting(said: Callable[[], str]) -> None:
    Path("worker.yaml").write_text("kafka: [")
    assert main(["run", "--config", "worker.yaml"]) == 2
    assert "worker.yaml" in said()


def test_debug_shows_where_an_error_came_from_and_ends_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", "nowhere.yaml", "--debug"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.splitlines()[-1].startswith("anomaly-worker: ")


# --- settings


def test_settings_are_printed_as_yaml_with_defaults_and_variables(
    config: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANOMALY_WORKER_BATCH__MAX_EVENTS", "512")
    assert main(["settings", "--config", config()]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["batch"] == {"max_events": 512, "max_wait_ms": 50}
    assert printed["kafka"]["group_id"] == "machines"
    assert printed["delivery"] == "exactly-once"


def test_settings_never_print_a_secret(
    config: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("password").write_text(CANARY)
    monkeypatch.setenv("SECRET", CANARY)
    properties = {
        "sasl.password": CANARY,
        "ssl.key.pem": CANARY,
        "sasl.username": "${file:password}",
        "client.id": "${env:SECRET}",
    }
    assert main(["settings", "--config", config({"properties": properties})]) == 0
    told = capfd.readouterr()
    assert yaml.safe_load(told.out)["kafka"]["properties"] == dict.fromkeys(properties, HIDDEN)
    assert CANARY not in told.out + told.err


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_fault_beside_a_secret_does_not_print_it(
    options: list[str], config: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    path = config({"properties": {"sasl.password": CANARY, "enable.auto.commit": CANARY}, "group_id": 5})
    assert main(["settings", "--config", path, *options]) == 2
    told = capfd.readouterr()
    assert "kafka.group_id" in told.err
    assert CANARY not in told.out + told.err


# --- at work


def test_a_model_that_is_not_there_is_exit_code_3(
    config: Callable[..., str], model: Path, said: Callable[[], str]
) -> None:
    path = config()
    model.unlink()
    assert main(["run", "--config", path]) == 3
    assert "machine.onnx" in said()


@pytest.mark.parametrize(
    "command",
    [["capture", "--max-events", "5", "--output", "events.csv"], ["check"], ["run"]],
    ids=lambda argv: argv[0],
)
def test_a_property_that_librdkafka_refuses_is_exit_code_2(
    command: list[str], config: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--config", config({"properties": {"no.such": 1}})]) == 2
    told = capfd.readouterr()
    assert "no.such" in told.out + told.err
    assert "Traceback" not in told.out + told.err


@pytest.mark.parametrize("command", [["capture", "--max-events", "5", "--output", "events.csv"], ["check"]])
def test_brokers_out_of_reach_are_exit_code_1(
    command: list[str], config: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--config", config()]) == 1
    told = capfd.readouterr()
    assert "bootstrap_servers" in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_a_worker_without_brokers_ends_with_exit_code_1(config: Callable[..., str]) -> None:
    done = subprocess.run(_command("run", "--config", config()), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    *log, sentence = done.stderr.splitlines()
    assert "kafka.bootstrap_servers" in sentence
    assert sentence.startswith("anomaly-worker: No broker answered")
    assert all(json.loads(line)["level"] for line in log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_still_waits_for_brokers_ends_it_in_good_order(
    config: Callable[..., str], number: signal.Signals
) -> None:
    path = config({"start_timeout_s": 60}, http={"port": 0})
    with subprocess.Popen(_command("run", "--config", path), stderr=subprocess.PIPE, text=True) as worker:
        assert "/livez" in worker.stderr.readline()
        worker.send_signal(number)
        _, told = worker.communicate(timeout=20)
        assert worker.returncode == 0, told
        assert "Traceback" not in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_there_is_a_worker_ends_it_in_good_order(number: signal.Signals) -> None:
    os.mkfifo("worker.yaml")
    with subprocess.Popen(_command("run", "--config", "worker.yaml"), stderr=subprocess.PIPE, text=True) as worker:
        # It is about to read: a signal right before a read begins is heard once the read ends, which the file does now.
        with Path("worker.yaml").open("w"):
            worker.send_signal(number)
        _, told = worker.communicate(timeout=20)
    assert (worker.returncode, told) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_is_read_ends_it_in_good_order(
    config: Callable[..., str], tmp_path: Path, number: signal.Signals
) -> None:
    pipe = tmp_path / "slow.onnx"
    os.mkfifo(pipe)
    path = config(model={"uri": str(pipe)})
    with subprocess.Popen(_command("run", "--config", path), stderr=subprocess.PIPE, text=True) as worker:
        with pipe.open("wb"):  # returns once the worker has opened it
            worker.send_signal(number)
        _, told = worker.communicate(timeout=20)
    assert (worker.returncode, told) == (0, "")


def _command(*argv: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from worker.cli import main; sys.exit(main())", *argv]


# --- score and capture


@pytest.fixture
def data() -> str:
    """A machine's values, of which one is far off."""
    values = np.random.default_rng(1).normal(size=(40, 2))
    values[30] = 50
    with Path("events.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["host", "time", "x", "y"])
        writer.writerows(["pump-1", 1_700_000_000_000 + 1000 * row, *pair] for row, pair in enumerate(values.tolist()))
    return "events.csv"


def test_a_file_is_scored_with_nothing_but_a_model(model: Path, data: str, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--model", str(model), "--data", data, "--entity", "host", "--timestamp", "time", "--provider", "cpu"]
    assert main(["score", *options, "--output", "scores.ndjson"]) == 0
    records = [ScoreRecord.model_validate_json(line) for line in Path("scores.ndjson").read_text().splitlines()]
    assert [record.source.offset for record in records] == list(range(40))
    assert {record.entity for record in records} == {"pump-1"}
    assert records[30].is_anomaly
    assert not any(record.is_anomaly for record in records[:30])
    assert "scored 40" in capfd.readouterr().err


def test_score_asks_which_model(data: str, said: Callable[[], str]) -> None:
    assert main(["score", "--data", data, "--output", "scores.ndjson"]) == 2
    assert "--model" in said()


def test_a_damaged_model_is_exit_code_3(model: Path, data: str, said: Callable[[], str]) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    assert main(["score", "--model", str(model), "--data", data, "--output", "scores.ndjson"]) == 3
    assert "machine.onnx" in said()
    assert not Path("scores.ndjson").exists()


def test_what_is_captured_from_topics_can_be_scored(
    config: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    with embedded_cluster(["events", "scores", "dead-letters"]) as bootstrap:
        write_records(
            bootstrap,
            [
                LogRecord("events", 0, -1, 1_700_000_000_000 + row, b"pump-1", b'{"x":1,"y":%d}' % row)
                for row in range(9)
            ],
        )
        path = config({"bootstrap_servers": bootstrap, "start_timeout_s": 10})
        assert main(["capture", "--config", path, "--max-events", "9", "--output", "captured.csv"]) == 0
    assert main(["score", "--config", path, "--data", "captured.csv", "--output", "scores.ndjson"]) == 0
    assert len(Path("scores.ndjson").read_text().splitlines()) == 9
    assert "wrote 9 rows" in capfd.readouterr().err


# --- ended by a signal


def _seen(path: Path) -> bool:
    """Whether it appears within some seconds."""
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    return path.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_score_and_nothing_half_written_stays(model: Path, number: signal.Signals, code: int) -> None:
    Path("long.ndjson").write_text('{"x":1,"y":2}\n' * 1_000_000)
    before = set(Path().iterdir())
    options = ["--model", str(model), "--data", "long.ndjson", "--provider", "cpu", "--output", "scores.ndjson"]
    with subprocess.Popen(_command("score", *options), stderr=subprocess.PIPE, text=True) as score:
        assert _seen(Path(".scores.ndjson.dead.ndjson.partial"))
        score.send_signal(number)
        _, told = score.communicate(timeout=20)
    assert (score.returncode, told) == (code, "")
    assert set(Path().iterdir()) == before


def test_sigterm_ends_capture_and_nothing_half_written_stays(config: Callable[..., str]) -> None:
    with embedded_cluster(["events", "scores", "dead-letters"]) as bootstrap:
        event = LogRecord("events", 0, -1, 1_700_000_000_000, b"pump-1", b'{"x":1,"y":2}')
        write_records(bootstrap, [event] * 100_000)
        options = [
            "--config",
            config({"bootstrap_servers": bootstrap, "start_timeout_s": 10}),
            "--max-events",
            "100000",
        ]
        before = set(Path().iterdir())
        with subprocess.Popen(
            _command("capture", *options, "--output", "events.csv"), stderr=subprocess.PIPE
        ) as capture:
            assert _seen(Path(".events.csv.partial"))
            capture.terminate()
            _, told = capture.communicate(timeout=20)
        assert (capture.returncode, told) == (143, b"")
        assert set(Path().iterdir()) == before


def test_sigterm_ends_a_check_that_waits_for_brokers(config: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        argv = _command("check", "--config", config({"bootstrap_servers": servers, "start_timeout_s": 60}))
        with subprocess.Popen(argv, stderr=subprocess.PIPE) as check:
            silent.accept()[0].close()
            check.terminate()
            _, told = check.communicate(timeout=20)
    assert (check.returncode, told) == (143, b"")
