"""The detector of the benchmark: the 256-64-16 autoencoder, trained by the exporter, kept in the checkout's cache."""

import hashlib
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tests.benchmarks import stream
from tests.broker import CHECKOUT

COMMAND = Path(sys.executable).parent / "anomaly-export"
MODELS = CHECKOUT / ".cache" / "benchmarks"
TRAINING = {"detector": "ae", "window": 32, "hidden": 64, "bottleneck": 16, "seed": 0}
TRAINING_EVENTS = 40_000
TRAINING_ENTITIES = 20


def trained_model() -> Path:
    """Trained once for the same events, arguments and torch."""
    known = hashlib.sha256(Path(stream.__file__).read_bytes())
    known.update(json.dumps([TRAINING, TRAINING_EVENTS, TRAINING_ENTITIES, metadata.version("torch")]).encode())
    model = MODELS / f"autoencoder-{known.hexdigest()[:12]}.onnx"
    if not model.exists():
        _train(model)
    return model


def _train(model: Path) -> None:
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        table, partial = Path(folder) / "training.csv", Path(folder) / "autoencoder.onnx"
        stream.write_table(table, events=TRAINING_EVENTS, entities=TRAINING_ENTITIES, seed=1)
        options = [f"--{name}={value}" for name, value in TRAINING.items()]
        command = [COMMAND, "train", "--data", table, "--output", partial]
        subprocess.run([*command, "--entity=machine", "--timestamp=time", *options], check=True, stdout=sys.stderr)
        partial.rename(model)
