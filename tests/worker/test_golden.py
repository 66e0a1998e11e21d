"""Golden windows on the real runtime: a graph that goes on and on is given up, with a sentence."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from schemas.artifact import METADATA_KEY, P_VALUE, SCORE
from schemas.manifest import Golden, Manifest
from tests.artifacts import artifact_bytes
from worker.errors import ArtifactError
from worker.golden import check_golden
from worker.runtime import Runtime


def endless() -> tuple[ModelProto, Golden]:
    """A model whose golden windows were right before each of them went into a loop without an end."""
    model = onnx.load_from_string(artifact_bytes(hang_above=1e9))
    (above,) = (tensor for tensor in model.graph.initializer if tensor.name == "hang_above")
    above.CopyFrom(numpy_helper.from_array(np.array(-1.0, np.float32), "hang_above"))
    (manifest,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    return model, Manifest.model_validate_json(manifest).golden


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loop_without_an_end_is_given_up(threads: int) -> None:
    model, golden = endless()
    network = Runtime("cpu", threads=threads).network(model, (SCORE, P_VALUE), row_values=8)
    with pytest.raises(ArtifactError, match=r"not computed within 0\.3 s: a loop in the graph does not end"):
        check_golden(network, golden, provider="cpu", patience_s=0.3)
