"""Settings and a file's columns in, where each row's entity, time and features stand out.

The settings' paths lead into an event; a table is flat. So a path is looked for as a column's name first (`a.b`), and
what `capture` wrote is known by its columns. It reads no file.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas import captured
from schemas.settings import EventSettings, steps_of
from worker.csv_rows import Cells
from worker.errors import ConfigError
from worker.event_format import EventFormat, Path, TimeUnit
from worker.files import Columns
from worker.formats import event_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the user says beside the settings: where entity and time stand. None leaves it to settings and file."""

    entity: str | None = None
    timestamp: str | None = None
    timestamp_unit: TimeUnit | None = None


def line_format(events: EventSettings, features: Sequence[str], keys: Keys) -> EventFormat:
    """Lines are events as they stand: the settings' paths hold, and `keys` go before them. Raises ConfigError."""
    form = event_format(events, features)
    if keys.entity is not None:
        form = replace(form, entity=_steps(keys.entity, "--entity"))
    if keys.timestamp is not None:
        form = replace(
            form, timestamp=_steps(keys.timestamp, "--timestamp"), timestamp_unit=keys.timestamp_unit or "ms"
        )
    return form


def table_format(columns: Columns, events: EventSettings, features: Sequence[str], keys: Keys) -> EventFormat:
    """Rows of a table are flat JSON objects. Raises ConfigError that names the missing column and the nearest one."""
    form = event_format(events, features)
    timestamp, unit = _timestamp(columns, events, keys)
    # What was captured has passed `where` already, and its column may not be there.
    where = {} if _captured(columns) else events.where
    return replace(
        form,
        features=tuple((name, _feature(columns, events, name)) for name in features),
        entity=_entity(columns, events, keys),
        timestamp=timestamp,
        timestamp_unit=unit,
        where={_found(columns, path, "events.where"): tuple(values) for path, values in where.items()},
        passthrough=tuple(_column(columns, path) or steps_of(path) for path in events.passthrough),
    )


def cells_of(form: EventFormat) -> Cells:
    """How a CSV file's cells are to be read for that format."""
    text = {form.entity} | ({form.timestamp} if form.timestamp_unit == "iso8601" else set())
    number = {path for _, path in form.features} - text
    return Cells(text=frozenset(map(_name, filter(None, text))), number=frozenset(map(_name, number)))


def _captured(columns: Columns) -> bool:
    return set(captured.RESERVED) <= set(columns.names)


def _name(path: Path) -> str:
    return path[0]


def _feature(columns: Columns, events: EventSettings, name: str) -> Path:
    mapped = _column(columns, events.features[name]) if name in events.features else None
    if mapped is not None:
        return mapped
    if name not in columns.names:
        raise _missing(columns, name, f"feature {name!r}")
    return (name,)


def _entity(columns: Columns, events: EventSettings, keys: Keys) -> Path | None:
    if keys.entity is not None:
        return _found(columns, keys.entity, "--entity")
    mapped = None if events.entity is None else _column(columns, events.entity)
    if mapped is not None:
        return mapped
    if captured.ENTITY in columns.names:
        return (captured.ENTITY,)
    if events.entity is not None:
        raise _missing(columns, events.entity, "events.entity")
    return None


def _timestamp(columns: Columns, events: EventSettings, keys: Keys) -> tuple[Path | None, TimeUnit]:
    if keys.timestamp is not None:
        path = _found(columns, keys.timestamp, "--timestamp")
        return path, _unit(columns, path, keys.timestamp_unit)
    mapped = None if events.timestamp is None else _column(columns, events.timestamp)
    if mapped is not None:
        return mapped, _unit(columns, mapped, events.timestamp_unit)
    if captured.EVENT_TIME in columns.names:
        return (captured.EVENT_TIME,), "ms"
    if events.timestamp is not None:
        raise _missing(columns, events.timestamp, "events.timestamp")
    return None, "ms"


def _unit(columns: Columns, path: Path, given: TimeUnit | None) -> TimeUnit:
    if path[0] in columns.times:
        return "ms"
    return given or ("iso8601" if path[0] in columns.texts else "ms")


def _found(columns: Columns, path: str, meant: str) -> Path:
    found = _column(columns, path)
    if found is None:
        raise _missing(columns, path, meant)
    return found


def _column(columns: Columns, path: str) -> Path | None:
    """A column of that very name, or a place inside a nested one."""
    if path in columns.names:
        return (path,)
    steps = steps_of(path)
    return steps if steps[0] in columns.names else None


def _missing(columns: Columns, name: str, meant: str) -> ConfigError:
    near = difflib.get_close_matches(name, columns.names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(columns.names[:8])}"
    return ConfigError(f"{meant}: the file has no column {name!r}; {remedy}")


def _steps(path: str, option: str) -> Path:
    try:
        return steps_of(path)
    except ValueError as error:
        raise ConfigError(f"{option}: {path!r} {error}") from error
