"""Labelled rows, their scores and the network in, the incidents that score highest out, and what each is blamed on."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.blame import Blame, WorstIncident
from export.labelled import LabelledRows
from export.runs import runs_of
from export.scoring import Inputs, Network
from schemas.artifact import CONTRIBUTION, EXPECTED
from schemas.manifest import Manifest

MOST_INCIDENTS = 6
MOST_FEATURES = 5


def worst_incidents(
    network: Network,
    manifest: Manifest,
    rows: LabelledRows,
    score: NDArray[np.float64],
    alarm: NDArray[np.bool_],
) -> tuple[WorstIncident, ...]:
    """At most MOST_INCIDENTS, the highest score first; score and alarm are (n,) of every row."""
    runs = [run for of_entity in rows.slices() for run in _runs(rows.label, of_entity)]
    peaks = np.array([first + int(score[first : last + 1].argmax()) for first, last in runs], dtype=np.int64)
    kept = np.argsort(-score[peaks], kind="stable")[:MOST_INCIDENTS]
    if len(kept) == 0:
        return ()
    blames = _blames(network, manifest, rows, peaks[kept])
    return tuple(
        _incident(rows, *runs[place], score=float(score[peaks[place]]), alarm=alarm, blames=blamed)
        for place, blamed in zip(kept.tolist(), blames, strict=True)
    )


def _runs(label: NDArray[np.bool_], of_entity: slice) -> Iterator[tuple[int, int]]:
    """First and last row of each incident of an entity."""
    begin, end = runs_of(label[of_entity])
    yield from zip((begin + of_entity.start).tolist(), (end + of_entity.start).tolist(), strict=True)


def _incident(
    rows: LabelledRows,
    first: int,
    last: int,
    *,
    score: float,
    alarm: NDArray[np.bool_],
    blames: tuple[Blame, ...],
) -> WorstIncident:
    sample, raised = rows.sample, alarm[first : last + 1]
    time_ms = sample.event_time_ms
    return WorstIncident(
        entity=rows.entities[sample.entity[first]],
        first_row=int(sample.position[first]),
        last_row=int(sample.position[last]),
        first_ms=None if time_ms is None else int(time_ms[first]),
        last_ms=None if time_ms is None else int(time_ms[last]),
        score=score,
        delay_rows=int(raised.argmax()) if raised.any() else None,
        blames=blames,
    )


def _blames(
    network: Network, manifest: Manifest, rows: LabelledRows, places: NDArray[np.int64]
) -> list[tuple[Blame, ...]]:
    inputs = Inputs(network, manifest, rows)
    explained = network.explanations(inputs.of(places))
    if explained is None:
        return [()] * len(places)
    values = inputs.windows.take(places)
    return [
        tuple(_of_window(manifest.feature_names, value, share, expected))
        for value, share, expected in zip(values, explained[CONTRIBUTION], explained[EXPECTED], strict=True)
    ]


def _of_window(
    names: tuple[str, ...], value: NDArray[np.float32], share: NDArray[np.float32], expected: NDArray[np.float32]
) -> Iterator[Blame]:
    """The features of one window, all (W, F), that have most of the blame."""
    of_feature = share.sum(axis=0)
    for place in np.argsort(-of_feature, kind="stable")[:MOST_FEATURES].tolist():
        row = int(share[:, place].argmax())
        yield Blame(
            feature=names[place],
            share=float(of_feature[place]),
            value=_known(value[row, place]),
            expected=_known(expected[row, place]),
            rows_ago=len(value) - 1 - row,
        )


def _known(number: np.float32) -> float | None:
    return float(number) if np.isfinite(number) else None
