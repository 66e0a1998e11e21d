"""Files in, checked columns out: what is read, and what is refused with file, row and column."""

import gzip
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import table_file
from export.columns import choose_columns
from export.dataset import Dataset, Survey
from export.errors import DataError, UsageError
from export.table_file import open_table
from export.windows import Sample, cut
from tests.export.conftest import machine_table

CsvFile = Callable[..., Path]


def dataset(*paths: Path, **columns: object) -> Dataset:
    tables = [open_table(path) for path in paths]
    told = {"entity": None, "timestamp": None, "timestamp_unit": None, "features": None, **columns}
    return Dataset(tables, choose_columns(tables, **told))


def survey(*paths: Path, **columns: object) -> Survey:
    return dataset(*paths, **columns).survey(lambda rows: None)


def sample_of(data: Dataset, *, window: int = 4, max_windows: int = 1000) -> Sample:
    found = data.survey(lambda rows: None)
    return data.sample(found, window=window, max_windows=max_windows, on_rows=lambda rows: None)


def test_features_are_the_numeric_columns_unless_named(csv_file: CsvFile) -> None:
    path = csv_file("id,when,x,note,y,blank,flag", "a,1,2,hello,3.5,,true", "a,2,3,there,4,,false")
    columns = dataset(path, entity="id", timestamp="when").columns
    assert columns.features == ("x", "y")
    assert columns.left_out == ("note (text)", "blank (empty)", "flag (bool)")
    assert dataset(path, features=["y"]).columns.features == ("y",)


def test_whole_numbers_that_become_fractions_later_are_read(csv_file: CsvFile) -> None:
    path = csv_file("x,y", *(f"{row},1" for row in range(10)), "1.5,", ",2")
    features = sample_of(dataset(path)).features
    assert features[10].tolist() == pytest.approx([1.5, np.nan], nan_ok=True)
    assert np.isnan(features[11, 0])


def test_several_files_are_one_in_their_order(csv_file: CsvFile) -> None:
    first = csv_file("id,x", "a,1", "b,2", name="first.csv")
    second = csv_file("x,id", "3,a", "4,c", name="second.csv")
    found = survey(first, second, entity="id", features=["x"])
    assert found.entities == ("a", "b", "c")
    assert found.rows_of_entity.tolist() == [2, 1, 1]


def test_compressed_csv_and_parquet_hold_the_same_as_csv(tmp_path: Path) -> None:
    table = machine_table(machines=2, rows=50)
    pyarrow.csv.write_csv(table, tmp_path / "m.csv")
    with pa.CompressedOutputStream(str(tmp_path / "m.csv.gz"), "gzip") as stream:
        pyarrow.csv.write_csv(table, stream)
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    paths = [tmp_path / name for name in ("m.csv", "m.csv.gz", "m.parquet")]
    found = [survey(path, entity="machine", timestamp="time") for path in paths]
    assert found[0].sha256 == found[1].sha256 == found[2].sha256
    assert found[0].events_per_day == pytest.approx(99 * 1440 / 49)


def test_the_digest_sees_content_not_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(machine_table(machines=2, rows=50), path)
    whole = survey(path, entity="machine", timestamp="time")
    monkeypatch.setattr(table_file, "_PARQUET_BATCH_ROWS", 7)
    assert survey(path, entity="machine", timestamp="time").sha256 == whole.sha256
    assert survey(path, entity="machine").sha256 != whole.sha256


@pytest.mark.parametrize(
    ("lines", "columns", "sentence"),
    [
        (["x,y", "1,2", "2,3", "oops,3"], {"features": ["x"]}, "row 3: x holds 'oops', which is not a number"),
        (["x,y", "1,2", "2,3", "oops,3"], {}, "row 3: x holds numbers, but here 'oops'"),
        (["x", "1", "1e999"], {}, "row 2: x holds inf, which is not finite"),
        (["x", "1", "1e39"], {}, r"row 2: x holds 1e\+39, which is not finite as float32"),
        (["t,x", "5,1", "4,1"], {"timestamp": "t"}, "row 2: the timestamp goes back by 1 s; sort"),
        (["e,t,x", "a,5,1", "b,1,1", "a,4,1"], {"entity": "e", "timestamp": "t"}, "row 3: the timestamp of 'a' goes"),
        (["e,x", "a,1", ",1"], {"entity": "e"}, "row 2: the entity .e. is missing"),
        (["t,x", "2024-01-01,1", "soon,1"], {"timestamp": "t"}, "row 2: t: 'soon' is no timestamp .read as iso8601"),
        (["t,x", "1,1", ",1"], {"timestamp": "t"}, "row 2: t: .* no timestamp .read as s"),
        (["x"], {"features": ["x"]}, "there is no row of data"),
        (["x,y", "1,2", "3"], {}, "row 2: 1 columns where 2 are named"),
        (["x,y", *["1,2"] * 1_500_000, "1,2,3"], {}, "row 1500001: 3 columns where 2 are named"),
    ],
)
def test_bad_content_is_refused_with_its_row(
    csv_file: CsvFile, lines: list[str], columns: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DataError, match=rf"^some\.csv[,:].*{sentence}"):
        survey(csv_file(*lines), **columns)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"features": ["z"]}, "has no column 'z'; it has x, n"),
        ({"entity": "who"}, "has no column 'who'"),
        ({"entity": "x"}, "has no numeric column beside"),
    ],
)
def test_columns_that_are_not_there_are_wrong_use(csv_file: CsvFile, columns: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        survey(csv_file("x,n", "1,one"), **columns)


def test_text_in_parquet_is_no_feature_and_fractions_no_entity(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pyarrow.parquet.write_table(pa.table({"x": [1.5, 2.5], "n": ["a", "b"]}), path)
    with pytest.raises(UsageError, match="--features n: it holds string, not numbers"):
        survey(path, features=["n"])
    with pytest.raises(UsageError, match="--entity x: it holds double"):
        survey(path, entity="x", features=["x"])


def test_files_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "latin.csv").write_bytes("näme,x\nä,1\n".encode("latin-1"))
    (tmp_path / "notes.txt").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"broken\.parquet is not a readable Parquet file"):
        open_table(tmp_path / "broken.parquet")
    with pytest.raises(DataError, match=r"empty\.csv"):
        open_table(tmp_path / "empty.csv")
    with pytest.raises(DataError, match=r"latin\.csv: its column names are not UTF-8"):
        survey(tmp_path / "latin.csv")
    (tmp_path / "cell.csv").write_bytes("x,who\n1,a\n2,ä\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"^cell\.csv, row 2: who holds b'\\xe4', which is not UTF-8: save the file as"):
        survey(tmp_path / "cell.csv", features=["x"], entity="who")
    with pytest.raises(UsageError, match=r"must end in \.csv"):
        open_table(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="there is no such file"):
        open_table(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("1700000000", None),
        ("1700000000.0", "s"),
        ("1700000000000", None),
        ("1700000000000000", None),
        ("1700000000000000000", None),
        ("2023-11-14T22:13:20Z", None),
        ("2023-11-14 22:13:20", None),
        ("2023-11-14T23:13:20.000+01:00", "iso8601"),
    ],
)
def test_times_are_read_in_every_form(csv_file: CsvFile, text: str, unit: str | None) -> None:
    found = survey(csv_file("t,x", f"{text},1", f"{text},2"), timestamp="t", timestamp_unit=unit)
    assert found.start_ms == found.end_ms == 1_700_000_000_000
    assert found.events_per_day is None


def test_times_of_parquet_keep_their_zone(tmp_path: Path) -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    for kind in (pa.timestamp("us", "Europe/Paris"), pa.timestamp("ms", "UTC")):
        path = tmp_path / "t.parquet"
        pyarrow.parquet.write_table(pa.table({"t": pa.array([moment], kind), "x": [1.0]}), path)
        assert survey(path, timestamp="t").start_ms == 1_700_000_000_000


def test_rows_of_the_same_time_stay_in_their_order(csv_file: CsvFile) -> None:
    path = csv_file("e,t,x", "a,5,1", "b,5,2", "a,5,3", "a,5,4", "b,6,5")
    kept = sample_of(dataset(path, entity="e", timestamp="t"), window=4, max_windows=100)
    assert kept.features[kept.entity == 0].ravel().tolist() == [1, 3, 4]
    assert kept.position[kept.entity == 0].tolist() == [0, 1, 2]


def test_a_later_file_whose_column_holds_text_is_refused_with_its_row(csv_file: CsvFile) -> None:
    first, second = csv_file("x", "1", "2"), csv_file("x", "3", "off", name="later.csv")
    with pytest.raises(DataError, match=r"^later\.csv, row 2: x holds 'off', which is not a number"):
        survey(first, second)


def test_a_compressed_file_that_breaks_off_is_refused_by_name(tmp_path: Path) -> None:
    whole = gzip.compress(b"x,y\n" + b"1.25,2.5\n" * 1000)
    (tmp_path / "torn.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"^torn\.csv\.gz cannot be read: Truncated"):
        survey(tmp_path / "torn.csv.gz")


def test_times_mixed_in_form_are_read_one_by_one(csv_file: CsvFile) -> None:
    path = csv_file("t,x", "2023-11-14T22:13:20,1", "2023-11-14T22:13:21Z,1")
    assert survey(path, timestamp="t").end_ms == 1_700_000_001_000


@given(st.lists(st.integers(0, 3), min_size=60, max_size=300), st.integers(1, 12), st.integers(10, 60))
@settings(max_examples=30, deadline=None)
def test_sampled_windows_are_windows_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, entity: list[int], window: int, max_windows: int
) -> None:
    path = tmp_path_factory.mktemp("sampled") / "s.parquet"
    pyarrow.parquet.write_table(pa.table({"e": entity, "x": np.arange(len(entity), dtype=np.float64)}), path)
    data = dataset(path, entity="e")

    def windows(limit: int) -> set[bytes]:
        parts = cut(sample_of(data, window=window, max_windows=limit), window=window, min_length=1, max_gap_ms=None)
        return {
            one.tobytes()
            for part in (parts.training, parts.validation, parts.calibration)
            for one in part.take(np.arange(len(part)))
        }

    few, every = windows(max_windows), windows(len(entity))
    assert len(every) == len(entity)
    assert few <= every
    assert len(few) <= max_windows + 4


def peak_bytes(path: Path, rows: int) -> int:
    """Of the arrays while so many rows of eight features are surveyed and sampled; the reader's blocks come on top."""
    table = pa.table({f"x{place}": np.zeros(rows, np.float32) for place in range(8)})
    pyarrow.parquet.write_table(table, path)
    del table
    data = dataset(path)
    tracemalloc.start()
    try:
        assert len(sample_of(data, window=8, max_windows=500).features) <= 5000
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_windows_that_are_kept_not_with_the_rows(tmp_path: Path) -> None:
    few, many = (peak_bytes(tmp_path / "rows.parquet", rows) for rows in (200_000, 1_000_000))
    assert (many - few) / 800_000 < 1  # bytes a row, of which each holds 32 and more


def test_the_reader_holds_a_block_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({f"x{place}": np.zeros(1_000_000) for place in range(8)}), path)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in dataset(path).chunks({})]
    assert len(held) > 10
    assert max(held) < 32 << 20  # half of what all rows are
