"""Windows and parts, against loops that say the same slowly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from export.split import CALIBRATION, TRAINING, VALIDATION, part_of
from export.windows import Sample, Windows, cut


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Some entities' rows, mixed as in a log."""
    entity = np.array(draw(st.lists(st.integers(0, 2), min_size=1, max_size=80)), np.int32)
    steps = np.array(draw(st.lists(st.integers(0, 9), min_size=len(entity), max_size=len(entity))))
    position = np.array([np.count_nonzero(entity[:row] == entity[row]) for row in range(len(entity))])
    return Sample(
        entity=entity,
        position=position,
        event_time_ms=np.cumsum(steps),
        features=np.arange(len(entity), dtype=np.float32)[:, None],
        scored=np.ones(len(entity), np.bool_),
        rows_of_entity=np.bincount(entity, minlength=3),
    )


def slow_window(sample: Sample, row: int, window: int, max_gap_ms: int, part: np.ndarray) -> list[float]:
    """Walks back from the row as long as it may."""
    values: list[float] = []
    newer = row
    for older in range(row, -1, -1):
        if sample.entity[older] != sample.entity[row]:
            continue
        assert sample.event_time_ms is not None
        gap = sample.event_time_ms[newer] - sample.event_time_ms[older] > max_gap_ms
        if len(values) == window or gap or part[older] != part[row]:
            break
        values.insert(0, float(sample.features[older, 0]))
        newer = older
    return values


@given(samples(), st.integers(1, 6), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_windows_are_the_last_rows_of_their_entity_cut_at_gaps_and_parts(
    sample: Sample, window: int, max_gap_ms: int
) -> None:
    part = part_of(entity=sample.entity, position=sample.position, rows=sample.rows_of_entity, window=window)
    expected = {
        wanted: sorted(
            slow_window(sample, row, window, max_gap_ms, part) for row in range(len(part)) if part[row] == wanted
        )
        for wanted in (TRAINING, VALIDATION, CALIBRATION)
    }
    parts = cut(sample, window=window, min_length=1, max_gap_ms=max_gap_ms)
    found = {TRAINING: parts.training, VALIDATION: parts.validation, CALIBRATION: parts.calibration}
    assert {wanted: sorted(seen_rows(windows)) for wanted, windows in found.items()} == expected


def seen_rows(windows: Windows) -> list[list[float]]:
    values = windows.take(np.arange(len(windows)))[:, :, 0]
    rows = [window[~np.isnan(window)].tolist() for window in values]
    # what is not seen stands in front
    assert all(np.isnan(window[: len(window) - len(seen)]).all() for window, seen in zip(values, rows, strict=True))
    return rows


def test_shorter_windows_than_the_least_are_left_out() -> None:
    sample = Sample(
        entity=np.zeros(100, np.int32),
        position=np.arange(100),
        event_time_ms=None,
        features=np.zeros((100, 1), np.float32),
        scored=np.ones(100, np.bool_),
        rows_of_entity=np.array([100]),
    )
    parts = cut(sample, window=8, min_length=5, max_gap_ms=None)
    assert [len(parts.training), len(parts.validation), len(parts.calibration)] == [66, 6, 16]
    assert parts.training.length.min() == 5


def test_an_entity_is_divided_by_time() -> None:
    part = part_of(entity=np.zeros(1000, np.int32), position=np.arange(1000), rows=np.array([1000]), window=10)
    assert part.tolist() == [TRAINING] * 700 + [VALIDATION] * 100 + [CALIBRATION] * 200


def test_many_short_entities_are_held_back_whole() -> None:
    entity = np.repeat(np.arange(40, dtype=np.int32), 20)
    part = part_of(entity=entity, position=np.tile(np.arange(20), 40), rows=np.full(40, 20), window=10)
    assert (part.reshape(40, 20) == part[::20, None]).all()
    assert np.bincount(part[::20]).tolist() == [28, 4, 8]


def test_evenly_spread_windows_keep_their_order_and_number() -> None:
    windows = Windows(rows=np.zeros((100, 1), np.float32), last=np.arange(100), length=np.ones(100, np.int64), window=1)
    assert windows.spread(5).last.tolist() == [0, 24, 49, 74, 99]
    assert windows.spread(200) is windows
