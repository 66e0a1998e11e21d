"""Files that hold no table to learn from end in one sentence that says why, and in nothing else."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from export.columns import Columns, choose_columns, require_short_names
from export.errors import DataError, ExportError, UsageError
from export.table_file import open_table
from export.training import train
from export.training_config import load_config
from tests.export.conftest import SilentWatch

CsvFile = Callable[..., Path]

# On one core Arrow's threads come late, when the process is already ending: what a thread still wants then aborts it.
_TRAIN_ON_ONE_CORE = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from export.cli import main
sys.exit(main(["train", "--data", sys.argv[1], "--detector", "pca", "--output", sys.argv[1] + ".onnx"]))
"""


def chosen(path: Path, **columns: object) -> Columns:
    told = {"entity": None, "timestamp": None, "timestamp_unit": None, "features": None, **columns}
    return choose_columns([open_table(path)], **told)


def refusal(path: Path, **columns: object) -> str:
    with pytest.raises(ExportError) as caught:
        chosen(path, **columns)
    return str(caught.value)


def test_a_stray_quote_never_aborts_the_process(csv_file: CsvFile) -> None:
    rows = [f"{row / 7},{row / 9},{row / 11},{row / 13}" for row in range(4000)]
    rows[800] = rows[800].replace(",", ',"', 1)
    path = csv_file("w,x,y,z", *rows)
    for _ in range(4):  # three of four aborted where Arrow held a Python function
        done = subprocess.run(
            [sys.executable, "-c", _TRAIN_ON_ONE_CORE, str(path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("anomaly-export: some.csv")


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_text_is_named_by_its_line_and_never_printed(tmp_path: Path, *, packed: bool) -> None:
    content = b"x,y\n1,2\n\xc8\x1b[31m\x00\n3,4\n"
    path = tmp_path / ("some.csv.gz" if packed else "some.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert refusal(path) == f"{path.name}, line 3 is not UTF-8 text: is it a CSV file? Save it as CSV in UTF-8."


def test_control_characters_are_no_text_either(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(b"x,y\n1,2\n\x1b[31m\n")
    assert "line 3 is not UTF-8 text" in refusal(path)
    path.write_bytes(b"x,\x1b[31my\n1,2\n")
    assert refusal(path) == "some.csv: its column names hold control characters: is it a file of text?"


def test_a_line_that_is_no_text_does_not_hide_an_uneven_row_above_it(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(b"x,y\n1,2\n3\n\xc8,4\n")
    assert refusal(path) == "some.csv, row 2: 1 columns where 2 are named."


def test_a_column_to_learn_must_have_a_name(csv_file: CsvFile) -> None:
    path = csv_file("x,,y", "1,2,3")
    with pytest.raises(
        DataError, match=r"^some\.csv: column 2 has no name .*; give it one, or name .* by --features\.$"
    ):
        chosen(path)


def test_a_name_longer_than_an_artifact_takes_is_refused_before_anything_is_read(csv_file: CsvFile) -> None:
    require_short_names(chosen(csv_file("x" * 200, "1")).features)
    path = csv_file("x" * 201, "1")
    told = load_config(None, {"data": [path], "output": path.with_suffix(".onnx")})
    with pytest.raises(
        DataError, match=r"^The name of the column x{30}\.\.\. has 201 letters where .* takes 200; give"
    ):
        train(told, SilentWatch())


def test_a_column_without_a_name_does_not_matter_where_it_is_not_learnt(csv_file: CsvFile) -> None:
    columns = chosen(csv_file("x,,y", "1,2,3"), features=["x", "y"])
    assert (columns.features, columns.left_out) == (("x", "y"), ("without a name (int64)",))
    assert chosen(csv_file("x,,", "1,one,two", "2,3,4", "3,4,5", "4,5,6")).features == ("x",)


@pytest.mark.parametrize("columns", [{}, {"timestamp": "x"}])
def test_a_file_of_names_alone_has_no_rows(csv_file: CsvFile, columns: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"^some\.csv: there is no row of data\.$"):
        chosen(csv_file("x,y"), **columns)


def test_columns_that_hold_nothing_are_called_empty(csv_file: CsvFile) -> None:
    few, many = csv_file("t,x,y", "1,,", "2,,"), csv_file(",".join("abcdefgh"), "," * 7, name="many.csv")
    with pytest.raises(DataError, match=r"^some\.csv: x, y are empty: there is nothing to learn from; "):
        chosen(few, timestamp="t")
    assert refusal(many).startswith("many.csv: a, b, c, d, e and 3 more are empty: ")


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["t;x;y", "1;2;3"], {}),
        (["t;x;y", "1;2;3"], {"features": ["x"]}),
        (["t;x;y", "1;2,5;3,5"], {}),
    ],
)
def test_columns_that_no_comma_separates_are_hinted_at(
    csv_file: CsvFile, lines: list[str], columns: dict[str, object]
) -> None:
    semicolons = csv_file(*lines)
    tabs = csv_file(*(line.replace(";", "\t") for line in lines), name="tabs.csv")
    for path, word in ((semicolons, "semicolons"), (tabs, "tabs")):
        sentence = refusal(path, **columns)
        assert sentence.endswith(f"; its columns seem to be separated by {word}: separate them by commas.")


def test_a_semicolon_in_one_name_of_several_is_no_separator(csv_file: CsvFile) -> None:
    assert "separated" not in refusal(csv_file("x;y,n", "one,two"))


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--data .*: it is a folder; name the files in it\.$"):
        open_table(tmp_path)


def test_parquet_without_rows_but_with_texts_has_nothing_numeric(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"x": pa.array([], pa.string())}), tmp_path / "p.parquet")
    assert "has no numeric column" in refusal(tmp_path / "p.parquet")
