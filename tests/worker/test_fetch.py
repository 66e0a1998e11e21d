"""`anomaly-worker fetch`: the model of the settings becomes a local file, or stays where it is."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.artifact import verified_digest
from tests.artifacts import make_artifact
from worker.cli import main

Fetch = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "there.onnx")


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    def run(uri: str, output: Path, sha256: str | None = None, **model: str) -> int:
        settings = {
            "model": {"uri": uri, "sha256": sha256, **model},
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


def test_a_signed_model_comes_with_its_signature(fetch: Fetch, model: Path, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = tmp_path / "key.pub"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signature = Path(f"{model}.sig")
    signature.write_bytes(base64.b64encode(key.sign(model.read_bytes())))
    here = tmp_path / "here.onnx"
    assert fetch(str(model), here, public_key=str(public)) == 0
    assert (tmp_path / "here.onnx.sig").read_bytes() == signature.read_bytes()
    assert fetch(str(here), tmp_path / "again.onnx", public_key=str(public)) == 0
    signature.write_bytes(base64.b64encode(b"another"))
    assert fetch(str(model), tmp_path / "refused.onnx", public_key=str(public)) == 3
    assert not list(tmp_path.glob("refused*"))
