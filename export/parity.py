"""The gate: ONNX Runtime must say of the same windows what PyTorch says, or nothing is written."""

from collections.abc import Mapping

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from export.errors import ParityError
from export.graph import Outputs
from schemas.artifact import CONTRIBUTION, EXPECTED, P_VALUE, SCORE, STEP_SCORE
from schemas.manifest import Tolerance

BATCHES = (1, 3, 64, 1000)
_OF_THE_THRESHOLD = 1e-3
Arrays = Mapping[str, NDArray[np.float32 | np.int64]]


@torch.no_grad()
def torch_outputs(module: nn.Module, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
    """What PyTorch says of these inputs, both by the contract's names; the inputs in the order of the graph's."""
    outputs: Outputs = module(*map(torch.from_numpy, inputs.values()))
    return {name: value.numpy() for name, value in outputs._asdict().items()}


def check_parity(model: bytes, module: nn.Module, inputs: Arrays) -> None:
    """Compares all outputs at several batch sizes.

    Args:
        model: The ONNX file.
        module: What it was made from.
        inputs: By the contract's names, n >= 1 of each to choose from; batches larger than n repeat them.

    Raises:
        ParityError: names the output that differs most beyond its tolerance, and by how much.
    """
    session = runtime_session(model)
    # Of all inputs together: what is expected of a small window may be the rounded remainder of a large scale.
    allowed = tolerances(torch_outputs(module, inputs))
    for size in BATCHES:
        batch = {name: np.resize(values, (size, *values.shape[1:])) for name, values in inputs.items()}
        names = list(Outputs._fields)
        runtime = dict(zip(names, session.run(names, batch), strict=True))
        fault = difference(runtime, torch_outputs(module, batch), allowed)
        if fault is not None:
            raise ParityError(f"ONNX Runtime and PyTorch disagree at batch size {size}: {fault}; nothing was written.")


def tolerances(wanted: Arrays, *, leeway: float = 1.0) -> dict[str, Tolerance]:
    """How far two runtimes may lie apart: float32 sums in another order, no more.

    `expected` is in input units, so its tolerance is a share of its own size, but no smaller than that of a thousandth:
    scales have a floor. A score may be off by a thousandth of the threshold: where windows are nearly alike, distances
    between them are small differences of large numbers, and a steep curve magnifies what was rounded. With an alarm
    rate of 0.001 that is 0.7 % of a p-value, which may be off by 1 %. A share of the blame may be off by a thousandth
    of the whole, for the same reason.

    Args:
        wanted: The outputs to be met, by name.
        leeway: 1 for two runtimes on one machine; more for providers of other hardware.
    """
    largest = float(np.nan_to_num(np.abs(wanted[EXPECTED])).max(initial=0.0))
    return {
        SCORE: Tolerance(absolute=_OF_THE_THRESHOLD * leeway, relative=1e-4 * leeway),
        P_VALUE: Tolerance(absolute=1e-12, relative=1e-2 * leeway),
        CONTRIBUTION: Tolerance(absolute=1e-3 * leeway, relative=1e-3 * leeway),
        STEP_SCORE: Tolerance(absolute=_OF_THE_THRESHOLD * leeway, relative=1e-4 * leeway),
        EXPECTED: Tolerance(absolute=1e-5 * leeway * max(largest, 1e-3), relative=1e-4 * leeway),
    }


def runtime_session(model: bytes) -> onnxruntime.InferenceSession:
    """The file on the CPU provider, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only: it warns of every machine without a GPU
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def difference(actual: Arrays, wanted: Arrays, allowed: Mapping[str, Tolerance]) -> str | None:
    """The first output beyond its tolerance, in words; None where all are within."""
    for name, tolerance in allowed.items():
        silent = np.isnan(wanted[name]) & np.isnan(actual[name]) & (name == EXPECTED)  # neither has an opinion
        if not (np.isfinite(actual[name]) & np.isfinite(wanted[name]) | silent).all():
            return f"output {name!r} is not finite"
        gap = np.where(silent, 0.0, np.abs(actual[name].astype(np.float64) - wanted[name]))
        excess = gap - (tolerance.absolute + tolerance.relative * np.abs(np.nan_to_num(wanted[name])))
        if (excess > 0).any():
            worst = int(excess.argmax())
            return f"output {name!r} differs by {gap.flat[worst]:.3g} where {wanted[name].flat[worst]:.6g} was expected"
    return None
