"""The window that is chosen where none is named."""

import numpy as np
import pytest

from export.errors import UsageError
from export.recommendation import recommended, remedy, sensor_window, with_window
from export.training_config import load_config

GIVEN = {"data": ["a.csv"], "output": "a.onnx"}


@pytest.mark.parametrize(
    ("rows", "features", "window"),
    [
        ([10_000], 1, 96),
        ([10_000], 8, 64),
        ([500], 1, 64),  # 50 rows of validation hold 19 windows of at least 32 rows, but only 3 of at least 48
        ([300], 8, 16),
        ([20] * 100, 8, 16),  # many short entities, taken whole
        ([50], 8, 2),  # not even these are enough: the training says so
    ],
)
def test_the_window_is_as_long_as_the_rows_allow(rows: list[int], features: int, window: int) -> None:
    assert sensor_window(np.array(rows), features=features, least=None) == window


def test_the_window_holds_the_rows_that_count_as_warm() -> None:
    assert sensor_window(np.array([100_000]), features=1, least=120) == 120
    assert sensor_window(np.array([50]), features=1, least=10) == 12


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({}, 64),
        ({"kind": "sensor"}, 64),
        ({"kind": "tabular"}, 1),
        ({"kind": "tabular", "derive": "ratios"}, 64),
        ({"kind": "image"}, 1),
        ({"kind": "log", "log_ids": "template"}, 64),
        ({"window": 7}, 7),
    ],
)
def test_the_kind_decides_and_the_user_above_it(settings: dict[str, object], window: int) -> None:
    chosen = with_window(load_config(None, {**GIVEN, **settings}), np.array([10_000]), features=3)
    assert chosen.window_rows == window


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({"window": 1}, "tabular"), ({"window": 2}, "sensor"), ({}, "sensor"), ({"kind": "image"}, "image")],
)
def test_the_kind_follows_from_the_window_where_it_is_not_named(settings: dict[str, object], kind: str) -> None:
    assert load_config(None, {**GIVEN, **settings}).event_kind == kind


@pytest.mark.parametrize(
    ("settings", "derived"),
    [
        ({"kind": "tabular", "entity": "customer"}, ("ratios", "rolling")),
        ({"kind": "tabular", "entity": "customer", "derive": "none"}, ()),
        ({"kind": "tabular", "entity": "customer", "window": 1}, ()),
        ({"kind": "tabular"}, ()),
        ({"kind": "sensor", "entity": "customer"}, ()),
    ],
)
def test_events_that_belong_to_someone_are_compared_with_theirs(
    settings: dict[str, object], derived: tuple[str, ...]
) -> None:
    config = load_config(None, {**GIVEN, **settings})
    assert recommended(config, np.array([9, 9, 1]), features=3).derivations == derived
    assert recommended(config, np.array([9, 1, 1]), features=3).window_rows in {1, 2}


@pytest.mark.parametrize(
    ("rows", "settings", "sentence"),
    [
        ([50], {"window": 2, "kind": "sensor"}, "give about 250 rows"),
        ([120], {"window": 16}, "give about 290 rows"),
        ([300], {"window": 64}, "give about 410 rows, or --window 16 (now 64)"),
        ([20] * 60, {"window": 32, "min_length": 20}, "give about 1,500 rows in all, or leave --min-length 20 out"),
        ([30], {"window": 1, "kind": "tabular"}, "give about 71 rows"),
        ([1000], {"window": 8}, "give more data"),
        ([1000], {"window": 8, "timestamp": "t", "max_gap": 9}, "let --max-gap leave more of them"),
        ([9000], {"window": 8, "max_windows": 1000}, "let --max-windows leave more of them"),
        ([5] * 10, {"window": 64, "kind": "tabular", "entity": "e", "derive": "ratios"}, "give about 250 rows in all"),
        ([1], {"window": 4096}, "give about 21,000 rows"),
    ],
)
def test_too_few_rows_are_met_only_with_what_would_do(
    rows: list[int], settings: dict[str, object], sentence: str
) -> None:
    assert remedy(load_config(None, {**GIVEN, **settings}), np.array(rows)) == sentence


@pytest.mark.parametrize(("settings", "rows"), [({"kind": "tabular"}, 1), ({"kind": "log", "log_ids": "t"}, 64)])
def test_more_rows_than_a_window_holds_are_never_awaited(settings: dict[str, object], rows: int) -> None:
    config = load_config(None, {**GIVEN, **settings, "min_length": 65})
    with pytest.raises(UsageError, match=f"--min-length 65 is more than the window's {rows} rows: lower it"):
        with_window(config, np.array([1000]), features=1)
