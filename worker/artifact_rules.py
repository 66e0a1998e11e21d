"""What an artifact's graph and manifest may contain: a parsed model goes in, the first broken rule comes out.

Knows neither files nor digests nor the runtime. The rules are the artifact contract (docs/artifact.md).
"""

from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from schemas.artifact import (
    ALLOWED_DOMAINS,
    CONTRIBUTION,
    ELAPSED,
    ENTITY,
    EXPECTED,
    MINIMUM_OPSET,
    P_VALUE,
    SCORE,
    STEP_SCORE,
    WINDOW,
)
from schemas.manifest import Manifest, Tensor
from worker.errors import clause

MAX_NODES = 50_000  # a transformer of a hundred layers has some thousand
MAX_TENSORS = 50_000
MAX_ELEMENTS = 1 << 29  # of one tensor: more than the largest accepted file could fill
MAX_RANK = 8  # the runtime's kernels are tested up to about here
MAX_SUBGRAPH_DEPTH = 8  # loops in loops: real networks have one or two
MAX_WINDOW_VALUES = 1 << 22  # W * F: a window of 16 MiB, an image of 1024 x 1024 in four channels

RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""A score must be the same whenever it is computed again."""

REQUIRED_OUTPUTS = (SCORE, P_VALUE, CONTRIBUTION, EXPECTED)


class RuleError(ValueError):
    """The artifact breaks a rule; the text is a clause that completes "it is refused: ..."."""


def check(model: ModelProto, manifest: Manifest) -> None:
    """Hold a model to every rule. Raises RuleError for the first one that it breaks."""
    check_graph(model)
    check_manifest(manifest)
    check_interface(model.graph, manifest)
    check_golden(model.graph, manifest)


def check_graph(model: ModelProto) -> None:
    """The graph is whole, of bounded size, and made of standard operators alone. Raises RuleError."""
    _check_opset(model)
    if model.functions:
        raise RuleError(f"it defines {len(model.functions)} functions of its own; export it with functions inlined")
    if model.training_info:
        raise RuleError("it carries training information; export it for inference")
    graphs = list(_graphs(model.graph))
    _check_nodes([node for graph in graphs for node in graph.node])
    _check_tensors([tensor for graph in graphs for tensor in _tensors(graph)])
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise RuleError(f"its graph is not valid ONNX: {clause(error)}") from error


def check_manifest(manifest: Manifest) -> None:
    """The manifest's own parts fit each other. Raises RuleError."""
    values = manifest.window * len(manifest.features)
    rules = {
        f"its windows hold {values} values, more than {MAX_WINDOW_VALUES}": values > MAX_WINDOW_VALUES,
        "`min_length` is larger than `window`": manifest.min_length > manifest.window,
        "two of its features have the same name": _repeats(manifest.feature_names),
        "two of its entities have the same name": _repeats(manifest.entities),
        "its kind is `image`, but its window has more than one row": manifest.kind == "image" and manifest.window > 1,
        "its kind is `log`, but it has more than one feature": manifest.kind == "log" and len(manifest.features) > 1,
    }
    for sentence, broken in rules.items():
        if broken:
            raise RuleError(f"its manifest contradicts itself: {sentence}")


def check_interface(graph: GraphProto, manifest: Manifest) -> None:
    """Inputs and outputs have the contract's names, types and shapes. Raises RuleError."""
    rows, features = manifest.window, len(manifest.features)
    inputs = {WINDOW: [rows, features], ELAPSED: [rows], ENTITY: []}
    row_wise, whole = [rows], [rows, features]
    outputs = {SCORE: [], P_VALUE: [], CONTRIBUTION: whole, EXPECTED: whole, STEP_SCORE: row_wise}
    _check_values("input", graph.input, inputs, required=(WINDOW,))
    _check_values("output", graph.output, outputs, required=REQUIRED_OUTPUTS)
    for tensor in graph.initializer:
        if tensor.name in inputs:
            raise RuleError(f"input `{tensor.name}` has a built-in value")
    has_entity = any(value.name == ENTITY for value in graph.input)
    if has_entity != bool(manifest.entities):
        raise RuleError(
            "it has an input `entity`, but its manifest lists no entities"
            if has_entity
            else "its manifest lists entities, but it has no input `entity`"
        )


def check_golden(graph: GraphProto, manifest: Manifest) -> None:
    """There are golden windows, and an output with its tolerance for each of them. Raises RuleError."""
    golden, windows = manifest.golden, len(_array("input", WINDOW, manifest.golden.inputs.get(WINDOW)))
    if windows == 0:
        raise RuleError("its manifest holds no golden windows")
    for role, values, tensors in (("input", graph.input, golden.inputs), ("output", graph.output, golden.outputs)):
        for value in values:
            array = _array(role, value.name, tensors.get(value.name))
            shape = (windows, *(dimension.dim_value for dimension in value.type.tensor_type.shape.dim[1:]))
            if array.shape != shape:
                raise RuleError(f"golden {role} `{value.name}` has shape {array.shape}, {shape} is needed")
            if role == "output" and value.name not in golden.tolerances:
                raise RuleError(f"golden output `{value.name}` has no tolerance")
            if role == "output" and value.name != EXPECTED and not np.isfinite(array).all():
                raise RuleError(f"golden output `{value.name}` is not finite")


def _check_opset(model: ModelProto) -> None:
    opset = max((entry.version for entry in model.opset_import if entry.domain == ""), default=0)
    if opset < MINIMUM_OPSET:
        raise RuleError(f"it is of opset {opset}; {MINIMUM_OPSET} or later is needed")


def _graphs(graph: GraphProto, depth: int = 0) -> Iterator[GraphProto]:
    """The graph and all graphs inside its nodes."""
    if depth > MAX_SUBGRAPH_DEPTH:
        raise RuleError(f"its graphs are nested deeper than {MAX_SUBGRAPH_DEPTH}")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _inner_graphs(attribute):
                yield from _graphs(inner, depth + 1)


def _inner_graphs(attribute: AttributeProto) -> Iterable[GraphProto]:
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs


def _check_nodes(nodes: list[NodeProto]) -> None:
    if len(nodes) > MAX_NODES:
        raise RuleError(f"it has {len(nodes)} nodes, more than {MAX_NODES}")
    for node in nodes:
        if node.domain not in ALLOWED_DOMAINS:
            raise RuleError(
                f"node `{node.name or node.op_type}` uses {node.domain}.{node.op_type}, no standard operator"
            )
        if node.op_type in RANDOM_OPERATORS:
            raise RuleError(f"node `{node.name or node.op_type}` draws random numbers: scores could not be repeated")
        if not _is_standard(node):
            raise RuleError(f"node `{node.name or node.op_type}` uses {node.op_type}, no standard operator")


def _is_standard(node: NodeProto) -> bool:
    """The checker only warns of operators that never became standard."""
    try:
        return bool(onnx.defs.has(node.op_type, node.domain))
    except TypeError:  # what is not UTF-8 comes as bytes
        return False


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every constant of one graph, those in its nodes' attributes too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            sparse_tensors = list(attribute.sparse_tensors)
            if attribute.HasField("sparse_tensor"):
                sparse_tensors.append(attribute.sparse_tensor)
            for sparse in sparse_tensors:
                yield from (sparse.values, sparse.indices)


def _check_tensors(tensors: list[TensorProto]) -> None:
    if len(tensors) > MAX_TENSORS:
        raise RuleError(f"it has {len(tensors)} constants, more than {MAX_TENSORS}")
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise RuleError(f"constant `{tensor.name}` lies outside the file; export it as one file")
        if len(tensor.dims) > MAX_RANK:
            raise RuleError(f"constant `{tensor.name}` has {len(tensor.dims)} dimensions, more than {MAX_RANK}")
        if min(tensor.dims, default=0) < 0 or prod(tensor.dims) > MAX_ELEMENTS:
            raise RuleError(f"constant `{tensor.name}` claims the shape {list(tensor.dims)}")


def _repeats(names: Iterable[str]) -> bool:
    names = list(names)
    return len(set(names)) < len(names)


def _check_values(
    role: str, values: Iterable[ValueInfoProto], shapes: dict[str, list[int]], *, required: tuple[str, ...]
) -> None:
    names = [value.name for value in values]
    for name in required:
        if name not in names:
            raise RuleError(f"it has no {role} `{name}`")
    for value in values:
        if value.name not in shapes:
            raise RuleError(f"it has an {role} `{value.name}`, which the contract does not know")
        dtype = TensorProto.INT64 if value.name == ENTITY else TensorProto.FLOAT
        _check_value(f"{role} `{value.name}`", value, shapes[value.name], dtype)


def _check_value(what: str, value: ValueInfoProto, shape: list[int], dtype: int) -> None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type != dtype:
        raise RuleError(f"{what} must be {TensorProto.DataType.Name(dtype).lower()}")
    batch, *rest = [_dimension(dimension) for dimension in tensor.shape.dim] or [0]
    if batch is not None or rest != shape:
        found = ", ".join("batch" if size is None else str(size) for size in (batch, *rest))
        needed = ", ".join(["batch", *map(str, shape)])
        raise RuleError(f"{what} has the shape [{found}]; [{needed}] with a free batch axis is needed")


def _dimension(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    """A fixed size, or None where it is free."""
    return dimension.dim_value if dimension.HasField("dim_value") else None


def _array(role: str, name: str, tensor: Tensor | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]:
    if tensor is None:
        raise RuleError(f"its golden windows lack {role} `{name}`")
    if tensor.dtype != ("int64" if name == ENTITY else "float32"):
        raise RuleError(f"golden {role} `{name}` is {tensor.dtype}")
    try:
        return tensor.array()
    except ValueError as error:
        raise RuleError(f"golden {role} `{name}` cannot be read: {clause(error)}") from error
