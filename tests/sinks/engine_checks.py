"""The examples of examples/sinks/ on real engines: ClickHouse as a library (chdb), and Apache Flink in one process.

A command of its own (`make test-sinks`), for the engines are a few hundred megabytes. Each is fetched once, into the
user's cache folder. ksqlDB and Elasticsearch are in none of the registries that this project uses: see `test_sinks`.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests import broker
from tests.log_record import LogRecord
from tests.pypi import environment
from tests.sinks.records import LINES
from tests.topics import Topics

EXAMPLES = Path(__file__).parents[2] / "examples" / "sinks"
CHDB = "chdb==4.4.0"
KAFKA_ENGINE = re.compile(r"ENGINE = Kafka\nSETTINGS [^;]*")

pytestmark = pytest.mark.timeout(1500)  # the first time the engines are downloaded

_RUN_CLICKHOUSE = """
import sys
from chdb.session import Session
session = Session()
for statement in sys.stdin.read().split(";"):
    if statement.strip():
        answer = session.query(statement, "JSONEachRow")
print(answer)
"""


@pytest.fixture(scope="session")
def clickhouse() -> Path:
    """A Python that has ClickHouse."""
    return environment(CHDB) / "bin" / "python"


def test_clickhouse_takes_nested_contributions(clickhouse: Path) -> None:
    """All of it but the engine that polls Kafka, which the library leaves out: the rows come by hand."""
    tables, query = (EXAMPLES / "clickhouse.sql").read_text(encoding="utf-8").rsplit("\n\n", 1)
    assert KAFKA_ENGINE.search(tables)
    rows = "\n".join(LINES)
    statements = KAFKA_ENGINE.sub("ENGINE = Null", re.sub("(?m)^--.*$", "", tables))
    statements += f"INSERT INTO scores_queue SETTINGS input_format_skip_unknown_fields = 1 FORMAT JSONEachRow {rows};"
    done = subprocess.run(
        [clickhouse, "-c", _RUN_CLICKHOUSE], input=statements + query, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [json.loads(line) for line in done.stdout.split("\n") if line] == [
        {"feature": "pressure", "alarms": 2, "mean_share": pytest.approx(0.3)},
        {"feature": "temperature", "alarms": 2, "mean_share": pytest.approx(0.62)},
    ]


def test_flink_takes_nested_contributions_and_no_aborted_ones(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("machine-scores", partitions=1)
    records = [LogRecord(topic, 0, -1, 1_700_000_000_123, b"press-7", line.encode(), ()) for line in LINES]
    topics.write_in_transaction([records[1]._replace(value=records[0].value)] * 3, commit=False)
    topics.write_in_transaction(records, commit=True)
    sql = (EXAMPLES / "flink.sql").read_text(encoding="utf-8")
    sql = sql.replace("'machine-scores'", f"'{topic}'").replace("broker-1:9092", topics.bootstrap)
    script = tmp_path / "flink.sql"
    script.write_text(sql, encoding="utf-8")
    lib = broker.install_jars(Path(__file__).parent / "flink.xml", "flink")
    java = [broker.java(), "-Xmx512m", "-XX:+UseSerialGC", *_OPENED, "-cp", f"{lib}/*"]
    command = [*java, Path(__file__).parent / "RunFlink.java", script, "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.split("\n") if line.startswith("row: ")]
    temperature = "row: +I[press-7 \u00fc, 2023-11-14T22:13:20.123Z, 1.83, temperature, 0.62, 97.0, 71.2]"
    pressure = "row: +I[press-7 \u00fc, 2023-11-14T22:13:20.123Z, 1.83, pressure, 0.3, null, 2.9]"
    assert rows == [temperature, pressure] * 2


_OPENED = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.lang", "java.util", "java.time", "java.nio")
]
