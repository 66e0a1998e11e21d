"""When a training job's last step replaces the running model. `anomaly-export evaluate` is played: a file is a figure.

The whole job, with the real commands, is in test_on_a_broker.py.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helm.chart import CHART

SCRIPT = CHART / "files" / "replace_if_not_worse.py"
EVALUATE = f"""#!{sys.executable}
import json, sys
assert sys.argv[1] == "evaluate" and sys.argv[3:7] == ["--data=labelled.csv", "--metric", "vus-pr", "--json"]
figure = open(sys.argv[2]).read()
if figure == "broken":
    sys.exit(3)
open(sys.argv[7], "w").write(json.dumps({{"scores": {{"causal": {{"overall": {{"vus_pr": json.loads(figure)}}}}}}}}))
"""

Judge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Runs the step on two models, each of which is its own figure."""
    program = tmp_path / "anomaly-export"
    program.write_text(EVALUATE, encoding="utf-8")
    program.chmod(0o755)

    def run(*, running: str | None, new: str, slack: str = "0") -> subprocess.CompletedProcess[str]:
        if running is not None:
            (tmp_path / "running.onnx").write_text(running, encoding="utf-8")
        (tmp_path / "new.onnx").write_text(new, encoding="utf-8")
        options = [f"--{name}={tmp_path / name}.onnx" for name in ("new", "running")]
        command = [sys.executable, SCRIPT, *options, "--figure=vus_pr", f"--slack={slack}", "--data=labelled.csv"]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("running", "new", "slack"), [("0.5", "0.6", "0"), ("0.5", "0.5", "0"), ("0.5", "0.49", "0.02"), (None, "0.1", "0")]
)
def test_a_model_that_is_no_worse_takes_the_place(
    judge: Judge, tmp_path: Path, running: str | None, new: str, slack: str
) -> None:
    done = judge(running=running, new=new, slack=slack)
    assert done.returncode == 0, done.stderr
    assert "is the new model" in done.stdout
    assert (tmp_path / "running.onnx").read_text() == new
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize(("new", "slack"), [("0.49", "0"), ("0.47", "0.02")])
def test_a_worse_model_does_not_and_is_no_failure(judge: Judge, tmp_path: Path, new: str, slack: str) -> None:
    done = judge(running="0.5", new=new, slack=slack)
    assert done.returncode == 0
    assert f"The new model is worse (vus_pr {float(new):.4f}, before 0.5000)" in done.stdout
    assert (tmp_path / "running.onnx").read_text() == "0.5"


@pytest.mark.parametrize(
    ("running", "new", "told"),
    [
        ("0.5", "broken", "new.onnx could not be judged"),
        ("broken", "0.5", "running.onnx could not be judged"),
        ("0.5", "null", "no vus_pr"),
    ],
)
def test_one_that_cannot_be_judged_does_not_and_is_told(
    judge: Judge, tmp_path: Path, running: str, new: str, told: str
) -> None:
    done = judge(running=running, new=new)
    assert done.returncode == 1
    assert told in done.stderr
    assert "the running model stays" in done.stderr
    assert (tmp_path / "running.onnx").read_text() == running
