"""Where artifacts come from: a path or URL goes in, a verified artifact comes out. Knows no runtime."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

import onnx
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from schemas.artifact import METADATA_KEY, DigestError, verified_digest
from schemas.manifest import Manifest
from worker.artifact_rules import RuleError, check
from worker.download import DownloadLimits, download
from worker.errors import ArtifactError, ConfigError, clause
from worker.signature import MAX_SIGNATURE_BYTES, SUFFIX, verify_signature

MAX_ARTIFACT_BYTES = 512 << 20
"""128 M float32 weights, a thousand times a typical detector. Protobuf itself ends at 2 GiB, and loading takes several
times the file's size."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model file that was verified, byte by byte, and breaks no rule."""

    file: bytes = field(repr=False)
    manifest: Manifest = field(repr=False)
    sha256: str  # the manifest's digest, 64 hex digits
    signature: bytes | None = field(default=None, repr=False)  # as it lay beside the file, where one was asked for


def load_artifact(
    uri: str, *, sha256: str | None, public_key: str | None = None, limits: DownloadLimits | None = None
) -> Artifact:
    """Read an artifact once, and verify what was read.

    Args:
        uri: a path, or a URL of scheme file, http or https.
        sha256: what the artifact must be: its manifest's digest, or the SHA-256 of the file as sha256sum prints it.
            Required for http and https.
        public_key: the file with the key of whoever must have signed it (see `worker.signature`); None asks for none.
        limits: size and time; MAX_ARTIFACT_BYTES and the downloads' own where not given.

    Raises:
        ArtifactError: it cannot be read, or is refused; the sentence says why.
        ConfigError: a URL without a digest, or of another scheme; a public key that cannot be used.
    """
    limits = limits or DownloadLimits(max_bytes=MAX_ARTIFACT_BYTES)
    file = _read(uri, pinned=sha256 is not None, limits=limits)
    if public_key is None:
        return verified(file, uri=uri, sha256=sha256)
    signature = _read(
        beside(uri, SUFFIX), pinned=sha256 is not None, limits=replace(limits, max_bytes=MAX_SIGNATURE_BYTES)
    )
    verify_signature(file, signature, public_key=Path(public_key))
    return replace(verified(file, uri=uri, sha256=sha256), signature=signature)


def beside(uri: str, suffix: str) -> str:
    """The path or URL of what lies beside an artifact; a URL keeps its query."""
    if "://" not in uri:
        return uri + suffix
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=parts.path + suffix))


def verified(file: bytes, *, uri: str, sha256: str | None) -> Artifact:
    """The artifact that these bytes are, which came from `uri`. Raises ArtifactError where it is refused."""
    try:
        digest = verified_digest(file)
        _check_pin(uri, file, digest, sha256)
        model = _parsed(file)
        manifest = _manifest(model, digest)
        check(model, manifest)
    except DigestError as error:
        raise _refused(uri, f"{error}; copy it again, or export it anew") from error
    except RuleError as error:
        raise _refused(uri, f"{error} (docs/artifact.md has the rules)") from error
    except UnicodeDecodeError as error:  # from anywhere in ONNX's own code, which takes every text for UTF-8
        raise _refused(uri, "there is text in it that is not UTF-8; copy it again, or export it anew") from error
    return Artifact(file, manifest, digest)


def _refused(uri: str, reason: str) -> ArtifactError:
    return ArtifactError(f"The artifact {Path(urlsplit(uri).path).name} is refused: {reason}.")


def local_path(uri: str) -> Path | None:
    """Where the artifact lies; None where the URI does not name a local file."""
    if "://" not in uri:
        return Path(uri)
    return Path(url2pathname(urlsplit(uri).path)) if uri.startswith("file://") else None


def _read(uri: str, *, pinned: bool, limits: DownloadLimits) -> bytes:
    if "://" not in uri:
        return _read_path(Path(uri), limits.max_bytes)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ConfigError(
            f"model.uri is no URL: {error}; give a path, or a URL such as https://host/machine.onnx."
        ) from error
    match parts.scheme:
        case "file" if parts.netloc in ("", "localhost"):
            return _read_path(Path(url2pathname(parts.path)), limits.max_bytes)
        case "file":
            raise ConfigError(f"model.uri names the host {parts.netloc}; the URL of a local file begins with file:///.")
        case "http" | "https" if not pinned:
            raise ConfigError(
                "model.sha256 is required where model.uri is not a local path: give the digest that"
                " `anomaly-export inspect` prints."
            )
        case "http" | "https":
            return download(uri, limits)
        case _:
            raise ConfigError(
                f"model.uri must be a path or a file, http or https URL; {parts.scheme}:// is none of them."
            )


def _read_path(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            file = stream.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no model file {path}: correct model.uri (or --model), or put the file there."
        ) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"The model file {path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    if len(file) > max_bytes:
        raise ArtifactError(
            f"The model file {path} is larger than {max_bytes} bytes, the most that an artifact may have."
        )
    return file


def _check_pin(uri: str, file: bytes, digest: str, pin: str | None) -> None:
    if pin is not None and pin.lower() not in (digest, hashlib.sha256(file).hexdigest()):
        raise _refused(
            uri,
            f"model.sha256 asks for {pin[:12]}..., its digest is {digest[:12]}...; give the file that was meant, or the"
            " digest that `anomaly-export inspect` prints",
        )


def _parsed(file: bytes) -> onnx.ModelProto:
    """The model as it stands in the file: protobuf alone, which follows no reference to other files."""
    try:
        return onnx.load_from_string(file)
    except DecodeError as error:
        raise RuleError(f"it is not an ONNX file: {clause(error)}") from error


def _manifest(model: onnx.ModelProto, digest: str) -> Manifest:
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise RuleError(f"it carries {len(texts)} manifests under the metadata key `{METADATA_KEY}`; one is needed")
    try:
        manifest = Manifest.model_validate_json(texts[0])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise RuleError(f"its manifest is not valid at `{place}`: {first['msg']}") from error
    if manifest.digest != digest:
        raise RuleError("the digest that it carries is not the one in its manifest")
    return manifest
