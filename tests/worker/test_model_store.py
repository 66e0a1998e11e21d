"""Bad artifacts are refused with a sentence; good ones are read once and verified."""

import hashlib
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.artifact import METADATA_KEY, ZERO_DIGEST, sealed, verified_digest
from tests.artifacts import artifact_bytes, artifact_model, make_artifact, manifest_of, sealed_bytes, with_manifest_text
from worker.download import DownloadLimits
from worker.errors import ArtifactError, ConfigError, ExitCode
from worker.model_store import load_artifact

GOOD = artifact_bytes()


def write(path: Path, file: bytes) -> str:
    path.write_bytes(file)
    return str(path)


def refusal(path: Path, file: bytes, **pins: str | None) -> str:
    with pytest.raises(ArtifactError) as caught:
        load_artifact(write(path / "model.onnx", file), sha256=pins.get("sha256"))
    assert caught.value.exit_code == ExitCode.ARTIFACT_REFUSED
    assert re.fullmatch(r"The artifact model\.onnx is refused: [^\n]+\.", str(caught.value))
    return str(caught.value)


def test_a_good_artifact_is_loaded_with_its_manifest_and_digest(tmp_path: Path) -> None:
    path = make_artifact(tmp_path / "model.onnx", features=("a", "b", "c"), window=7, min_length=3)
    artifact = load_artifact(str(path), sha256=None)
    assert artifact.file == path.read_bytes()
    assert artifact.sha256 == verified_digest(artifact.file)
    assert artifact.manifest.feature_names == ("a", "b", "c")
    assert (artifact.manifest.window, artifact.manifest.min_length) == (7, 3)


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    path = make_artifact(tmp_path / "a model.onnx")
    assert load_artifact(path.as_uri(), sha256=None).file == path.read_bytes()


def test_the_pin_may_be_the_manifests_digest_or_the_files_sha256_in_either_case(tmp_path: Path) -> None:
    uri = write(tmp_path / "model.onnx", GOOD)
    for pin in (verified_digest(GOOD), hashlib.sha256(GOOD).hexdigest(), hashlib.sha256(GOOD).hexdigest().upper()):
        assert load_artifact(uri, sha256=pin).sha256 == verified_digest(GOOD)


def test_another_artifact_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, GOOD, sha256="ab" * 32)
    assert "model.sha256 asks for abababababab" in sentence
    assert verified_digest(GOOD)[:12] in sentence
    assert sentence.endswith("give the file that was meant, or the digest that `anomaly-export inspect` prints.")


def test_a_missing_file_is_an_artifact_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^There is no model file .*gone\.onnx: correct model\.uri .*\.$"):
        load_artifact(str(tmp_path / "gone.onnx"), sha256=None)


def test_a_folder_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^The model file .* cannot be read: Is a directory\.$"):
        load_artifact(str(tmp_path), sha256=None)


def test_an_unreadable_name_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_artifact("model\0.onnx", sha256=None)


def test_a_file_above_the_size_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.touch()
    os.truncate(path, 1 << 40)  # no disk holds it: reading it whole would fail
    with pytest.raises(ArtifactError, match="larger than 1000 bytes"):
        load_artifact(str(path), sha256=None, limits=DownloadLimits(max_bytes=1000))


@pytest.mark.parametrize("uri", ["s3://bucket/model.onnx", "ftp://host/model.onnx"])
def test_other_schemes_are_wrong_use(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.uri must be a path or"):
        load_artifact(uri, sha256="0" * 64)


def test_a_file_url_of_another_host_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match=r"names the host elsewhere; .* file:///"):
        load_artifact("file://elsewhere/model.onnx", sha256=None)


def test_a_malformed_url_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match=r"model\.uri is no URL"):
        load_artifact("http://[broken/model.onnx", sha256="0" * 64)


def test_a_url_without_a_digest_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match=r"model\.sha256 is required"):
        load_artifact("http://localhost:1/model.onnx", sha256=None)


@given(end=st.integers(0, len(GOOD) - 1))
def test_a_truncated_file_is_refused(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    refusal(tmp_path_factory.getbasetemp(), GOOD[:end])


def test_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    places = random.Random(5)
    digest = re.search(rb'"digest":"[0-9a-f]{64}"', GOOD)
    assert digest is not None
    chosen = [*range(digest.start(), digest.end()), *(places.randrange(len(GOOD)) for _ in range(500))]
    for place in chosen:
        damaged = bytearray(GOOD)
        damaged[place] ^= 1 << places.randrange(8)
        refusal(tmp_path, bytes(damaged))


def test_appended_bytes_are_refused(tmp_path: Path) -> None:
    assert "changed or damaged; copy it again, or export it anew." in refusal(tmp_path, GOOD + b"\0")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "carries 0 manifest digests" in refusal(tmp_path, b"not a model")


def test_a_sealed_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "not an ONNX file" in refusal(tmp_path, sealed(b'\xff\xff"digest":"' + ZERO_DIGEST.encode() + b'"'))


def test_two_digests_are_refused(tmp_path: Path) -> None:
    model = artifact_model()
    model.doc_string = '"digest":"' + "0" * 64 + '"'
    assert "carries 2 manifest digests" in refusal(tmp_path, model.SerializeToString())


def test_two_manifests_are_refused(tmp_path: Path) -> None:
    model = artifact_model()
    model.metadata_props.add(key=METADATA_KEY, value="{}")
    assert "carries 2 manifests" in refusal(tmp_path, sealed_bytes(model))


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    model = artifact_model()
    model.metadata_props[0].key = "another"
    assert "carries 0 manifests under the metadata key `anomaly_worker`" in refusal(tmp_path, sealed_bytes(model))


def test_an_invalid_manifest_is_refused_with_the_fields_name(tmp_path: Path) -> None:
    model = artifact_model()
    text = model.metadata_props[0].value.replace('"tail_scale":', '"tail_scale":-')
    sentence = refusal(tmp_path, sealed_bytes(with_manifest_text(model, text)))
    assert "not valid at `calibration.tail_scale`: Input should be greater than 0" in sentence


def test_a_manifest_of_another_contract_is_refused(tmp_path: Path) -> None:
    model = artifact_model()
    text = model.metadata_props[0].value.replace('"contract_version":1', '"contract_version":2')
    assert "`contract_version`" in refusal(tmp_path, sealed_bytes(with_manifest_text(model, text)))


def test_a_digest_outside_the_manifest_does_not_count(tmp_path: Path) -> None:
    model = artifact_model()
    model = with_manifest_text(model, model.metadata_props[0].value.replace('"digest":', '"digest" :'))
    model.doc_string = '"digest":"' + "0" * 64 + '"'
    assert "is not the one in its manifest" in refusal(tmp_path, sealed_bytes(model))


def test_a_broken_rule_is_told_with_the_files_name(tmp_path: Path) -> None:
    model = artifact_model()
    model.graph.node[0].domain = "com.microsoft"
    assert refusal(tmp_path, sealed_bytes(model)).startswith("The artifact model.onnx is refused: node `IsNaN` uses")


def test_the_golden_windows_of_the_manifest_are_read_back_exactly(tmp_path: Path) -> None:
    model = artifact_model()
    artifact = load_artifact(write(tmp_path / "model.onnx", sealed_bytes(model)), sha256=None)
    assert artifact.manifest.golden == manifest_of(model).golden


@pytest.mark.parametrize("operator", ["ATen", "Affine", "FusedMatMul", ""])
def test_an_operator_that_never_became_standard_is_refused(tmp_path: Path, operator: str) -> None:
    """The checker of ONNX lets some of them pass with a warning."""
    model = artifact_model()
    model.graph.node[3].op_type = operator
    assert "no standard operator" in refusal(tmp_path, sealed_bytes(model))


def test_an_operator_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = artifact_model(with_elapsed=True).SerializeToString().replace(b"Unsqueeze", b"Unsqueez\xfa")
    assert "no standard operator" in refusal(tmp_path, sealed(file))


def test_what_onnx_cannot_say_in_utf8_is_refused_all_the_same(tmp_path: Path) -> None:
    """Its checker's message quotes the names of the file."""
    model = artifact_model()
    model.graph.node[4].input[0] = "nowhere"
    file = model.SerializeToString().replace(b"nowhere", b"nowher\xfa")
    assert "text in it that is not UTF-8" in refusal(tmp_path, sealed(file))
