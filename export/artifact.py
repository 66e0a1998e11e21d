"""Graph, manifest and golden windows become one sealed file; an artifact's bytes become its manifest again.

Imports no torch, so that `inspect` starts at once.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
from pydantic import ValidationError

from export.errors import ArtifactRefusedError, ExportError, UsageError
from schemas.artifact import METADATA_KEY, DigestError, sealed, verified_digest
from schemas.manifest import Manifest


def sealed_artifact(model: onnx.ModelProto, manifest: Manifest) -> bytes:
    """The file: the graph with the manifest inside, its digest in place."""
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    complete.metadata_props.add(key=METADATA_KEY, value=manifest.model_dump_json())
    return sealed(complete.SerializeToString(deterministic=True))


def write_file(content: bytes, path: Path) -> None:
    """Puts the whole file in place at once; no half-written one is ever seen. Raises ExportError where it cannot."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            partial = Path(file.name)
            try:
                file.write(content)
                file.close()
                partial.chmod(0o644)
                partial.replace(path)
            except BaseException:  # a signal too leaves nothing behind
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}.") from error


def refuse_overwriting(option: str, output: Path, read: Iterable[Path]) -> None:
    """Raises UsageError where the file to write is one that the command reads."""
    for path in read:
        if _are_one(output, path):
            raise UsageError(f"{option} {output} would overwrite {path}, which is read: give another name.")


def _are_one(path: Path, other: Path) -> bool:
    try:
        return path.resolve() == other.resolve() or path.samefile(other)
    except (OSError, RuntimeError, ValueError):  # one of them is not there, a ring of links, or no name of a file
        return False


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file whose digest holds; errors as of `read_artifact`."""
    return read_artifact(path)[1]


def read_artifact(path: Path) -> tuple[bytes, Manifest]:
    """A file whose digest holds, and its manifest: what is run is what was verified.

    Raises:
        UsageError: there is no such file.
        ArtifactRefusedError: it is no artifact of this project, or was changed or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        digest = verified_digest(content)
        manifest = Manifest.model_validate_json(_manifest_text(content))
    except (DigestError, ValidationError, ValueError) as error:
        raise ArtifactRefusedError(f"{path} is no sound artifact: {_reason(error)}.") from error
    if manifest.digest != digest:
        raise ArtifactRefusedError(f"{path} is no sound artifact: its digest stands outside of its manifest.")
    return content, manifest


def _manifest_text(content: bytes) -> str:
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise ValueError("it is not an ONNX file") from error
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise ValueError(f"it holds {len(texts)} manifests")
    return str(texts[0])


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"its manifest is wrong at {'.'.join(map(str, first['loc'])) or 'its start'}: {first['msg']}"
    return str(error)
