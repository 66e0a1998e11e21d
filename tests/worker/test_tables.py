"""Tables written in batches: whole or not at all, and read back as they were."""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from worker.errors import ConfigError
from worker.tables import Column, Kind, new_table

KINDS: dict[str, Kind] = {"entity": "text", "event_time": "int64", "x": "float32"}


def batch(*rows: tuple[str, int, float]) -> dict[str, Column]:
    entities, times, xs = zip(*rows, strict=True)
    return {"entity": entities, "event_time": np.array(times, np.int64), "x": np.array(xs, np.float32)}


def write(path: Path) -> None:
    with new_table(path, KINDS) as table:
        table.write(batch(("a,", 1, 0.1), ("b", 2**60, np.nan)))
        table.write(batch(("c", 3, 1e-30)))


def write_some_of(path: Path) -> None:
    with new_table(path, KINDS) as table:
        table.write(batch(("a", 1, 1.0)))
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_csv_holds_the_fewest_digits_that_give_the_same_float_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path)
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith("gz") else path.read_text()
    rows = list(csv.reader(text.splitlines()))
    assert rows == [
        ["entity", "event_time", "x"],
        ["a,", "1", "0.1"],
        ["b", str(2**60), ""],
        ["c", "3", "1e-30"],
    ]


def test_parquet_holds_float32_and_nulls(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "float"]
    assert table.column("x").to_pylist() == [float(np.float32(0.1)), None, float(np.float32(1e-30))]


def test_the_same_rows_give_the_same_packed_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one.csv.gz")
    write(tmp_path / "two.csv.gz")
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_an_interrupted_table_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_some_of(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"anomaly-worker\[files\]"), new_table(tmp_path / "t.parquet", KINDS):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "sentence"), [("t.txt", "must end in"), ("no/t.csv", "there is no folder")])
def test_a_name_that_cannot_be_written_to_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence), new_table(tmp_path / name, KINDS):
        pass
