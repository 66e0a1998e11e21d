"""Where a file's entity, time and features are found."""

import pytest

from schemas import captured
from schemas.settings import EventSettings
from worker.errors import ConfigError
from worker.event_format import EventFormat
from worker.file_mapping import Keys, cells_of, line_format, table_format
from worker.files import Columns

CAPTURED = Columns(names=("entity", "event_time", "cpu", *captured.SOURCE), texts=frozenset({"entity"}))


def mapped(names: str, keys: Keys | None = None, **about: object) -> EventFormat:
    columns = Columns(names=tuple(names.split()), texts=frozenset({"day"}), times=frozenset({"moment"}))
    return table_format(columns, EventSettings.model_validate(about), ["cpu"], keys or Keys())


def test_a_captured_table_needs_no_telling_whatever_the_events_looked_like() -> None:
    events = EventSettings.model_validate(
        {
            "entity": "meta.host",
            "timestamp": "meta.time",
            "timestamp_unit": "s",
            "features": {"cpu": "data.cpu"},
            "where": {"kind": "metric"},
        }
    )
    form = table_format(CAPTURED, events, ["cpu"], Keys())
    assert form.features == (("cpu", ("cpu",)),)
    assert (form.entity, form.timestamp, form.timestamp_unit) == (("entity",), ("event_time",), "ms")
    assert form.where == {}


def test_a_path_may_be_a_columns_whole_name_or_lead_into_one() -> None:
    assert mapped("data.cpu", features={"cpu": "data.cpu"}).features == (("cpu", ("data.cpu",)),)
    assert mapped("data", features={"cpu": "data.cpu"}).features == (("cpu", ("data", "cpu")),)


def test_arguments_go_before_settings_and_settings_before_known_names() -> None:
    names = "cpu entity host machine"
    assert mapped(names).entity == ("entity",)
    assert mapped(names, entity="host").entity == ("host",)
    assert mapped(names, Keys(entity="machine"), entity="host").entity == ("machine",)


def test_without_entity_and_time_the_record_itself_tells_them() -> None:
    form = mapped("cpu")
    assert (form.entity, form.timestamp) == (None, None)


@pytest.mark.parametrize(
    ("keys", "unit"),
    [
        (Keys(timestamp="number"), "ms"),
        (Keys(timestamp="number", timestamp_unit="s"), "s"),
        (Keys(timestamp="day"), "iso8601"),
        (Keys(timestamp="moment", timestamp_unit="s"), "ms"),
    ],
)
def test_the_unit_of_time_is_as_told_or_as_the_column_shows(keys: Keys, unit: str) -> None:
    assert mapped("cpu number day moment", keys).timestamp_unit == unit


@pytest.mark.parametrize(
    ("names", "keys", "about", "sentence"),
    [
        ("CPU", Keys(), {}, "feature 'cpu': the file has no column 'cpu'"),
        ("cpu hst", Keys(entity="host"), {}, "--entity: the file has no column 'host'; did you mean 'hst'?"),
        ("cpu hst", Keys(), {"entity": "host"}, "events.entity: the file has no column 'host'"),
        ("cpu", Keys(), {"timestamp": "time"}, "events.timestamp: the file has no column 'time'"),
        ("cpu", Keys(), {"where": {"kind": 1}}, "events.where: the file has no column 'kind'; it has cpu"),
    ],
)
def test_a_missing_column_is_named_with_who_asked_for_it(
    names: str, keys: Keys, about: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")):
        mapped(names, keys, **about)


def test_names_are_read_as_text_and_features_as_numbers() -> None:
    cells = cells_of(mapped("cpu host day", Keys(entity="host", timestamp="day")))
    assert (cells.text, cells.number) == ({"host", "day"}, {"cpu"})


def test_lines_keep_the_settings_paths_and_arguments_are_paths_too() -> None:
    events = EventSettings.model_validate({"entity": "a.b", "features": {"cpu": "data.cpu"}})
    assert line_format(events, ["cpu"], Keys()).entity == ("a", "b")
    form = line_format(events, ["cpu"], Keys(entity="c.d", timestamp="t"))
    assert (form.entity, form.timestamp, form.timestamp_unit) == (("c", "d"), ("t",), "ms")
    assert form.features == (("cpu", ("data", "cpu")),)
    with pytest.raises(ConfigError, match="--entity"):
        line_format(events, ["cpu"], Keys(entity="a..b"))
