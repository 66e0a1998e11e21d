"""A graph for many batches at once: a model goes in, one whose inputs and outputs have an axis more in front comes out.

A batch is computed fastest in pieces that stay in a core's cache. But a call for each would take Python's lock twice
from the thread that reads and writes Kafka, each time to wait for it; so the runtime goes from piece to piece itself.
"""

from collections.abc import Iterable
from typing import Protocol

from onnx import AttributeProto, ModelProto, ValueInfoProto
from onnx.helper import make_node


class _Values(Protocol):
    """A graph's inputs or outputs."""

    def add(self) -> ValueInfoProto: ...


def outer_name(name: str) -> str:
    """What an input or output is called outside, where it has the axis of pieces in front: names are unique."""
    return f"{name} in pieces"


def in_pieces(model: ModelProto) -> ModelProto:
    """A model that computes (pieces, batch, ...) as `model` computes each (batch, ...), one after another."""
    graph = model.graph
    whole = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    whole.graph.name = graph.name
    whole.graph.initializer.extend(graph.initializer)
    whole.graph.sparse_initializer.extend(graph.sparse_initializer)
    _add_outer(whole.graph.input, graph.input)
    _add_outer(whole.graph.output, graph.output)
    scan = make_node(
        "Scan",
        [value.name for value in whole.graph.input],
        [value.name for value in whole.graph.output],
        num_scan_inputs=len(graph.input),
    )
    body = scan.attribute.add(name="body", type=AttributeProto.GRAPH).g
    body.name = "piece"
    body.node.extend(graph.node)  # constants are seen from outside
    body.input.extend(graph.input)
    body.output.extend(graph.output)
    whole.graph.node.append(scan)
    return whole


def _add_outer(to: _Values, values: Iterable[ValueInfoProto]) -> None:
    for value in values:
        outer = to.add()
        outer.name = outer_name(value.name)
        outer.type.tensor_type.elem_type = value.type.tensor_type.elem_type
        shape = outer.type.tensor_type.shape
        shape.dim.add().dim_param = "pieces"
        shape.dim.extend(value.type.tensor_type.shape.dim)
