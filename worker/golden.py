"""The golden windows: a network and a manifest's golden outputs go in; what does not agree comes out as an error."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from schemas.manifest import Golden, Tolerance
from worker.errors import ArtifactError, InferenceError
from worker.network import Column, Network

PATIENCE_S = 300.0
"""For all batches of one network: the largest accepted ones take some seconds each, on a busy machine a minute."""


def check_golden(network: Network, golden: Golden, *, provider: str, patience_s: float = PATIENCE_S) -> None:
    """Compute the golden windows in batches of several sizes: a provider's code differs from size to size.

    Raises ArtifactError for the first output that cannot be computed, or lies outside its tolerance; and where a graph
    goes on and on, as one may whose loop does not end.
    """
    with _given_up_after(network, patience_s):
        _check_golden(network, golden, provider=provider)


@contextmanager
def _given_up_after(network: Network, patience_s: float) -> Iterator[None]:
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        network.give_up()

    timer = threading.Timer(patience_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except ArtifactError as error:
        if is_late.is_set():
            raise ArtifactError(
                f"the golden windows were not computed within {patience_s:g} s: a loop in the graph does not end, or "
                "the model is far too slow for this machine"
            ) from error
        raise
    finally:
        timer.cancel()


def _check_golden(network: Network, golden: Golden, *, provider: str) -> None:
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
