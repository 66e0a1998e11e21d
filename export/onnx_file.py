"""A module with the contract's outputs in, ONNX bytes out: opset 18 or later, plain domains, nothing of this machine.

Knows neither manifest nor digest.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import numpy as np
import onnx
import onnx.inliner
import torch
from numpy.typing import NDArray
from torch import nn

from export.errors import ExportError
from export.graph import Outputs
from schemas.artifact import ALLOWED_DOMAINS

_OPSET = 20
_LARGEST_BATCH = 65_536


def to_onnx(module: nn.Module, example: Mapping[str, NDArray[np.float32 | np.int64]]) -> onnx.ModelProto:
    """The module as a graph with a free batch axis; `example` holds its inputs by name, a batch of at least 2.

    Raises:
        ExportError: the module cannot be expressed in ONNX.
    """
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    with _quiet_exporter(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module.eval(),
                tuple(map(torch.from_numpy, example.values())),
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in example),
                input_names=list(example),
                output_names=list(Outputs._fields),
                opset_version=_OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(f"this detector cannot be expressed in ONNX: {str(error).splitlines()[0]}") from error
    # None only from the older exporter, which shares the signature.
    model = onnx.inliner.inline_local_functions(cast("torch.onnx.ONNXProgram", program).model_proto)
    _strip(model)
    foreign = {imported.domain for imported in model.opset_import} - ALLOWED_DOMAINS
    if foreign:
        raise ExportError(f"this detector needs operators outside of ONNX itself: {', '.join(sorted(foreign))}.")
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silences what the exporter says of its own insides, and nothing else."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # It copies its program by a tree function that it has deprecated itself.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|copyreg|onnxscript)\b")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(torch|onnxscript|onnx_ir)\b")
        # torch's own GRU lays out its weights anew while it is traced, and the loop over time asks for sizes.
        warnings.filterwarnings("ignore", category=UserWarning, message=r"The tensor attributes? .*_flat_weights")
        warnings.filterwarnings("ignore", category=FutureWarning, message=r".*_check_is_size")
        # The batch is one axis under one name, of every input.
        warnings.filterwarnings("ignore", category=UserWarning, message=r"# The axis name: batch will not be used")
        try:
            yield
        finally:
            logger.setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Removes what the exporter noted of its sources: paths of this machine, which make equal files differ."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    graph.name = "detector"
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    used = {node.domain for node in graph.node}
    kept = [imported for imported in model.opset_import if imported.domain in {"", *used}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
