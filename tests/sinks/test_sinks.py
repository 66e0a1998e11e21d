"""examples/sinks/ held to the score record: every field, every nested one, under its name and of a type that holds it.

SQL is parsed by sqlglot: ClickHouse in its dialect; the columns of Flink and ksqlDB by Spark's, which is the nearest to
theirs. `engine_checks` runs ClickHouse and Flink.
"""

import json
import re
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlglot
from sqlglot import exp

from schemas.json_schema import json_schema_of
from schemas.score_record import ScoreRecord
from tests.sinks.records import LINES

EXAMPLES = Path(__file__).parents[2] / "examples" / "sinks"
Shape: TypeAlias = "str | dict[str, Shape]"

TYPES = {
    "string": "string",
    "varchar": "string",
    "text": "string",
    "keyword": "string",
    "flattened": "object",
    "bool": "boolean",
    "boolean": "boolean",
    "float": "number",
    "double": "number",
    "date": "integer",
    "byte": "integer",
    "integer": "integer",
    "long": "integer",
    "int": "integer",
    "bigint": "integer",
    "utinyint": "integer",
    "uint": "integer",
    "nested": "array",
}


def shape_of_records() -> dict[str, Shape]:
    """Field to JSON's type, or to the shape of an object's or of an array's items. A free object may be text, too."""
    schema = json_schema_of(ScoreRecord)

    def shape(part: dict[str, Any]) -> Shape:
        kinds = [kind for kind in part.get("anyOf", [part]) if kind.get("type") != "null"]
        kind = kinds[0]
        if "items" in kind:
            return shape(kind["items"])
        if "properties" in kind:
            return {name: shape(inner) for name, inner in kind["properties"].items()}
        return kind.get("type", "integer")  # a constant

    return {name: shape(part) for name, part in schema["properties"].items()} | {"context": "object"}


def shape_of_type(kind: exp.DataType) -> Shape:
    name = kind.this.value.lower()
    inner = kind.expressions
    if name in {"array", "nullable"}:
        return shape_of_type(inner[0])
    if name in {"struct", "object"}:
        return {field.name.strip("`"): shape_of_type(field.args["kind"]) for field in inner}
    return TYPES[name]


def columns(text: str, table: str, *, dialect: str) -> dict[str, Shape]:
    """The columns of a table whose statement stands in `text`; what follows them is the engine's own."""
    body = text[text.index(table) + len(table) :]
    body = body[body.index("(") + 1 : re.search(r"\n\)", body).start()]  # type: ignore[union-attr]
    lines = [line for line in body.split("\n") if line.strip() and not re.match(r"\s*(\w+ AS|WATERMARK)\b", line)]
    body = "\n".join(lines).rstrip(",")
    parsed = sqlglot.parse_one(f"CREATE TABLE t ({body.replace('ROW<', 'STRUCT<')})", dialect=dialect)
    return {
        column.name: shape_of_type(column.kind)
        for column in parsed.find_all(exp.ColumnDef)
        if column.parent is parsed.this
    }


@pytest.mark.parametrize(
    ("file", "table", "dialect"),
    [
        ("clickhouse.sql", "CREATE TABLE scores_queue", "clickhouse"),
        ("flink.sql", "CREATE TABLE scores", "spark"),
        ("ksqldb.sql", "CREATE STREAM scores", "spark"),
    ],
)
def test_a_table_has_every_field_of_a_score(file: str, table: str, dialect: str) -> None:
    told = columns((EXAMPLES / file).read_text(encoding="utf-8"), table, dialect=dialect)
    assert told == shape_of_records() | {"context": "string"}


def test_elasticsearch_maps_every_field_of_a_score() -> None:
    template = json.loads((EXAMPLES / "elasticsearch-template.json").read_text(encoding="utf-8"))

    def shape(properties: dict[str, Any]) -> dict[str, Shape]:
        return {
            name: shape(field["properties"]) if "properties" in field else TYPES[field["type"]]
            for name, field in properties.items()
        }

    mappings = template["template"]["mappings"]
    assert shape(mappings["properties"]) == shape_of_records()
    assert mappings["properties"]["contributions"]["type"] == "nested", (
        "else shares and features of a record are mixed up"
    )
    assert mappings["dynamic"] is False, "a later version's fields are kept, and not guessed at"


def test_every_statement_for_clickhouse_is_one() -> None:
    statements = sqlglot.parse((EXAMPLES / "clickhouse.sql").read_text(encoding="utf-8"), dialect="clickhouse")
    assert [type(one) for one in statements] == [exp.Create, exp.Create, exp.Create, exp.Select]


@pytest.mark.parametrize("file", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix != ".md"))
def test_every_example_reads_committed_scores_alone(file: str) -> None:
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    assert "read_committed" in text or file in {"clickhouse.sql", "elasticsearch-template.json"}


def test_the_page_tells_what_was_run_and_names_each_file() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        assert path.name in page or path.name == "README.md"


def test_the_records_that_the_engines_take_are_scores() -> None:
    for line in LINES[:2]:
        ScoreRecord.model_validate_json(line)
