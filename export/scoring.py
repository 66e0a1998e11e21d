"""An artifact and windows in, scores out, by the artifact contract alone: what the worker would say. Knows no torch.

The causal score of a row uses this row and those before it: it can be published at once. The revised score is the mean
of what all windows that cover the row say of it, so it is known up to W - 1 rows later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.errors import ArtifactRefusedError
from export.labelled import LabelledRows
from export.windows import every_window
from schemas.artifact import CONTRIBUTION, ELAPSED, ENTITY, EXPECTED, SCORE, STEP_SCORE, WINDOW
from schemas.manifest import Manifest

_BATCH_VALUES = 1 << 20  # 4 MiB of float32: large enough to be quick
_BATCH_WINDOWS = 4096

Float64 = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """Scores of every row, in the rows' order."""

    causal: Float64  # (n,)
    revised: Float64  # (n,)
    warming: NDArray[np.bool_]  # (n,) the window held fewer rows than min_length


class Network:
    """A verified artifact on ONNX Runtime's CPU provider.

    Raises:
        ArtifactRefusedError: the runtime refuses it, it does not keep to the contract, or its golden windows do not
            come out as they should.
    """

    def __init__(self, content: bytes, manifest: Manifest) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # networks as small as detectors are gain nothing from more
        options.log_severity_level = 3  # errors only: it warns of every machine without a GPU
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions have no common class
            raise ArtifactRefusedError(f"ONNX Runtime refuses the model: {str(error).splitlines()[0]}") from error
        self.inputs = frozenset(value.name for value in self._session.get_inputs())
        names = [value.name for value in self._session.get_outputs()]
        if WINDOW not in self.inputs or not self.inputs <= {WINDOW, ELAPSED, ENTITY} or SCORE not in names:
            raise ArtifactRefusedError(
                f"The model takes {', '.join(sorted(self.inputs))} and gives {', '.join(names)}: "
                "that is not the artifact contract."
            )
        self._outputs = [name for name in (SCORE, STEP_SCORE) if name in names]
        self._explains = {CONTRIBUTION, EXPECTED} <= set(names)
        self._check_golden(manifest)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """`score` (batch,) and, where the graph has it, `step_score` (batch, W)."""
        return self._run(self._outputs, inputs)

    def explanations(self, inputs: Arrays) -> dict[str, NDArray[np.float32]] | None:
        """`contribution` and `expected`, (batch, W, F) each; None where the graph has them not."""
        return self._run([CONTRIBUTION, EXPECTED], inputs) if self._explains else None

    def _run(self, names: Sequence[str], inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        try:
            return dict(zip(names, self._session.run(names, inputs), strict=True))
        except Exception as error:  # see above
            raise ArtifactRefusedError(f"The model cannot be run: {str(error).splitlines()[0]}") from error

    def _check_golden(self, manifest: Manifest) -> None:
        if not manifest.golden.inputs:
            return
        outputs = self({name: tensor.array() for name, tensor in manifest.golden.inputs.items()})
        for name in outputs.keys() & manifest.golden.outputs.keys():
            wanted, tolerance = manifest.golden.outputs[name].array(), manifest.golden.tolerances[name]
            if not np.allclose(outputs[name], wanted, rtol=tolerance.relative, atol=tolerance.absolute):
                raise ArtifactRefusedError(f"The model's golden windows do not give the {name} that they should.")


class Inputs:
    """What a network is shown for each row: the window that ends in it, and what else its graph asks for."""

    def __init__(self, network: Network, manifest: Manifest, rows: LabelledRows) -> None:
        self.windows = every_window(rows.sample, window=manifest.window, max_gap_ms=manifest.max_gap_ms)
        self._names = network.inputs
        self._place = _entity_places(rows.entities, manifest)[rows.sample.entity]

    def of(self, batch: NDArray[np.int64]) -> Arrays:
        """The tensors by name for these rows."""
        inputs: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {WINDOW: self.windows.take(batch)}
        elapsed = self.windows.elapsed(batch) if ELAPSED in self._names else None
        if elapsed is not None:
            inputs[ELAPSED] = elapsed
        if ENTITY in self._names:
            inputs[ENTITY] = self._place[batch]
        return inputs


def score_rows(
    network: Network, manifest: Manifest, rows: LabelledRows, on_rows: Callable[[int, int | None], None]
) -> RowScores:
    """Scores every row of every entity. The network's inputs beyond `window` need times and entities in the rows."""
    inputs = Inputs(network, manifest, rows)
    windows = inputs.windows
    causal = np.empty(len(windows))
    revised = _Mean(len(windows), manifest.window)
    size = min(_BATCH_WINDOWS, max(1, _BATCH_VALUES // (manifest.window * len(manifest.features))))
    for begin in range(0, len(windows), size):
        batch = np.arange(begin, min(begin + size, len(windows)))
        outputs = network(inputs.of(batch))
        causal[batch] = outputs[SCORE]
        revised.add(batch, windows.length[batch], outputs.get(STEP_SCORE, outputs[SCORE][:, None]))
        on_rows(int(batch[-1]) + 1, len(windows))
    return RowScores(causal=causal, revised=revised.values(), warming=windows.length < manifest.min_length)


def expected_events(network: Network, events: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, F) what the network thinks that these events, each judged by itself, should have been."""
    explanations = network.explanations({WINDOW: events[:, None]})
    if explanations is None:
        raise ArtifactRefusedError(f"The model does not give {EXPECTED}: it cannot say what is normal.")
    return explanations[EXPECTED][:, 0]


class _Mean:
    """The mean, row by row, of what the windows that cover a row say of it."""

    def __init__(self, rows: int, window: int) -> None:
        self._sum = np.zeros(rows)
        self._count = np.zeros(rows)
        self._window = window

    def add(self, last: NDArray[np.int64], length: NDArray[np.int64], said: NDArray[np.float32]) -> None:
        """Takes what windows say of each of their rows, (m, W), or of all of them, (m, 1)."""
        of_each = np.broadcast_to(said, (len(last), self._window))
        for age in range(self._window):
            covered = length > age
            self._sum[last[covered] - age] += of_each[covered, self._window - 1 - age]
            self._count[last[covered] - age] += 1

    def values(self) -> Float64:
        """(rows,); every row is covered by its own window at least."""
        return self._sum / self._count


def _entity_places(entities: Sequence[str], manifest: Manifest) -> NDArray[np.int64]:
    """(entities,) 1-based places in the manifest's list, 0 = not seen in training."""
    known = {name: place for place, name in enumerate(manifest.entities, start=1)}
    return np.array([known.get(name, 0) for name in entities], dtype=np.int64)
