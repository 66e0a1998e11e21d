"""What docs/artifact.md tells users to do works."""

import re
from pathlib import Path

import numpy as np

from tests.artifacts import artifact_model
from worker.artifact_rules import MAX_NODES, MAX_RANK, MAX_SUBGRAPH_DEPTH, MAX_TENSORS, MAX_WINDOW_VALUES
from worker.detector import Detector, ExplainRule
from worker.model_store import MAX_ARTIFACT_BYTES, load_artifact
from worker.runtime import FIXED_SHAPES_BYTES, GPU_CALL_ROWS

PAGE = (Path(__file__).parents[2] / "docs" / "artifact.md").read_text(encoding="utf-8")


def test_an_artifact_made_as_the_page_shows_is_accepted_and_scores(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, "docs/artifact.md", "exec"), names)  # noqa: S102 - our own page
    model = artifact_model(features=("a", "b"), window=4)
    del model.metadata_props[:]
    windows = np.random.default_rng(0).standard_normal((6, 4, 2), dtype=np.float32)
    names["write_artifact"](model, windows, str(tmp_path / "mine.onnx"))
    artifact = load_artifact(str(tmp_path / "mine.onnx"), sha256=None)
    assert artifact.manifest.feature_names == ("temperature", "pressure")
    Detector(artifact, provider="cpu", threads=1, explain=ExplainRule("all", 1.0))


def test_the_pages_limits_are_those_of_the_code() -> None:
    assert f"{MAX_ARTIFACT_BYTES >> 20} MiB; {MAX_NODES:,} nodes; {MAX_TENSORS:,} constants" in PAGE
    assert f"at most {MAX_RANK} dimensions and 2^29 elements; graphs nested {MAX_SUBGRAPH_DEPTH} deep" in PAGE
    assert f"W * F at most 2^{MAX_WINDOW_VALUES.bit_length() - 1}" in PAGE
    assert "{}, {} or {} windows".format(*GPU_CALL_ROWS) in PAGE
    assert f"models above {FIXED_SHAPES_BYTES >> 20} MiB" in PAGE
