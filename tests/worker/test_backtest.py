"""Files scored without Kafka: what comes out, and what is said of what cannot be scored."""

import argparse
import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.dead_letter import MESSAGE_HEADER, OFFSET_HEADER, PARTITION_HEADER, REASON_HEADER, TOPIC_HEADER
from schemas.score_record import ScoreRecord
from tests.artifacts import make_artifact
from tests.end_to_end.stream import BAD_VALUES, MAX_BYTES
from tests.least_settings import least_settings
from tests.log_record import LogRecord
from tests.oracle import Case, verify
from tests.self_contained import PATHS, self_contained_events
from worker import backtest
from worker.errors import ArtifactError, ConfigError, ExitCode

ROWS = 50


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "z.onnx", features=("x", "y"), window=4, min_length=2)


def parsed(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    backtest.add_arguments(parser)
    return parser.parse_args(given)


@pytest.fixture
def score(tmp_path: Path, model: Path) -> Callable[..., list[dict]]:
    """Runs the command on a file and gives its lines."""

    def score(data: Path, *options: str, settings: object = None) -> list[dict]:
        output = tmp_path / "scores.ndjson"
        arguments = ["--data", str(data), "--output", str(output), "--provider", "cpu", "--no-progress", *options]
        if settings is None:
            arguments += ["--model", str(model)]
        assert backtest.run(parsed(*arguments), settings) == ExitCode.DONE
        return [json.loads(line) for line in output.read_text().splitlines()]

    return score


def dead(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "scores.ndjson.dead.ndjson").read_text().splitlines()]


def rows() -> list[tuple[str, int, float, float | None]]:
    """Entity, time, x, y: two entities in turn, a value far off now and then, a missing one now and then."""
    chance = np.random.default_rng(1)
    return [
        (
            f"machine-{row % 2}",
            1_700_000_000_000 + row * 1000,
            float(np.float32(40.0 if row % 20 == 19 else chance.normal())),
            None if row % 7 == 6 else float(np.float32(chance.normal())),
        )
        for row in range(ROWS)
    ]


def in_every_form(folder: Path) -> list[Path]:
    """The same rows as NDJSON, CSV and Parquet, in columns that `capture` would write."""
    names = ("entity", "event_time", "x", "y")
    lines = folder / "data.ndjson.gz"
    lines.write_bytes(
        gzip.compress(b"".join(json.dumps(dict(zip(names, row, strict=True))).encode() + b"\n" for row in rows()))
    )
    table = folder / "data.csv"
    cells = [[("" if cell is None else str(cell)) for cell in row] for row in rows()]
    table.write_text("".join(",".join(row) + "\n" for row in [names, *cells]))
    parquet = folder / "data.parquet"
    pq.write_table(pa.table(dict(zip(names, zip(*rows(), strict=True), strict=True))), parquet)
    return [lines, table, parquet]


def test_the_same_rows_score_the_same_in_every_form(tmp_path: Path, score: Callable[..., list[dict]]) -> None:
    options = ("--entity", "entity", "--timestamp", "event_time")
    results = [score(path, *options) for path in in_every_form(tmp_path)]
    for result in results:
        for record in result:
            record.pop("id")
            record["source"].pop("topic")
    assert len(results[0]) == ROWS
    assert results[0] == results[1] == results[2]


def test_every_line_is_a_score_record_whose_offset_is_its_row(tmp_path: Path, score: Callable[..., list[dict]]) -> None:
    _, table, _ = in_every_form(tmp_path)
    records = [ScoreRecord.model_validate_json(json.dumps(line)) for line in score(table)]
    assert [record.source.offset for record in records] == list(range(ROWS))
    assert {(record.source.topic, record.source.partition) for record in records} == {("data.csv", 0)}
    assert [record.entity for record in records[:2]] == ["machine-0", "machine-1"]
    assert [record.window.length for record in records[:10]] == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    assert [record.warming for record in records[:3]] == [True, True, False]
    assert any(record.is_anomaly for record in records)
    assert not all(record.is_anomaly for record in records)


def test_scores_and_refusals_are_what_the_oracle_reckons(
    tmp_path: Path, score: Callable[..., list[dict]], model: Path
) -> None:
    data = tmp_path / "events.ndjson"
    values = self_contained_events(400)
    data.write_bytes(b"\n".join(values))
    settings = least_settings(
        model={"uri": str(model)},
        kafka=dict(least_settings().kafka) | {"input_topics": [data.name]},
        events=dict(PATHS) | {"max_bytes": MAX_BYTES},
        lookback_offsets=100,
        batch={"max_events": 64},
        inference={"provider": "cpu"},
    )
    inputs = [LogRecord(data.name, 0, row, row, b"events", value) for row, value in enumerate(values)]
    scores = [
        LogRecord(
            "scores", 0, place, inputs[record["source"]["offset"]].timestamp, b"events", json.dumps(record).encode()
        )
        for place, record in enumerate(score(data, settings=settings))
    ]
    letters = [_letter(inputs[line["row"]], line, place) for place, line in enumerate(dead(tmp_path))]
    case = Case(settings=settings, model=model.read_bytes(), committed={(data.name, 0): len(values)})
    report = verify(case, inputs=inputs, scores=scores, dead_letters=letters)
    assert (report.scored, report.dead) == (400, len(BAD_VALUES) - 1)


def _letter(refused: LogRecord, line: dict, place: int) -> LogRecord:
    """The dead letter that the line stands for; its value is the line's own."""
    value = base64.b64decode(line["value_base64"]) if "value_base64" in line else line["value"].encode()
    about = {
        TOPIC_HEADER: refused.topic,
        PARTITION_HEADER: "0",
        OFFSET_HEADER: str(line["row"]),
        REASON_HEADER: line["reason"],
        MESSAGE_HEADER: line["message"],
    }
    headers = tuple((name, text.encode()) for name, text in about.items())
    return LogRecord("dead-letters", 0, place, refused.timestamp, refused.key, value, headers)


def test_chunks_change_no_score(tmp_path: Path, score: Callable[..., list[dict]], model: Path) -> None:
    _, table, _ = in_every_form(tmp_path)
    whole = score(table)
    settings = least_settings(model={"uri": str(model)}, batch={"max_events": 3}, inference={"provider": "cpu"})
    assert score(table, settings=settings) == whole


def test_refused_rows_stand_beside_with_row_reason_and_value(tmp_path: Path, score: Callable[..., list[dict]]) -> None:
    data = tmp_path / "data.ndjson"
    data.write_bytes(b'{"x":1,"y":1}\n{"x":"1","y":1}\n\xff\n\n{"x":1,"y":1}')
    assert [record["source"]["offset"] for record in score(data)] == [0, 4]
    refused = dead(tmp_path)
    assert [(line["row"], line["reason"]) for line in refused] == [(1, "wrong_type"), (2, "undecodable"), (3, "empty")]
    assert '"x"' in refused[0]["message"]
    assert refused[0]["value"] == '{"x":"1","y":1}'
    assert base64.b64decode(refused[1]["value_base64"]) == b"\xff"


def test_without_an_entity_all_rows_are_one_named_after_the_file(
    tmp_path: Path, score: Callable[..., list[dict]]
) -> None:
    data = tmp_path / "pump.csv"
    data.write_text("x,y\n1,2\n3,4\n")
    records = score(data)
    assert [record["entity"] for record in records] == ["pump", "pump"]
    assert [record["event_time"] for record in records] == [0, 1]
    assert [record["window"]["length"] for record in records] == [1, 2]


def test_settings_say_paths_filters_and_thresholds(
    tmp_path: Path, score: Callable[..., list[dict]], model: Path
) -> None:
    data = tmp_path / "data.ndjson"
    data.write_text(
        '{"meta":{"host":"h","kind":"m"},"v":{"x":9}, "y":1}\n{"meta":{"host":"h","kind":"other"},"v":{"x":9},"y":1}\n'
    )
    events = {"entity": "meta.host", "features": {"x": "v.x"}, "where": {"meta.kind": "m"}, "passthrough": ["meta"]}
    settings = least_settings(
        model={"uri": str(model)}, events=events, alert={"threshold": 7.5}, inference={"provider": "cpu"}
    )
    (record,) = score(data, settings=settings)
    assert (record["entity"], record["threshold"], record["missing"]) == ("h", 7.5, 0)
    assert record["context"]["meta"]["kind"] == "m"
    assert dead(tmp_path) == []


def test_explain_all_explains_every_row(tmp_path: Path, score: Callable[..., list[dict]]) -> None:
    _, table, _ = in_every_form(tmp_path)
    assert all(record["contributions"] for record in score(table, "--explain", "all"))


def test_a_refused_model_or_file_leaves_nothing_behind(
    tmp_path: Path, score: Callable[..., list[dict]], model: Path
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="there is no such file"):
        score(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="--model: give a local file"):
        score(tmp_path / "none.csv", "--model", "https://example.com/m.onnx", settings=least_settings())
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        score(tmp_path / "none.csv")
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_model_that_reads_elapsed_time_needs_a_time(tmp_path: Path, score: Callable[..., list[dict]]) -> None:
    make_artifact(tmp_path / "z.onnx", features=("x", "y"), window=4, with_elapsed=True)
    data = tmp_path / "data.csv"
    data.write_text("x,y,t\n1,2,1000\n")
    with pytest.raises(ConfigError, match="--timestamp COL"):
        score(data)
    assert [record["event_time"] for record in score(data, "--timestamp", "t")] == [1000]


def test_a_model_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"Give --model machine\.onnx"):
        backtest.run(parsed("--data", "a.csv", "--output", "b.ndjson"), None)


# --- what is read stays


@pytest.fixture
def refusal(tmp_path: Path, model: Path) -> Callable[..., str]:
    """What is said of an output, beside a data file and a settings file; every file stays as it was."""
    data, config = tmp_path / "events.ndjson", tmp_path / "worker.jsonl"
    data.write_text('{"x":1,"y":1}\n')
    config.write_text("start: earliest\n")

    def refusal(output: Path, *, data: Path = data, uri: str = str(model)) -> str:
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        given = ["--data", str(data), "--config", str(config), "--output", str(output), "--provider", "cpu"]
        with pytest.raises(ConfigError) as caught:
            backtest.run(parsed(*given), least_settings(model={"uri": uri}))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        return str(caught.value)

    return refusal


def test_neither_data_nor_settings_nor_model_are_overwritten(
    tmp_path: Path, refusal: Callable[..., str], model: Path
) -> None:
    assert f"{tmp_path / 'events.ndjson'} would overwrite the data" in refusal(tmp_path / "events.ndjson")
    assert "would overwrite the settings file" in refusal(tmp_path / "worker.jsonl")
    lines = tmp_path / "model.ndjson"
    model.rename(lines)
    assert "would overwrite the model" in refusal(lines, uri=lines.as_uri())


def test_nor_are_they_by_another_name(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "symbolic.ndjson").symlink_to("events.ndjson")
    (tmp_path / "hard.ndjson").hardlink_to(tmp_path / "events.ndjson")
    around = tmp_path.parent / tmp_path.name / ".." / tmp_path.name / "events.ndjson"
    for output in (tmp_path / "symbolic.ndjson", tmp_path / "hard.ndjson", around):
        assert "would overwrite the data" in refusal(output)
    assert "would overwrite the data" in refusal(tmp_path / "events.ndjson", data=tmp_path / "symbolic.ndjson")


def test_nor_are_they_by_refused_rows(tmp_path: Path, refusal: Callable[..., str]) -> None:
    data = tmp_path / "scores.ndjson.dead.ndjson"
    data.write_text('{"x":1,"y":1}\n')
    assert f"{data} would overwrite the data" in refusal(tmp_path / "scores.ndjson", data=data)


@pytest.mark.parametrize("name", ["events.parquet", "scores.csv", "m2.onnx", "scores", "scores.json", "scores.gz"])
def test_an_output_that_does_not_say_that_it_holds_lines_is_refused(
    tmp_path: Path, refusal: Callable[..., str], name: str
) -> None:
    assert "must end in one of .ndjson, .ndjson.gz, .jsonl, .jsonl.gz." in refusal(tmp_path / name)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "there is no folder" in refusal(tmp_path / "none" / "scores.ndjson")


def test_a_folder_in_the_files_place_is_told(tmp_path: Path, score: Callable[..., list[dict]]) -> None:
    (tmp_path / "scores.ndjson").mkdir()
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ConfigError, match=r"scores\.ndjson is a folder: give the name of a file"):
        score(tmp_path / "data.csv")


@pytest.mark.parametrize("name", ["scores.ndjson", "SCORES.JSONL", "scores.jsonl.gz"])
def test_scores_are_lines_and_packed_where_the_name_says_so(tmp_path: Path, model: Path, name: str) -> None:
    data = tmp_path / "data.csv"
    data.write_text("x,y\n1,2\n")
    given = ["--model", str(model), "--data", str(data), "--output", str(tmp_path / name), "--provider", "cpu"]
    assert backtest.run(parsed(*given), None) == ExitCode.DONE
    content = (tmp_path / name).read_bytes()
    assert json.loads(gzip.decompress(content) if name.endswith("gz") else content)["entity"] == "data"
