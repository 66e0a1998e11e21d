"""A graph in pieces computes each piece as a call of its own would, to the last bit."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from schemas.artifact import CONTRIBUTION, EXPECTED, P_VALUE, SCORE
from tests.artifacts import artifact_model, golden_inputs
from worker.graph_in_pieces import in_pieces, outer_name
from worker.graph_pruning import pruned

Arrays = dict[str, NDArray[np.generic]]
ROWS = 16


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def taken(of: onnxruntime.InferenceSession, inputs: Arrays) -> Arrays:
    return {value.name: inputs[value.name] for value in of.get_inputs()}


@pytest.mark.parametrize("outputs", [(SCORE, P_VALUE), (CONTRIBUTION, EXPECTED)])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_pieces_are_computed_as_calls_of_their_own(outputs: tuple[str, ...], pieces: int) -> None:
    part = pruned(artifact_model(with_elapsed=True, entities=("a", "b"), window=8), outputs)
    inputs = golden_inputs(pieces * ROWS, 8, 0.0, 1.0, 2, 2, with_elapsed=True)
    single, whole = session(part), session(in_pieces(part))
    in_front = {outer_name(name): column.reshape(pieces, ROWS, *column.shape[1:]) for name, column in inputs.items()}
    together = whole.run([outer_name(name) for name in outputs], taken(whole, in_front))
    for piece in range(pieces):
        rows = slice(piece * ROWS, (piece + 1) * ROWS)
        alone = single.run(list(outputs), taken(single, {name: column[rows] for name, column in inputs.items()}))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one[piece], other)


def test_the_model_itself_is_left_as_it_was() -> None:
    model = pruned(artifact_model(), (SCORE,))
    before = model.SerializeToString(deterministic=True)
    in_pieces(model)
    assert model.SerializeToString(deterministic=True) == before
