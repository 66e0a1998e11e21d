"""The artifact's names and its digest: what exporter and worker must agree on to the letter."""

import hashlib
import re

METADATA_KEY = "anomaly_worker"
"""The one key of the ONNX file's metadata_props; its value is the manifest as JSON."""

WINDOW = "window"
ELAPSED = "elapsed"
ENTITY = "entity"
SCORE = "score"
P_VALUE = "p_value"
CONTRIBUTION = "contribution"
EXPECTED = "expected"
STEP_SCORE = "step_score"

ALLOWED_DOMAINS = frozenset({"", "ai.onnx.ml"})
MINIMUM_OPSET = 18
ZERO_DIGEST = "0" * 64

_DIGEST_FIELD = re.compile(rb'"digest":\s?"([0-9a-f]{64})"')


class DigestError(ValueError):
    """The file does not carry exactly one digest, or its digest does not hold."""


def _digest_place(file: bytes) -> slice:
    matches = list(_DIGEST_FIELD.finditer(file))
    if len(matches) != 1:
        raise DigestError(f"it carries {len(matches)} manifest digests, where exactly one is needed")
    return slice(*matches[0].span(1))


def digest_of(file: bytes) -> str:
    """SHA-256 of the file with its own 64 hex digits set to zeros. Raises DigestError if it carries none or several."""
    place = _digest_place(file)
    sha256 = hashlib.sha256(file[: place.start])
    sha256.update(ZERO_DIGEST.encode())
    sha256.update(file[place.stop :])
    return sha256.hexdigest()


def sealed(file: bytes) -> bytes:
    """The file with its digest written into its place (which must hold 64 hex digits, ZERO_DIGEST for instance)."""
    place = _digest_place(file)
    return file[: place.start] + digest_of(file).encode() + file[place.stop :]


def verified_digest(file: bytes) -> str:
    """The digest that the file carries, once it was seen to hold. Raises DigestError otherwise."""
    carried = file[_digest_place(file)].decode()
    actual = digest_of(file)
    if carried != actual:
        raise DigestError(
            f"its digest says {carried[:12]}..., its content is {actual[:12]}...: the file was changed or damaged"
        )
    return carried
