"""Files read as events: what each row becomes, and that no more than a chunk is held."""

import csv
import datetime as dt
import gzip
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.csv_rows import Cells
from worker.errors import ConfigError, WorkerError
from worker.files import Columns, columns_of, read_values, stem_of

CELLS = Cells(text=frozenset({"entity"}), number=frozenset({"x", "y"}))


def values(path: Path, *, chunk_rows: int = 100, max_bytes: int = 1000, cells: Cells = CELLS) -> list[bytes]:
    chunks = read_values(path, chunk_rows=chunk_rows, max_bytes=max_bytes, cells=cells)
    return [value for chunk in chunks for value in chunk.values]


def events(path: Path) -> list[object]:
    return [json.loads(value) for value in values(path)]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_a_csv_row_is_an_object_of_its_columns_in_the_digits_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"entity,x,y,state\n007,2.50,-1e-3,on\n")
    assert values(path) == [b'{"entity":"007","x":2.50,"y":-1e-3,"state":"on"}']


def test_a_cell_that_says_nothing_is_null_and_an_infinity_is_out_of_range(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"entity,x,y\na,,NaN\nb,inf,-Infinity\n,null,N/A\n")
    assert values(path) == [
        b'{"entity":"a","x":null,"y":null}',
        b'{"entity":"b","x":1e999,"y":1e999}',
        b'{"entity":null,"x":null,"y":null}',
    ]


def test_a_feature_may_be_spelled_as_python_or_r_spell_it_but_a_word_stays_a_word(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"entity,x,y\na,.5,007\nb,+1,broken\n")
    assert events(path) == [{"entity": "a", "x": 0.5, "y": 7.0}, {"entity": "b", "x": 1.0, "y": "broken"}]


def test_other_cells_are_guessed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"a,b,c,d\n1,true,007,text\n")
    assert events(path) == [{"a": 1, "b": True, "c": "007", "d": "text"}]


def test_semicolons_tabs_a_byte_order_mark_and_quoted_line_ends_are_read(tmp_path: Path) -> None:
    assert events(written(tmp_path / "a.csv", b'\xef\xbb\xbfentity;x\r\n"a;\n""b""";1\r\n')) == [
        {"entity": 'a;\n"b"', "x": 1}
    ]
    assert events(written(tmp_path / "b.csv.gz", b"entity\tx\na\t1\n")) == [{"entity": "a", "x": 1}]


def test_two_numbers_in_one_cell_are_a_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b'entity,x\na,"1\n2"\n')
    assert events(path) == [{"entity": "a", "x": "1\n2"}]


def test_a_percent_sign_in_a_columns_name_is_only_a_name(tmp_path: Path) -> None:
    assert events(written(tmp_path / "a.csv", b"cpu %,%s\n1,2\n")) == [{"cpu %": 1, "%s": 2}]
    pq.write_table(pa.table({"cpu %": [1], "%b": ["a,b"]}), tmp_path / "a.parquet")
    assert events(tmp_path / "a.parquet") == [{"cpu %": 1, "%b": "a,b"}]


def test_a_short_row_lacks_fields_and_a_long_one_is_no_event(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"entity,x\na\nb,1,2\n")
    assert events(path) == [{"entity": "a"}, ["b", "1", "2"]]


def test_bytes_that_are_not_utf8_pass_through_for_the_decoder_to_refuse(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"entity,x\n\xff,1\n")
    assert values(path) == [b'{"entity":"\xff","x":1}']


def test_a_line_of_ndjson_is_an_event_as_it_stands(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson.gz", b'{"x": 1}\r\n\n\xff\n{"x"')
    assert values(path) == [b'{"x": 1}\r', b"", b"\xff", b'{"x"']


@pytest.mark.parametrize("length", [9, 19, 20, 21, 22, 40, 41, 42, 43, 50])
@pytest.mark.parametrize("last", [b"", b"end"])
def test_a_line_of_twice_the_limit_is_cut_and_its_neighbours_are_whole(
    tmp_path: Path, length: int, last: bytes
) -> None:
    path = written(tmp_path / "a.ndjson", b"first\n" + b"x" * length + b"\n" + last)
    assert values(path, max_bytes=10) == [b"first", b"x" * min(length, 20), *([last] if last else [])]


def test_parquet_rows_keep_nesting_nulls_infinities_and_times(tmp_path: Path) -> None:
    noon = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    table = pa.table(
        {
            "entity": ["a", None],
            "x": pa.array([0.1, np.nan], pa.float32()),
            "y": [math.inf, 2.0],
            "inner": [{"z": 1}, None],
            "time": pa.array([noon, None], pa.timestamp("us", tz="UTC")),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert values(path) == [
        b'{"entity":"a","x":0.10000000149011612,"y":1e999,"inner":{"z":1},"time":1704110400000}',
        b'{"entity":null,"x":null,"y":2.0,"inner":null,"time":null}',
    ]
    assert columns_of(path) == Columns(
        names=("entity", "x", "y", "inner", "time"), times=frozenset({"time"}), texts=frozenset({"entity"})
    )


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.ndjson"])
def test_rows_come_in_chunks_that_go_on_where_the_last_one_ended(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_text("x\n" + "".join(f"{row}\n" for row in range(25)))
    elif name.endswith("parquet"):
        pq.write_table(pa.table({"x": list(range(25))}), path)
    else:
        path.write_text("".join(f'{{"x":{row}}}\n' for row in range(25)))
    chunks = list(read_values(path, chunk_rows=10, max_bytes=100, cells=CELLS))
    assert [chunk.first_row for chunk in chunks] == [0, 10, 20]
    assert [json.loads(value)["x"] for chunk in chunks for value in chunk.values] == list(range(25))
    assert [chunk.read for chunk in chunks] == sorted(chunk.read for chunk in chunks)
    assert chunks[-1].read == 1.0


def test_the_first_row_tells_which_columns_are_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"host,time,x\na,2024-01-01,1\n")
    assert columns_of(path) == Columns(names=("host", "time", "x"), texts=frozenset({"host", "time"}))
    assert columns_of(written(tmp_path / "a.jsonl", b"")) is None
    assert stem_of(tmp_path / "a.csv.gz") == "a"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"x", "must end in one of .csv"),
        ("missing.csv", None, "there is no such file"),
        ("missing.ndjson", None, "there is no such file"),
        ("a.csv", b"", "its first line is empty"),
        ("a.parquet", b"PAR1 or not", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        columns_of(path)


def test_a_truncated_gzip_file_ends_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b'{"x":1}\n' * 1000)[:-20])
    with pytest.raises(WorkerError, match="not a whole gzip file"):
        values(path)


@given(rows=st.lists(st.tuples(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False)), max_size=20))
def test_what_a_csv_writer_wrote_is_read_exactly(tmp_path_factory: pytest.TempPathFactory, rows: Iterable) -> None:
    rows = [row for row in rows if row[0].isprintable()]
    text = io.StringIO()
    csv.writer(text).writerows([("entity", "x"), *rows])
    path = written(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue().encode())
    assert events(path) == [{"entity": entity, "x": x} for entity, x in rows]
