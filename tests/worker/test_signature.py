"""Signatures of models: by cryptography and by openssl, beside a file or a URL, and everything that is none."""

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from schemas.artifact import verified_digest
from tests.artifacts import make_artifact
from worker.errors import ArtifactError, ConfigError
from worker.model_store import beside, load_artifact

Signer = Callable[[bytes], bytes]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "machine.onnx")


def write_public(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, path: Path) -> str:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def sign(model: Path, signature: bytes) -> None:
    Path(f"{model}.sig").write_bytes(base64.encodebytes(signature))  # with line breaks, as `base64` writes it


def test_a_model_that_its_maker_signed_by_ecdsa_is_loaded(model: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    sign(model, key.sign(model.read_bytes(), ec.ECDSA(SHA256())))
    artifact = load_artifact(str(model), sha256=None, public_key=write_public(key, tmp_path / "key.pub"))
    assert artifact.file == model.read_bytes()
    assert artifact.signature == Path(f"{model}.sig").read_bytes()


def test_a_model_that_its_maker_signed_by_ed25519_is_loaded(model: Path, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    sign(model, key.sign(model.read_bytes()))
    load_artifact(model.as_uri(), sha256=None, public_key=write_public(key, tmp_path / "key.pub"))


def test_openssl_signs_as_the_page_says(model: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = tmp_path / "key.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = "openssl dgst -sha256 -sign key.pem machine.onnx | base64 > machine.onnx.sig"
    assert command in Path("docs/artifact.md").read_text(encoding="utf-8")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)  # noqa: S602 - as somebody types it
    load_artifact(str(model), sha256=None, public_key=write_public(key, tmp_path / "key.pub"))


def test_another_file_key_or_signature_is_refused(model: Path, tmp_path: Path) -> None:
    key, another = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    public = write_public(key, tmp_path / "key.pub")
    good = key.sign(model.read_bytes(), ec.ECDSA(SHA256()))
    for signature in (b"", good[:-1], another.sign(model.read_bytes(), ec.ECDSA(SHA256())), b"\xff" * 64):
        sign(model, signature)
        with pytest.raises(ArtifactError, match=r"not what the key .*key\.pub .*model\.public_key.* signed"):
            load_artifact(str(model), sha256=None, public_key=public)
    sign(model, good)
    make_artifact(model, window=7)
    with pytest.raises(ArtifactError, match="not what the key"):
        load_artifact(str(model), sha256=None, public_key=public)


def test_a_digest_does_not_replace_the_signature(model: Path, tmp_path: Path) -> None:
    public = write_public(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pub")
    with pytest.raises(ArtifactError, match=r"machine\.onnx\.sig"):
        load_artifact(str(model), sha256=verified_digest(model.read_bytes()), public_key=public)


def test_what_is_not_base64_is_refused(model: Path, tmp_path: Path) -> None:
    Path(f"{model}.sig").write_bytes(b"\x30\x45\x02")
    public = write_public(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pub")
    with pytest.raises(ArtifactError, match="not in base64"):
        load_artifact(str(model), sha256=None, public_key=public)


def test_a_signature_as_large_as_a_model_is_not_read(model: Path, tmp_path: Path) -> None:
    Path(f"{model}.sig").write_bytes(b"A" * 5000)
    public = write_public(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pub")
    with pytest.raises(ArtifactError, match="larger than 4096 bytes"):
        load_artifact(str(model), sha256=None, public_key=public)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_a_wrong_setting(model: Path, tmp_path: Path, content: bytes) -> None:
    sign(model, b"any")
    key = tmp_path / "key.pub"
    key.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.public_key: .*key\.pub holds no public key"):
        load_artifact(str(model), sha256=None, public_key=str(key))


def test_a_missing_key_and_one_of_another_kind_are_wrong_settings(model: Path, tmp_path: Path) -> None:
    sign(model, b"any")
    with pytest.raises(ConfigError, match=r"model\.public_key: the file .*nowhere\.pub cannot be read"):
        load_artifact(str(model), sha256=None, public_key=str(tmp_path / "nowhere.pub"))
    public = write_public(rsa.generate_private_key(65537, 2048), tmp_path / "rsa.pub")
    with pytest.raises(ConfigError, match="must hold a key of ECDSA or Ed25519"):
        load_artifact(str(model), sha256=None, public_key=public)


def test_the_signature_of_a_url_lies_beside_its_path() -> None:
    assert beside("https://host/machine.onnx?token=1", ".sig") == "https://host/machine.onnx.sig?token=1"
    assert beside("models/machine.onnx", ".sig") == "models/machine.onnx.sig"


def test_without_the_extra_it_says_what_to_install(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(model, b"any")
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigError, match=r"pip install 'anomaly-worker\[signed\]'"):
        load_artifact(str(model), sha256=None, public_key=str(tmp_path / "key.pub"))
