"""Each rule of the artifact contract, broken once."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from schemas.artifact import CONTRIBUTION, ELAPSED, ENTITY, EXPECTED, P_VALUE, SCORE, STEP_SCORE, WINDOW
from schemas.manifest import Feature, Manifest, Tensor
from tests.artifacts import artifact_model, manifest_of
from worker.artifact_rules import MAX_NODES, MAX_SUBGRAPH_DEPTH, RuleError, check, check_interface

ALL_KNOBS: dict[str, object] = {"with_elapsed": True, "with_step_score": True, "entities": ("a", "b")}


def reason(model: onnx.ModelProto, manifest: Manifest | None = None) -> str:
    with pytest.raises(RuleError) as caught:
        check(model, manifest or manifest_of(model))
    return str(caught.value)


def reason_of_interface(model: onnx.ModelProto) -> str:
    with pytest.raises(RuleError) as caught:
        check_interface(model.graph, manifest_of(model))
    return str(caught.value)


def value(graph: onnx.GraphProto, name: str) -> onnx.ValueInfoProto:
    return next(value for value in (*graph.input, *graph.output) if value.name == name)


def first_attribute(model: onnx.ModelProto) -> onnx.AttributeProto:
    attribute = model.graph.node[0].attribute.add()
    attribute.name = "hidden"
    return attribute


@pytest.mark.parametrize("knobs", [{}, ALL_KNOBS, {"window": 1, "kind": "image"}, {"features": ("x",), "kind": "log"}])
def test_what_keeps_the_contract_passes(knobs: dict[str, object]) -> None:
    model = artifact_model(**knobs)
    check(model, manifest_of(model))


def test_the_batch_axis_may_have_any_name_or_none() -> None:
    model = artifact_model()
    value(model.graph, WINDOW).type.tensor_type.shape.dim[0].dim_param = "N"
    value(model.graph, SCORE).type.tensor_type.shape.dim[0].Clear()
    check(model, manifest_of(model))


def test_a_standard_machine_learning_operator_is_allowed() -> None:
    model = artifact_model()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 4))
    model.graph.node.append(helper.make_node("Binarizer", [SCORE], ["unused"], domain="ai.onnx.ml"))
    check(model, manifest_of(model))


def external_initializer(model: onnx.ModelProto) -> TensorProto:
    return model.graph.initializer[0]


def constant_in_a_node(model: onnx.ModelProto) -> TensorProto:
    node = helper.make_node("Constant", [], ["constant"], value=numpy_helper.from_array(np.zeros(1), "hidden"))
    model.graph.node.insert(0, node)
    return model.graph.node[0].attribute[0].t


def tensor_in_a_list(model: onnx.ModelProto) -> TensorProto:
    return first_attribute(model).tensors.add()


def sparse_constant(model: onnx.ModelProto) -> TensorProto:
    return model.graph.sparse_initializer.add().indices


def sparse_constant_in_a_node(model: onnx.ModelProto) -> TensorProto:
    return first_attribute(model).sparse_tensor.values


def sparse_constant_in_a_list(model: onnx.ModelProto) -> TensorProto:
    return first_attribute(model).sparse_tensors.add().values


def constant_in_a_branch(model: onnx.ModelProto) -> TensorProto:
    return first_attribute(model).g.initializer.add()


def constant_in_a_list_of_graphs(model: onnx.ModelProto) -> TensorProto:
    return first_attribute(model).graphs.add().initializer.add()


@pytest.mark.parametrize(
    "place",
    [
        external_initializer,
        constant_in_a_node,
        tensor_in_a_list,
        sparse_constant,
        sparse_constant_in_a_node,
        sparse_constant_in_a_list,
        constant_in_a_branch,
        constant_in_a_list_of_graphs,
    ],
)
def test_external_data_is_refused_wherever_it_hides(place: Callable[[onnx.ModelProto], TensorProto]) -> None:
    by_location, by_entry = artifact_model(), artifact_model()
    place(by_location).data_location = TensorProto.EXTERNAL
    place(by_entry).external_data.add(key="location", value="../../secret")
    assert "lies outside the file" in reason(by_location)
    assert "lies outside the file" in reason(by_entry)


def test_a_foreign_operator_is_refused() -> None:
    model = artifact_model()
    model.graph.node[2].domain = "com.microsoft"
    assert "uses com.microsoft.Sub, no standard operator" in reason(model)


def test_a_foreign_operator_in_a_branch_is_refused() -> None:
    model = artifact_model()
    first_attribute(model).g.node.append(helper.make_node("Evil", [], ["y"], name="inner", domain="evil.corp"))
    assert "node `inner` uses evil.corp.Evil" in reason(model)


def test_a_function_of_its_own_is_refused() -> None:
    model = artifact_model()
    model.functions.add(name="f", domain="local")
    assert "defines 1 functions of its own" in reason(model)


def test_training_information_is_refused() -> None:
    model = artifact_model()
    model.training_info.add()
    assert "training information" in reason(model)


def test_random_numbers_are_refused() -> None:
    model = artifact_model()
    model.graph.node.append(helper.make_node("RandomNormalLike", [WINDOW], ["noise"]))
    assert "draws random numbers" in reason(model)


@pytest.mark.parametrize("opset", [0, 17])
def test_an_old_opset_is_refused(opset: int) -> None:
    model = artifact_model()
    model.opset_import[0].version = opset
    assert reason(model) == f"it is of opset {opset}; 18 or later is needed"


def test_a_model_without_the_standard_opset_is_refused() -> None:
    model = artifact_model()
    model.opset_import[0].domain = "ai.onnx.ml"
    assert "it is of opset 0" in reason(model)


def test_a_graph_of_too_many_nodes_is_refused() -> None:
    model = artifact_model()
    model.graph.node.extend([helper.make_node("Neg", [WINDOW], ["unused"])] * MAX_NODES)
    assert f"more than {MAX_NODES}" in reason(model)


def test_graphs_nested_too_deep_are_refused() -> None:
    model = artifact_model()
    graph = model.graph
    for _ in range(MAX_SUBGRAPH_DEPTH + 1):
        node = graph.node.add(op_type="If")
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        graph = attribute.g
        graph.name = "deeper"
    assert "nested deeper than 8" in reason(model)


@pytest.mark.parametrize("shape", [[1 << 40], [1 << 20, 1 << 20], [-1]])
def test_a_constant_of_an_absurd_shape_is_refused(shape: list[int]) -> None:
    model = artifact_model()
    model.graph.initializer[0].ClearField("dims")
    model.graph.initializer[0].dims.extend(shape)
    assert "constant `mean` claims the shape" in reason(model)


def test_a_constant_of_too_many_dimensions_is_refused() -> None:
    model = artifact_model()
    model.graph.initializer[0].ClearField("dims")
    model.graph.initializer[0].dims.extend([1] * 9)
    assert "has 9 dimensions" in reason(model)


def test_a_constant_that_is_shorter_than_its_shape_is_refused() -> None:
    model = artifact_model()
    model.graph.initializer[0].dims[0] = 1000
    assert "not valid ONNX" in reason(model)


def test_a_graph_that_is_not_in_order_is_refused() -> None:
    model = artifact_model()
    model.graph.node.append(model.graph.node[0])
    del model.graph.node[0]
    assert "not valid ONNX" in reason(model)


@pytest.mark.parametrize("name", [SCORE, P_VALUE, CONTRIBUTION, EXPECTED])
def test_a_missing_output_is_refused(name: str) -> None:
    model = artifact_model()
    model.graph.output.remove(value(model.graph, name))
    assert reason(model) == f"it has no output `{name}`"


def test_a_missing_window_is_refused() -> None:
    model = artifact_model(with_elapsed=True)
    renamed = value(model.graph, WINDOW)
    renamed.name = "x"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == WINDOW:
                node.input[place] = "x"
    assert reason(model) == "it has no input `window`"


def test_an_input_that_the_contract_does_not_know_is_refused() -> None:
    model = artifact_model()
    model.graph.input.append(helper.make_tensor_value_info("mood", TensorProto.FLOAT, ["batch"]))
    assert "an input `mood`, which the contract does not know" in reason(model)


def test_an_input_with_a_built_in_value_is_refused() -> None:
    model = artifact_model()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4, 2), np.float32), WINDOW))
    assert "has a built-in value" in reason(model)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (WINDOW, ["batch", 4, 3]),
        (WINDOW, ["batch", 5, 2]),
        (WINDOW, ["batch", 8]),
        (WINDOW, ["batch", "rows", 2]),
        (WINDOW, [1, 4, 2]),
        (ELAPSED, ["batch", 4, 1]),
        (ENTITY, ["batch", 1]),
        (SCORE, ["batch", 1]),
        (SCORE, []),
        (SCORE, [16]),
        (P_VALUE, ["batch", 2]),
        (CONTRIBUTION, ["batch", 2, 4]),
        (EXPECTED, ["batch", 8]),
        (STEP_SCORE, ["batch", 3]),
    ],
)
def test_a_wrong_shape_is_refused_with_the_right_one(name: str, shape: list[int | str]) -> None:
    model = artifact_model(**ALL_KNOBS)
    changed = value(model.graph, name)
    changed.CopyFrom(helper.make_tensor_value_info(name, changed.type.tensor_type.elem_type, shape))
    sentence = reason_of_interface(model)
    assert f"`{name}` has the shape" in sentence
    assert "with a free batch axis is needed" in sentence


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (WINDOW, TensorProto.DOUBLE),
        (ENTITY, TensorProto.INT32),
        (ELAPSED, TensorProto.FLOAT16),
        (SCORE, TensorProto.DOUBLE),
        (EXPECTED, TensorProto.BFLOAT16),
    ],
)
def test_a_wrong_type_is_refused(name: str, dtype: int) -> None:
    model = artifact_model(**ALL_KNOBS)
    value(model.graph, name).type.tensor_type.elem_type = dtype
    assert f"`{name}` must be {'int64' if name == ENTITY else 'float'}" in reason_of_interface(model)


def test_a_sequence_is_no_window() -> None:
    model = artifact_model()
    element = value(model.graph, WINDOW).type
    value(model.graph, WINDOW).type.CopyFrom(helper.make_sequence_type_proto(element))
    assert "input `window` must be float" in reason_of_interface(model)


def test_entities_and_their_input_come_together() -> None:
    with_input, without = artifact_model(entities=("a",)), artifact_model()
    listed = manifest_of(with_input)
    assert "lists no entities" in reason(with_input, listed.model_copy(update={"entities": []}))
    plain = manifest_of(without)
    assert "has no input `entity`" in reason(without, plain.model_copy(update={"entities": ["a"]}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"min_length": 5}, "`min_length` is larger than `window`"),
        ({"features": [Feature(name="x"), Feature(name="x")]}, "two of its features have the same name"),
        ({"entities": ["a", "a"]}, "two of its entities have the same name"),
        ({"kind": "image"}, "its window has more than one row"),
        ({"kind": "log"}, "more than one feature"),
        ({"window": 1 << 30}, "more than 4194304"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: dict[str, object], sentence: str) -> None:
    model = artifact_model()
    assert sentence in reason(model, manifest_of(model).model_copy(update=change))


def changed_golden(part: str, name: str, tensor: Tensor | None) -> tuple[onnx.ModelProto, Manifest]:
    model = artifact_model()
    manifest = manifest_of(model)
    tensors = {key: value for key, value in getattr(manifest.golden, part).items() if key != name}
    if tensor is not None:
        tensors[name] = tensor
    return model, manifest.model_copy(update={"golden": manifest.golden.model_copy(update={part: tensors})})


def test_golden_windows_must_be_complete_and_of_the_right_shape_and_type() -> None:
    assert "lack input `window`" in reason(*changed_golden("inputs", WINDOW, None))
    assert "lack output `score`" in reason(*changed_golden("outputs", SCORE, None))
    empty = Tensor.of(np.zeros((0, 4, 2), np.float32))
    assert "holds no golden windows" in reason(*changed_golden("inputs", WINDOW, empty))
    long = Tensor.of(np.zeros(6, np.float32))
    assert "golden output `score` has shape (6,), (5,) is needed" in reason(*changed_golden("outputs", SCORE, long))
    whole = Tensor.of(np.zeros(5, np.int64))
    assert "golden output `score` is int64" in reason(*changed_golden("outputs", SCORE, whole))
    short = Tensor(shape=[5], data="AAAA")
    assert "golden output `score` cannot be read" in reason(*changed_golden("outputs", SCORE, short))
    nan = Tensor.of(np.full(5, np.nan, np.float32))
    assert "golden output `score` is not finite" in reason(*changed_golden("outputs", SCORE, nan))


def test_a_golden_output_without_a_tolerance_is_refused() -> None:
    model = artifact_model()
    manifest = manifest_of(model)
    golden = manifest.golden.model_copy(update={"tolerances": {}})
    assert "has no tolerance" in reason(model, manifest.model_copy(update={"golden": golden}))


def test_what_was_expected_may_be_unknown() -> None:
    unknown = Tensor.of(np.full((5, 4, 2), np.nan, np.float32))
    check(*changed_golden("outputs", EXPECTED, unknown))
