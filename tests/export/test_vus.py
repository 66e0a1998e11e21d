"""Volumes under the surface, held to the values of the benchmark's own code."""

import json
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.vus import volumes

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "vus_golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"window-{case['window']}")
def test_the_golden_cases_are_reproduced(case: dict[str, float]) -> None:
    with np.load(GOLDEN / "vus_golden.npz") as arrays:
        label, score = arrays[f"{case['case']}/label"] == 1, arrays[f"{case['case']}/score"]
    volume = volumes(label, score, window=int(case["window"]))
    assert volume.pr == pytest.approx(case["vus_pr"], abs=1e-6)
    assert volume.roc == pytest.approx(case["vus_roc"], abs=1e-6)


@st.composite
def incidents(draw: st.DrawFn) -> np.ndarray:
    """(n,) labels of both kinds."""
    label = np.array(draw(st.lists(st.booleans(), min_size=2, max_size=60)))
    label[:2] = [True, False] if draw(st.booleans()) else [False, True]
    return label


@given(label=incidents())
def test_a_perfect_score_without_a_buffer_has_both_volumes_whole(label: np.ndarray) -> None:
    volume = volumes(label, label.astype(np.float64), window=0)
    assert (volume.pr, volume.roc) == (1.0, 1.0)


@given(label=incidents())
def test_a_constant_score_has_the_share_of_anomalies_as_its_pr_volume(label: np.ndarray) -> None:
    volume = volumes(label, np.zeros(len(label)), window=0)
    assert volume.pr == pytest.approx(label.mean())
    assert volume.roc == pytest.approx(0.5)


@given(label=incidents(), seed=st.integers(0, 99), window=st.integers(0, 20))
def test_only_the_order_of_scores_counts(label: np.ndarray, seed: int, window: int) -> None:
    score = np.random.default_rng(seed).integers(-5, 5, len(label)).astype(np.float64)
    assert volumes(label, score, window=window) == volumes(label, np.exp(score / 2) * 3 - 7, window=window)


@given(label=incidents(), seed=st.integers(0, 99), window=st.integers(0, 20))
def test_a_series_read_backwards_has_the_same_volumes(label: np.ndarray, seed: int, window: int) -> None:
    score = np.random.default_rng(seed).normal(size=len(label))
    there, back = volumes(label, score, window=window), volumes(label[::-1], score[::-1], window=window)
    assert (there.pr, there.roc) == pytest.approx((back.pr, back.roc))


def by_definition(label: np.ndarray, score: np.ndarray, *, window: int) -> tuple[float, float]:
    """The same volumes, row by row and threshold by threshold as the page defines them."""
    rows = len(label)
    runs = [list(run) for _, run in groupby(np.flatnonzero(label), key=lambda row: row - label[:row].sum())]
    ranks = [int(rank) for rank in np.linspace(0, rows - 1, 250)]
    areas = []
    for w in range(window + 1):
        share = label.astype(float)
        for row in np.flatnonzero(~label):
            distances = [abs(row - edge) for run in runs for edge in (run[0], run[-1])]
            beside = [min(pair) for pair in zip(distances[::2], distances[1::2], strict=True)]
            share[row] = min(1.0, sum(np.sqrt(1 - d / w) for d in beside if d <= w // 2))
        groups: list[tuple[int, int]] = []  # incidents with their buffers, those that touch being one
        for run in runs:
            begin, end = run[0] - w // 2, run[-1] + w // 2
            if groups and groups[-1][1] >= begin:
                begin = groups.pop()[0]
            groups.append((begin, end))
        points = [(0.0, 0.0, 1.0)]
        for rank in ranks:
            alarm = score >= sorted(score, reverse=True)[rank]
            found = share[alarm].sum()
            anomalous = label.sum() + share[alarm & ~label].sum() / 2
            hit = np.mean([alarm[max(begin, 0) : end + 1].any() for begin, end in groups])
            points.append(
                (
                    (alarm.sum() - found) / (rows - anomalous),
                    min(found / anomalous, 1) * hit,
                    found / alarm.sum(),
                )
            )
        pr = sum((b[1] - a[1]) * b[2] for a, b in pairwise(points))
        points.append((1.0, 1.0, 0.0))
        areas.append((pr, sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))))
    mean_pr, mean_roc = np.mean(areas, axis=0)
    return float(mean_pr), float(mean_roc)


@settings(max_examples=25, deadline=None)
@given(label=incidents(), seed=st.integers(0, 99), window=st.integers(0, 8))
def test_the_volumes_are_those_of_the_definition(label: np.ndarray, seed: int, window: int) -> None:
    score = np.random.default_rng(seed).integers(-5, 5, len(label)).astype(np.float64)
    volume = volumes(label, score, window=window)
    assert (volume.pr, volume.roc) == pytest.approx(by_definition(label, score, window=window))


def test_an_alarm_just_beside_an_incident_counts_within_the_buffer() -> None:
    label = np.zeros(100, dtype=np.bool_)
    label[50:53] = True
    early = (np.arange(100) == 48).astype(np.float64)
    assert volumes(label, early, window=10).pr > 2 * volumes(label, early, window=0).pr


@pytest.mark.parametrize(
    ("label", "score", "window", "sentence"),
    [
        ([0, 0], [0.0, 1.0], 1, "rows of both kinds"),
        ([1, 1], [0.0, 1.0], 1, "rows of both kinds"),
        ([1, 0], [0.0, np.nan], 1, "finite"),
        ([1, 0], [0.0, 1.0], -1, "0 or more rows"),
    ],
)
def test_what_has_no_volume_is_refused(label: list[int], score: list[float], window: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        volumes(np.array(label, dtype=np.bool_), np.array(score), window=window)
