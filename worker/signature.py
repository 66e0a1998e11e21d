"""Whether a file is what the holder of a key signed: its bytes, a detached signature and a public key go in.

The signature is what `cosign sign-blob --key` writes, and `openssl dgst -sha256 -sign` beside `base64`: ECDSA over the
SHA-256 of the file, in DER and base64; or Ed25519 over the file, in base64. Nothing is asked over a network.
"""

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from worker.errors import ArtifactError, ConfigError, clause

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    PublicKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey

SUFFIX = ".sig"
"""A signature lies beside its file, under the file's name and this."""

MAX_SIGNATURE_BYTES = 4096
_MAX_KEY_BYTES = 16_384


def verify_signature(file: bytes, signature: bytes, *, public_key: Path) -> None:
    """Return where the signature is one of this file by this key.

    Raises:
        ArtifactError: it is not.
        ConfigError: the key cannot be used, or what reads keys is not installed.
    """
    key = _key(public_key)
    try:
        written = base64.b64decode(b"".join(signature.split()), validate=True)
    except binascii.Error as error:
        raise ArtifactError(
            f"The model's signature is not in base64 ({clause(error)}): sign the model anew."
        ) from error
    if not _is_signed(file, written, key):
        raise ArtifactError(
            f"The model is not what the key {public_key} (model.public_key) signed: give the file that was signed, with"
            f" its own {SUFFIX} beside it, or the key of whoever signed it."
        )


def _key(path: Path) -> "PublicKey":
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("model.public_key needs the extra `signed`: pip install 'anomaly-worker[signed]'.") from error
    try:
        with path.open("rb") as stream:
            key = load_pem_public_key(stream.read(_MAX_KEY_BYTES))
    except OSError as error:
        raise ConfigError(f"model.public_key: the file {path} cannot be read ({error.strerror}).") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"model.public_key: {path} holds no public key in PEM ({clause(error)}).") from error
    if not isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey):
        raise ConfigError(f"model.public_key: {path} must hold a key of ECDSA or Ed25519.")
    return key


def _is_signed(file: bytes, signature: bytes, key: "PublicKey") -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, file, ECDSA(SHA256()))
        else:
            key.verify(signature, file)
    except InvalidSignature:
        return False
    return True
