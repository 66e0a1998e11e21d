"""A table that the worker captured is read for its features alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from export.columns import choose_columns
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


def test_in_any_other_table_a_column_of_that_name_is_one(tmp_path: Path) -> None:
    columns = {name: values for name, values in CAPTURED.items() if name != "source_topic"}
    assert chosen(tmp_path, columns) == ("cpu", "source_partition", "source_offset")
