"""The golden windows: a network and a manifest's golden outputs go in; what does not agree comes out as an error."""

import numpy as np

from schemas.manifest import Golden, Tolerance
from worker.errors import ArtifactError, InferenceError
from worker.network import Column, Network


def check_golden(network: Network, golden: Golden, *, provider: str) -> None:
    """Compute the golden windows in batches of several sizes: a provider's code differs from size to size.

    Raises ArtifactError for the first output that cannot be computed, or lies outside its tolerance.
    """
    inputs = {name: tensor.array() for name, tensor in golden.inputs.items()}
    expected = {name: golden.outputs[name].array() for name in network.outputs}
    windows = len(next(iter(inputs.values())))
    for rows in _batch_sizes(network.sizes, windows):
        chosen = np.arange(rows) % windows
        try:
            actual = network.compute({name: column[chosen] for name, column in inputs.items()})
        except InferenceError as error:
            raise ArtifactError(f"the golden windows cannot be computed: {error}") from error
        for name, output in actual.items():
            problem = _difference(output, expected[name][chosen], golden.tolerances[name])
            if problem:
                raise ArtifactError(
                    f"golden outputs out of tolerance on provider {provider}: "
                    f"output {name} {problem} in a batch of {rows}"
                )


def _batch_sizes(sizes: tuple[int, ...], windows: int) -> list[int]:
    """One row, all golden windows, the smallest, a middle and the largest call, and a batch of more than one call."""
    return sorted({1, windows, sizes[0], sizes[len(sizes) // 2], sizes[-1], sizes[-1] + 1})


def _difference(actual: Column, golden: Column, tolerance: Tolerance) -> str | None:
    """How an output differs, as a clause; None where it is within its tolerance."""
    if actual.shape != golden.shape:
        return f"has shape {actual.shape}, not {golden.shape},"
    distance = np.abs(actual.astype(np.float64) - golden)
    distance[np.isnan(actual) & np.isnan(golden)] = 0.0
    allowed = tolerance.absolute + tolerance.relative * np.abs(np.nan_to_num(golden))
    outside = ~(distance <= allowed)
    if not outside.any():
        return None
    worst = np.unravel_index(
        np.argmax(np.where(outside, np.nan_to_num(distance, nan=np.inf) - allowed, -np.inf)), golden.shape
    )
    return f"differs by {distance[worst]:.3g} where {allowed[worst]:.3g} is allowed"
