"""Log lines: one JSON object each, whatever is said; text for people; both on standard error alone."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.logs import JsonLines, TextLines, start_logging


def record(message: str = "joined %s", *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("worker.app", logging.INFO, "app.py", 1, message, arguments, None)
    vars(made).update({"created": 1_700_000_000.1234} | fields)
    return made


def failed() -> tuple[object, ...]:
    """An error as `log.exception` finds it."""
    try:
        raise ValueError("line one\nline two")  # noqa: TRY301 - it has to be raised somewhere
    except ValueError:
        return sys.exc_info()


def test_a_line_of_json_says_when_how_bad_where_from_and_what() -> None:
    assert json.loads(JsonLines().format(record("joined %s", "events"))) == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "level": "info",
        "logger": "worker.app",
        "message": "joined events",
    }


def test_an_error_stays_within_its_line() -> None:
    line = JsonLines().format(record("it broke", exc_info=failed()))
    assert "\n" not in line
    told = json.loads(line)
    assert "Traceback" in told["exception"]
    assert "line one\nline two" in told["exception"]


@given(st.text())
def test_every_message_is_one_line_of_json(message: str) -> None:
    line = JsonLines().format(record("%s", message))
    assert "\n" not in line
    assert json.loads(line)["message"] == message


def test_the_time_is_utc_and_can_be_read_again() -> None:
    told = json.loads(JsonLines().format(record("x")))["time"]
    assert datetime.fromisoformat(told).timestamp() == pytest.approx(1_700_000_000.123)


def test_text_is_one_line_for_people() -> None:
    line = TextLines().format(record("joined %s", "events"))
    assert line == "2023-11-14T22:13:20.123+00:00 info    joined events"


def test_text_shows_an_error_below_its_line() -> None:
    first, *below = TextLines().format(record("it broke", exc_info=failed())).splitlines()
    assert first.endswith("it broke")
    assert below[0].startswith("Traceback")


@contextmanager
def logging_as(form: str, level: str, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging as started, and the process's own afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        start_logging(form, level)
        yield
    finally:
        root.handlers[:], root.level = before


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_nothing_below_the_level_is_told(monkeypatch: pytest.MonkeyPatch, level: str, told: list[str]) -> None:
    stream = io.StringIO()
    with logging_as("json", level, stream, monkeypatch):
        for name in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger(f"worker.{level}"), name)("said")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == told


def test_started_twice_a_line_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with logging_as("json", "info", stream, monkeypatch):
        start_logging("text", "info")
        logging.getLogger("worker").info("once")
    assert stream.getvalue().count("once") == 1


def test_logs_go_to_standard_error_and_leave_standard_output_alone() -> None:
    program = "import logging; from worker.logs import start_logging; start_logging('json', 'info'); "
    done = subprocess.run(
        [sys.executable, "-c", program + "logging.getLogger('worker').warning('caf\\u00e9 %s', b'\\xff')"],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "utf-8"},
    )
    assert done.stdout == b""
    assert json.loads(done.stderr)["message"] == "café b'\\xff'"
