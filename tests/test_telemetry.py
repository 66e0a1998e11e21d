"""Nothing is told to anybody: ONNX Runtime keeps what it would send in the user's home, which stays empty."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.artifacts import make_artifact
from tests.broker import CHECKOUT

RUNS = {
    "worker": "from worker.runtime import Runtime; import onnx; Runtime('cpu', threads=1).network("
    "onnx.load({model!r}), ['score', 'p_value'], row_values=2)",
    "export": "from export.parity import runtime_session; runtime_session(open({model!r}, 'rb').read())",
}


@pytest.mark.parametrize("package", RUNS)
def test_no_telemetry_is_written_or_sent(tmp_path: Path, package: str) -> None:
    model, home = tmp_path / "model.onnx", tmp_path / "home"
    make_artifact(model, features=("x", "y"), window=1)
    home.mkdir()
    # A variable CI would silence it too.
    ours = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    program = RUNS[package].format(model=str(model))
    subprocess.run(
        [sys.executable, "-c", program],
        env={**ours, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
        cwd=CHECKOUT,
        check=True,
    )
    assert list(home.rglob("*")) == []
