"""The command as its user meets it: exit codes, one sentence on standard error, what is printed."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from export.cli import main
from export.errors import UsageError
from export.report import TrainingReport
from tests.export.conftest import FEATURES

CsvFile = Callable[..., Path]


def flat(text: str) -> str:
    """Without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def test_train_and_inspect_from_end_to_end(machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "m.onnx")
    options = ["--entity", "machine", "--timestamp", "time", "--window", "16", "--epochs", "2", "--name", "mill"]
    assert main(["train", "--data", str(machines), "--output", output, *options]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "about 4.3 a day at 4,323 events a day, all 3 entities together" in flat(told.out)
    assert "left out remark (text)" in flat(told.out)
    assert main(["inspect", output]) == 0
    shown = flat(capsys.readouterr().out)
    assert "mill, version 1, for sensor events" in shown
    assert "(verified)" in shown
    assert all(name in shown for name in FEATURES)


def test_inspect_as_json_is_the_manifest(trained: TrainingReport, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained.output), "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["digest"] == trained.digest
    assert [feature["name"] for feature in manifest["features"]] == list(FEATURES)


def test_a_damaged_or_foreign_file_is_refused_with_exit_code_3(
    trained: TrainingReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(trained.output.read_bytes())
    content[len(content) // 2] ^= 1
    for name, bad in (("bit", bytes(content)), ("half", bytes(content[:9000])), ("text", b"hello"), ("empty", b"")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(bad)
        assert main(["inspect", str(path)]) == 3
        sentence = capsys.readouterr().err
        assert sentence.startswith(f"anomaly-export: {path} is no sound artifact: ")
        assert sentence.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "anomaly-export: The following arguments are required: COMMAND; see anomaly-export --help."),
        (["convert"], "anomaly-export: Argument COMMAND: invalid choice: 'convert'"),
        (["train"], "--data is required"),
        (
            ["train", "--data", "a.csv", "--output", "a.onnx", "--windw", "3"],
            "anomaly-export: Unrecognized arguments: --windw",
        ),
        (["train", "--data", "absent.csv", "--output", "a.onnx"], "absent.csv: there is no such file"),
        (["inspect", "absent.onnx"], "absent.onnx cannot be read: No such file"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err
    assert told.err.endswith(".\n")
    assert told.err.count("\n") == 1


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"anomaly-export {version('anomaly-worker')}\n"


def test_bad_content_is_exit_code_1(csv_file: CsvFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = csv_file("t,x", "5,1", "4,1")
    output = tmp_path / "x.onnx"
    assert main(["train", "--data", str(path), "--timestamp", "t", "--output", str(output)]) == 1
    assert (
        capsys.readouterr().err
        == "anomaly-export: some.csv, row 2: the timestamp goes back by 1 s; sort the rows by time.\n"
    )
    assert not output.exists()


def test_debug_shows_where(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        main(["inspect", str(tmp_path / "absent.onnx"), "--debug"])


def test_help_teaches_by_examples_and_loads_no_torch() -> None:
    script = (
        "import sys; from export.cli import main\n"
        "assert main(['--help']) == main(['train', '--help']) == main(['inspect', 'absent.onnx']) - 2 == 0\n"
        "assert main(['evaluate', '--help']) == 0\n"
        "assert not {'torch', 'onnxruntime', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "anomaly-export train --data machines.csv --entity machine" in done.stdout
    assert "example:" in done.stdout


def test_sigterm_ends_a_training_in_good_order() -> None:
    script = (
        "import sys, time\n"
        "from export import cli\n"
        "def train(config, watch):\n"
        "    try:\n"
        "        print('at work', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally: print('tidied', flush=True)\n"
        "cli._trainer = lambda: train\n"
        "sys.exit(cli.main(['train', '--data', 'a.csv', '--output', 'a.onnx']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == b"at work\n"
        training.terminate()
        assert training.communicate(timeout=20) == (b"tidied\n", b"")
    assert training.returncode == 143
