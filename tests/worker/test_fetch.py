"""`anomaly-worker fetch`: the model of the settings becomes a local file, or stays where it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from schemas.artifact import verified_digest
from tests.artifacts import make_artifact
from worker.cli import main

Fetch = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "there.onnx")


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    def run(uri: str, output: Path, sha256: str | None = None) -> int:
        settings = {
            "model": {"uri": uri, "sha256": sha256},
            "kafka": {
                "bootstrap_servers": "localhost:9092",
                "group_id": "machines",
                "input_topics": ["events"],
                "output_topic": "scores",
                "dead_letter_topic": "dead-letters",
            },
            "start": "earliest",
        }
        config = tmp_path / "worker.yaml"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return main(["fetch", "--config", str(config), "--output", str(output)])

    return run


def test_the_model_is_written_byte_by_byte(
    fetch: Fetch, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here.onnx"
    digest = verified_digest(model.read_bytes())
    assert fetch(model.as_uri(), here, digest) == 0
    assert here.read_bytes() == model.read_bytes()
    assert capsys.readouterr().out == f"z-score version 1 ({digest[:12]}) is in {here}\n"


def test_another_model_than_the_pinned_one_is_not_written(fetch: Fetch, model: Path, tmp_path: Path) -> None:
    assert fetch(str(model), tmp_path / "here.onnx", "ab" * 32) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.onnx", "worker.yaml"]


def test_the_model_is_not_written_over_itself(fetch: Fetch, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(str(model), model) == 2
    assert "would overwrite the model" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told(
    fetch: Fetch, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(str(model), tmp_path / "nowhere" / "here.onnx") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_what_cannot_be_written_is_told(fetch: Fetch, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(str(model), Path("/proc/here.onnx")) == 2
    assert "/proc/here.onnx cannot be written" in capsys.readouterr().err
