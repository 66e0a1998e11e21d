"""The model that the settings name goes in, verified, and comes out as a local file: a URL is then read once a pod."""

import argparse
from pathlib import Path

from schemas.settings import Settings
from worker.errors import ConfigError, ExitCode
from worker.model_store import load_artifact, local_path
from worker.new_file import refuse_overwriting, unfinished
from worker.signature import SUFFIX

_EXAMPLES = """\
Reads model.uri once, holds it to model.sha256, to model.public_key and to every rule of an artifact, and writes it to
FILE, its signature beside it. For workers that are not to ask a server for the model each time they start.

example:
  anomaly-worker fetch --config worker.yaml --output /model/machine.onnx
  ANOMALY_WORKER_MODEL__URI=/model/machine.onnx anomaly-worker run --config worker.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes beside `--config`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="where to write the model")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The command. Raises ConfigError, ArtifactError."""
    output: Path = arguments.output
    refuse_overwriting([output], {"the model": local_path(settings.model.uri)})
    artifact = load_artifact(settings.model.uri, sha256=settings.model.sha256, public_key=settings.model.public_key)
    try:
        if artifact.signature is not None:  # first: the model is not there before all is
            _write(output.with_name(output.name + SUFFIX), artifact.signature)
        _write(output, artifact.file)
    except OSError as error:
        raise ConfigError(f"--output: {output} cannot be written: {error.strerror}.") from error
    manifest = artifact.manifest
    print(f"{manifest.name} version {manifest.version} ({artifact.sha256[:12]}) is in {output}")  # noqa: T201 - output
    return ExitCode.DONE


def _write(path: Path, content: bytes) -> None:
    with unfinished(path) as partial:
        partial.write_bytes(content)
