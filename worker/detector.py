"""The detector: a batch of windows goes in, scores come out, with an explanation of the few that need one.

It holds the artifact to its golden windows before it scores anything. Knows neither Kafka nor the runtime behind it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Literal

import numpy as np
import onnx

from schemas.artifact import CONTRIBUTION, ELAPSED, ENTITY, EXPECTED, P_VALUE, SCORE, WINDOW
from worker.batch import Bool, Explanation, Float32, Int64, Scores, Windows
from worker.golden import check_golden
from worker.model_store import Artifact
from worker.network import Column
from worker.runtime import Runtime, Wanted

SMALLEST_P_VALUE = np.finfo(np.float32).tiny
"""The contract has no p-value of 0: an event too rare for float32 is the last one to be refused for it."""


@dataclass(frozen=True, slots=True)
class ExplainRule:
    """Which events get an explanation: those above the threshold that are not warming, all, or none."""

    when: Literal["anomalies", "all", "never"]
    threshold: float


class Detector:
    """An artifact on a provider, ready to score.

    Two networks are made of the graph: one computes the score and p-value of every window, the other contribution and
    expected of those to explain.

    Args:
        artifact: what to run.
        provider: the setting `inference.provider`.
        threads: CPU threads.
        explain: which events get an explanation.

    Raises:
        ArtifactError: the graph cannot be run on the provider, or its golden outputs are out of tolerance there.
        ConfigError: the provider that is asked for cannot be used here.
    """

    def __init__(self, artifact: Artifact, *, provider: Wanted, threads: int, explain: ExplainRule) -> None:
        runtime = Runtime(provider, threads=threads)
        self.artifact = artifact
        self.threads = threads
        self.explain = explain
        self.manifest = artifact.manifest
        self.provider = runtime.provider
        self.provider_reason = runtime.reason
        self._places = {name: place for place, name in enumerate(self.manifest.entities, start=1)}
        model = onnx.load_from_string(artifact.file)
        shape = (self.manifest.window, len(self.manifest.features))
        row_values = shape[0] * shape[1]
        self._scoring = runtime.network(model, (SCORE, P_VALUE), row_values=row_values)
        self._explaining = runtime.network(model, (CONTRIBUTION, EXPECTED), row_values=row_values)
        self._nothing_explained = Explanation(
            np.empty(0, np.int64), np.empty((0, *shape), np.float32), np.empty((0, *shape), np.float32)
        )
        for network in (self._scoring, self._explaining):
            check_golden(network, self.manifest.golden, provider=runtime.provider)

    @property
    def needs_elapsed(self) -> bool:
        """Whether windows must carry `elapsed`."""
        return ELAPSED in self._scoring.inputs | self._explaining.inputs

    def score(self, windows: Windows, entity: list[str]) -> Scores:
        """The scores of m windows, whose entities are named.

        Raises InferenceError where the provider fails, also on smaller batches.
        """
        if not entity:
            return Scores(np.empty(0, np.float32), np.empty(0, np.float32), self._nothing_explained)
        columns = self._columns(windows, entity)
        outputs = self._scoring.compute(columns)
        score, p_value = _usable(outputs[SCORE], outputs[P_VALUE])
        chosen = np.flatnonzero(self._is_explained(score, windows.length))
        explanation = self._explanation(columns, chosen) if len(chosen) else self._nothing_explained
        return Scores(score, p_value, explanation, int((columns[ENTITY] == 0).sum()) if self._places else 0)

    def _columns(self, windows: Windows, entity: Iterable[str]) -> Mapping[str, Column]:
        columns: dict[str, Column] = {WINDOW: np.ascontiguousarray(windows.values, np.float32)}
        if windows.elapsed is not None:
            columns[ELAPSED] = np.ascontiguousarray(windows.elapsed, np.float32)
        if self._places:
            columns[ENTITY] = np.fromiter(map(self._places.get, entity, repeat(0)), np.int64, len(windows.length))
        return columns

    def _is_explained(self, score: Float32, length: Int64) -> Bool:
        match self.explain.when:
            case "anomalies":
                return (score > self.explain.threshold) & (length >= self.manifest.min_length)
            case "all":
                return np.isfinite(score)
            case "never":
                return np.zeros(len(score), np.bool_)

    def _explanation(self, columns: Mapping[str, Column], chosen: Int64) -> Explanation:
        """Contribution and expected of the chosen rows; a row whose shares are not finite is scored without."""
        outputs = self._explaining.compute({name: column[chosen] for name, column in columns.items()})
        contribution, expected = outputs[CONTRIBUTION], outputs[EXPECTED]
        finite = np.isfinite(contribution).all(axis=(1, 2))
        if finite.all():
            return Explanation(chosen, contribution, expected)
        return Explanation(chosen[finite], contribution[finite], expected[finite])


def _usable(score: Float32, p_value: Float32) -> tuple[Float32, Float32]:
    """Both, NaN where one of them is not finite; p-values in (0, 1]."""
    finite = np.isfinite(score) & np.isfinite(p_value)
    p_value = np.clip(p_value, SMALLEST_P_VALUE, np.float32(1.0))
    if finite.all():
        return score, p_value
    nan = np.float32(np.nan)
    return np.where(finite, score, nan), np.where(finite, p_value, nan)
