"""A pruned graph computes the same, with less."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from schemas.artifact import CONTRIBUTION, ELAPSED, ENTITY, EXPECTED, P_VALUE, SCORE, WINDOW
from tests.artifacts import artifact_model, golden_inputs
from worker.graph_pruning import BATCH_AXIS, pruned


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    taken = {value.name: inputs[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, taken), strict=True))


@pytest.mark.parametrize("outputs", [(SCORE, P_VALUE), (CONTRIBUTION, EXPECTED), (EXPECTED,)])
def test_the_outputs_are_those_of_the_whole_to_the_last_bit(outputs: tuple[str, ...]) -> None:
    model = artifact_model(with_elapsed=True, entities=("a", "b"), window=8)
    inputs = golden_inputs(64, 8, 0.0, 1.0, 2, 2, with_elapsed=True)
    whole, part = run(model, inputs), run(pruned(model, outputs), inputs)
    assert set(part) == set(outputs)
    for name in outputs:
        np.testing.assert_array_equal(part[name], whole[name])


def test_what_does_not_lead_to_an_output_is_gone() -> None:
    model = artifact_model(with_elapsed=True, entities=("a", "b"))
    part = pruned(model, (EXPECTED,))
    assert [node.op_type for node in part.graph.node] == ["Shape", "Expand"]
    assert [tensor.name for tensor in part.graph.initializer] == ["mean"]
    assert [value.name for value in part.graph.input] == [WINDOW]
    assert not part.metadata_props


def test_the_model_itself_is_left_as_it_was() -> None:
    model = artifact_model(with_elapsed=True, entities=("a", "b"))
    before = model.SerializeToString(deterministic=True)
    pruned(model, (SCORE,))
    assert model.SerializeToString(deterministic=True) == before


def test_the_batch_axis_gets_one_name() -> None:
    model = artifact_model(with_elapsed=True, entities=("a",))
    for value, name in zip(model.graph.input, ("N", "M", ""), strict=True):
        value.type.tensor_type.shape.dim[0].dim_param = name
    part = pruned(model, (SCORE, CONTRIBUTION))
    assert {value.name for value in part.graph.input} == {WINDOW, ELAPSED, ENTITY}
    for value in (*part.graph.input, *part.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == BATCH_AXIS


def test_what_a_branch_reads_from_outside_is_kept() -> None:
    """If the mean over the batch is positive, negate; else take a constant of the outer graph."""
    value = helper.make_tensor_value_info
    negated = helper.make_graph(
        [helper.make_node("Neg", ["outer"], ["then"])], "then", [], [value("then", TensorProto.FLOAT, None)]
    )
    constant = helper.make_graph(
        [helper.make_node("Identity", ["constant"], ["else"])], "else", [], [value("else", TensorProto.FLOAT, None)]
    )
    graph = helper.make_graph(
        [
            helper.make_node("Abs", ["x"], ["outer"]),
            helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
            helper.make_node("Greater", ["mean", "zero"], ["positive"]),
            helper.make_node("Exp", ["x"], ["unused"]),
            helper.make_node("If", ["positive"], ["y"], then_branch=negated, else_branch=constant),
        ],
        "branches",
        [value("x", TensorProto.FLOAT, ["batch"])],
        [value("y", TensorProto.FLOAT, ["batch"]), value("unused", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(np.zeros((), np.float32), "zero"),
            numpy_helper.from_array(np.ones(2, np.float32), "constant"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    part = pruned(model, ("y",))
    assert "Exp" not in {node.op_type for node in part.graph.node}
    for x in (np.float32([1, 2]), np.float32([-1, -2])):
        np.testing.assert_array_equal(run(part, {"x": x})["y"], run(model, {"x": x})["y"])
