"""What each part of a suite trains on, scores, and how it is judged; nothing is trained here."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from export.columns import choose_columns
from export.dataset import Dataset
from export.errors import DataError
from export.labelled import LabelledRows, read_labelled, with_label
from export.scoring import RowScores
from export.suite import LABEL, Task, parts_of
from export.table_file import open_table
from tests.export.suites import write_suite


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path)


def task_of(suite: Path, part: str) -> Task:
    found = parts_of(suite)[part]
    return found.task(found.items()[0])


def labelled(task: Task, folder: Path) -> LabelledRows:
    pyarrow.parquet.write_table(task.scored, folder / "scored.parquet")
    tables = [open_table(folder / "scored.parquet")]
    known = {"entity": None, "timestamp": None, "timestamp_unit": None} | dict(task.columns)
    keys = {known["entity"], known["timestamp"], LABEL}
    names = tuple(name for name in task.scored.column_names if name not in keys)
    ids = known.pop("log_ids", None)
    columns = choose_columns(tables, **known, features=with_label(names, LABEL), ids=ids)
    return read_labelled(Dataset(tables, columns), lambda done, total: None)


def scores(causal: np.ndarray, revised: np.ndarray | None = None) -> RowScores:
    exact = causal.astype(np.float64)
    return RowScores(
        causal=exact,
        revised=exact if revised is None else revised.astype(np.float64),
        warming=np.zeros(len(exact), dtype=np.bool_),
    )


def test_a_series_trains_on_its_prefix_alone_and_is_judged_whole(suite: Path, tmp_path: Path) -> None:
    assert parts_of(suite)["ts_u"].items() == ["first", "second"]
    task = task_of(suite, "ts_u")
    assert (task.training.num_rows, task.training.column_names) == (400, ["x1"])
    rows = labelled(task, tmp_path)
    assert len(rows.label) == 600
    figures = task.judge(rows, scores(rows.label, ~rows.label))
    assert figures["vus_pr_causal"] > 0.9
    assert figures["vus_pr_revised"] < 0.1
    assert np.flatnonzero(task.normal(rows))[[0, -1]].tolist() == [400, 599]
    assert not task.normal(rows)[rows.label].any()


def test_all_servers_train_one_model_and_the_mean_of_theirs_counts(suite: Path, tmp_path: Path) -> None:
    task = task_of(suite, "asd")
    assert (task.training.num_rows, task.columns) == (100, {"entity": "entity"})
    rows = labelled(task, tmp_path)
    only_the_first = rows.label & (rows.sample.entity == 0)
    first, both = (task.judge(rows, scores(found))["vus_pr_causal"] for found in (only_the_first, rows.label))
    assert first < both - 0.05


def test_the_first_half_of_the_normal_rows_trains_and_no_anomaly(suite: Path, tmp_path: Path) -> None:
    task = task_of(suite, "tabular")
    assert task.training.num_rows == 290
    assert float(np.abs(task.training["x1"].to_numpy()).max()) < 9
    rows = labelled(task, tmp_path)
    assert (len(rows.label), int(rows.label.sum())) == (310, 20)
    assert task.judge(rows, scores(rows.label)) == {"auroc": 1.0, "average_precision": 1.0}


def test_cards_are_judged_by_scenario_in_the_last_week_alone(suite: Path, tmp_path: Path) -> None:
    task = task_of(suite, "card")
    assert task.training.num_rows == 14
    assert LABEL not in task.training.column_names
    rows = labelled(task, tmp_path)
    assert len(rows.label) == 28  # a week before the test fills windows
    assert int(task.normal(rows).sum()) == 12
    amounts = scores(rows.sample.features[:, 0])
    assert task.judge(rows, amounts) == {"auroc": 0.75, "auroc_scenario_1": 1.0, "auroc_scenario_3": 0.5}


def test_a_session_scores_as_its_highest_event_at_the_true_prior(suite: Path, tmp_path: Path) -> None:
    task = task_of(suite, "hdfs")
    assert task.training.to_pydict() == {"session": [0, 0, 1], "template": [1, 2, 2]}
    rows = labelled(task, tmp_path)
    template = rows.sample.features[:, 0]
    assert task.judge(rows, scores(template)) == {"average_precision": 1.0, "recall": 1.0}
    worst = task.judge(rows, scores(-template))
    assert worst["average_precision"] < 0.02  # two normal sessions stand for 158
    assert worst["recall"] == 0.0


def test_sessions_that_tell_their_end_have_one_line_more(suite: Path, tmp_path: Path) -> None:
    task = task_of(suite, "hdfs_ended")
    assert task.training.to_pydict() == {"session": [0, 0, 0, 1, 1], "template": [1, 2, 1000, 2, 1000]}
    rows = labelled(task, tmp_path)
    assert rows.sample.features[:, 0].tolist() == [1, 2, 2, 1000, 1, 9, 1000, 2, 1000]
    assert rows.label.tolist() == [False] * 4 + [True] * 3 + [False] * 2
    assert task.judge(rows, scores(rows.label)) == {"average_precision": 1.0, "recall": 1.0}


def test_one_digit_trains_and_its_other_half_is_told_from_all_others_and_denoised(suite: Path, tmp_path: Path) -> None:
    part = parts_of(suite)["digits"]
    assert (part.kind, part.items()) == ("image", ["3", "7"])
    task = part.task("3")
    assert task.training.to_pydict() == {name: [1.0, 1.0] for name in ("x1", "x2", "x3", "x4")}
    rows = labelled(task, tmp_path)
    assert rows.label.tolist() == [True, True, False, True, False, True]  # of eight pictures two have trained
    assert task.judge(rows, scores(rows.sample.features[:, 0])) == {"auroc": 1.0}
    assert task.denoising is not None
    assert task.denoising.noisy.tolist() == [[5.0] * 4] * 2
    better = task.denoising.judge(np.full((2, 4), 2.0, np.float32))  # off by 1 where the filter is by 2
    assert better == {"psnr": pytest.approx(24.082, abs=1e-3), "psnr_over_wiener": pytest.approx(6.021, abs=1e-3)}


def test_a_damaged_file_is_named(suite: Path) -> None:
    (suite / "tabular_public.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"tabular_public\.npz is no readable \.npz file"):
        parts_of(suite)["tabular"].items()
    np.savez(suite / "asd_public.npz", **{"omi-1/x_test": np.zeros((3, 2))})
    with pytest.raises(DataError, match="has no array 'omi-1/x_train'"):
        task_of(suite, "asd")
