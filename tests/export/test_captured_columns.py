"""A table that the worker captured is read for its features alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from export.columns import choose_columns
from export.dataset import Dataset
from export.table_file import open_table

CAPTURED = {
    "entity": ["a"],
    "event_time": [1],
    "cpu": [0.5],
    "source_topic": ["events"],
    "source_partition": [0],
    "source_offset": [7],
}


def chosen(folder: Path, columns: dict[str, list]) -> tuple[str, ...]:
    pq.write_table(pa.table(columns), folder / "events.parquet")
    table = open_table(folder / "events.parquet")
    return choose_columns([table], entity="entity", timestamp="event_time", timestamp_unit=None, features=None).features


def test_partition_and_offset_are_no_features(tmp_path: Path) -> None:
    assert chosen(tmp_path, CAPTURED) == ("cpu",)


def test_entity_and_time_need_not_be_named(tmp_path: Path) -> None:
    pq.write_table(pa.table(CAPTURED), tmp_path / "events.parquet")
    table = open_table(tmp_path / "events.parquet")
    columns = choose_columns([table], entity=None, timestamp=None, timestamp_unit=None, features=None)
    assert (columns.entity, columns.timestamp, columns.timestamp_unit) == ("entity", "event_time", "ms")


def test_events_that_came_late_stay_where_they_lay(tmp_path: Path) -> None:
    late = {name: values * 2 for name, values in CAPTURED.items()} | {"event_time": [5000, 1000]}
    pq.write_table(pa.table(late), tmp_path / "events.parquet")
    table = open_table(tmp_path / "events.parquet")
    columns = choose_columns([table], entity=None, timestamp=None, timestamp_unit=None, features=None)
    survey = Dataset([table], columns).survey(lambda rows: None)
    assert (survey.start_ms, survey.end_ms) == (1000, 5000)


def test_in_any_other_table_a_column_of_that_name_is_one(tmp_path: Path) -> None:
    columns = {name: values for name, values in CAPTURED.items() if name != "source_topic"}
    assert chosen(tmp_path, columns) == ("cpu", "source_partition", "source_offset")
