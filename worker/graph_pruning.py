"""A part of a graph: a model and the outputs that are wanted go in, a model that computes only those comes out.

ONNX Runtime computes every output of a graph, asked for or not: what one event in a thousand needs would be paid for
by all of them.
"""

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto

BATCH_AXIS = "batch"
"""The name of the first axis of every input and output of a pruned model, whatever the artifact calls it."""


def pruned(model: ModelProto, outputs: Iterable[str]) -> ModelProto:
    """A copy that holds just the nodes, constants and inputs that lead to `outputs`; no metadata."""
    wanted = set(outputs)
    nodes = list(_leading_to(wanted, model.graph))
    part = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(nodes))
    needed = wanted.union(*map(_reads, nodes))
    graph = model.graph
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in needed)
    part.graph.sparse_initializer.extend(tensor for tensor in graph.sparse_initializer if tensor.values.name in needed)
    part.graph.input.extend(value for value in graph.input if value.name in needed)
    part.graph.output.extend(value for value in graph.output if value.name in wanted)
    for value in (*part.graph.input, *part.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    return part


def _leading_to(wanted: Iterable[str], graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes that `wanted` is computed from, last first: ONNX lists a node after those that it reads from."""
    needed = set(wanted)
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed |= _reads(node)
            yield node


def _reads(node: NodeProto) -> set[str]:
    """The names that a node reads, those that graphs inside it may take from outside too."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            names |= {value.name for value in inner.output}.union(*map(_reads, inner.node))
    return names
