"""A batch of records in, the columns of those that are surely valid out; which are surely skipped, which are doubtful.

Each record is decoded by itself, never joined with others, through a msgspec type made for the format; then everything
goes column by column. It gives no reasons: whatever it doubts is for the second look.
"""

import functools
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.batch import Bool, Float32, Int64, Records
from worker.event_format import DEEPEST, MOST_ENTITY_BYTES, EventFormat, Path, identity, spelled
from worker.event_time import column_to_ms, in_range
from worker.event_type import ANYTHING, NUMBER_OR_NULL, EventType, Kinds, event_type, object_maker
from worker.nesting import is_deeper_than, is_utf8, unusual
from worker.rows import longest

_NUMBER: Kinds = frozenset({int, float})
_SCALAR: Kinds = _NUMBER | {str, bool, NoneType}

_NOT_JSON = b""
"""Takes the place of what is not to be parsed, because no parser takes it."""
_LONG_NUMBER = re.compile(rb"\d{309}")
"""Numbers with fewer digits fit into a double."""
_MSGPACK_FLOAT = np.dtype({"names": ["value"], "formats": [">f8"], "offsets": [1], "itemsize": 9})

_Rows: TypeAlias = Callable[[Iterable[msgspec.Struct]], Iterable[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Columns:
    """Valid events of a batch."""

    row: Int64  # (m,) ascending
    entity: list[str]  # m
    event_time: Int64  # (m,)
    features: Float32  # (m, F)
    context: list[bytes] | None  # m; None where nothing is passed through

    def only(self, wanted: Bool) -> "Columns":
        """Some of the events."""
        return Columns(
            self.row[wanted],
            list(itertools.compress(self.entity, wanted)),
            self.event_time[wanted],
            self.features[wanted],
            None if self.context is None else list(itertools.compress(self.context, wanted)),
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: every row of the batch is in exactly one of `columns.row`, `skipped`, `doubtful`."""

    columns: Columns
    skipped: Int64
    doubtful: list[int]


@dataclass(frozen=True, slots=True)
class _Parsed:
    row: Int64
    event: list[msgspec.Struct]

    def only(self, wanted: Bool) -> "_Parsed":
        return self if wanted.all() else _Parsed(self.row[wanted], list(itertools.compress(self.event, wanted)))


class QuickLook:
    """Looks at records of one format, which `made` was made for."""

    def __init__(self, form: EventFormat, made: EventType) -> None:
        self._form = form
        self._decode: Callable[[bytes], msgspec.Struct] = msgspec.json.Decoder(made.struct).decode
        self._where = [
            (operator.attrgetter(made.attribute[path]), frozenset(map(identity, allowed)))
            for path, allowed in form.where.items()
        ]
        self._entity = None if form.entity is None else operator.attrgetter(made.attribute[form.entity])
        self._timestamp = None if form.timestamp is None else operator.attrgetter(made.attribute[form.timestamp])
        self._features = _FeatureColumns(form, made)
        self._context = _ContextColumn(form.passthrough, made) if form.passthrough else None

    @classmethod
    def suited_to(cls, form: EventFormat) -> "QuickLook | None":
        """None for the few formats whose records all need the second look."""
        made = event_type(_kinds(form))
        return None if made is None else cls(form, made)

    def look(self, records: Records) -> Look:
        """Look at a batch."""
        everything = self._parse(records.value)
        holds = self._holds(everything.event)
        ours = everything.only(holds)
        columns, certain = self._columns(ours, records)
        if not certain.all():
            columns = columns.only(certain)
        skipped = everything.row[~holds]
        doubtful = np.ones(len(records), dtype=np.bool_)
        doubtful[columns.row] = doubtful[skipped] = False
        return Look(columns, skipped, np.flatnonzero(doubtful).tolist())

    def _parse(self, values: list[bytes | None]) -> _Parsed:
        return _parsed(self._decode, self._parsable(values))

    def _parsable(self, values: list[bytes | None]) -> Sequence[bytes]:
        """Nothing that a parser should not see: its row is left to the second look."""
        texts = values
        for row in unusual(values, self._form.max_bytes, DEEPEST):
            if not self._is_sound(values[row]):
                texts = list(values) if texts is values else texts
                texts[row] = _NOT_JSON
        return cast("list[bytes]", texts)

    def _is_sound(self, value: bytes | None) -> bool:
        if value is None or len(value) > self._form.max_bytes:
            return False
        return is_utf8(value) and not is_deeper_than(value, DEEPEST)

    def _holds(self, events: Sequence[msgspec.Struct]) -> Bool:
        holds = np.ones(len(events), dtype=np.bool_)
        for get, allowed in self._where:
            holds &= np.fromiter((identity(get(event)) in allowed for event in events), np.bool_, len(events))
        return holds

    def _columns(self, parsed: _Parsed, records: Records) -> tuple[Columns, Bool]:
        """The columns, and which of their rows are certain."""
        entity, named = self._entities(parsed, records)
        event_time = self._event_times(parsed, records)
        features, measured = self._features.of(parsed.event)
        certain = named & measured & in_range(event_time)
        context: list[bytes] | None = None
        if self._context is not None:
            context, copied = self._context.of(parsed.event)
            certain &= copied
        return Columns(parsed.row, entity, event_time, features, context), certain

    def _entities(self, parsed: _Parsed, records: Records) -> tuple[list[str], Bool]:
        if self._entity is not None:
            names = _names_in_values(list(map(self._entity, parsed.event)))
        elif len(parsed.row) == len(records):
            names = _names_in_keys(records.key)
        else:
            names = _names_in_keys([records.key[row] for row in parsed.row.tolist()])
        return names, _are_of_fitting_length(names)

    def _event_times(self, parsed: _Parsed, records: Records) -> Int64:
        if self._timestamp is None:
            return records.timestamp[parsed.row]
        return column_to_ms(list(map(self._timestamp, parsed.event)), self._form.timestamp_unit)


def _kinds(form: EventFormat) -> Mapping[Path, Kinds]:
    """What may lie at each path for a quick look to be enough; features first, as the columns need them."""
    wanted: list[tuple[Path, Kinds]] = []
    if form.entity is not None:
        wanted.append((form.entity, frozenset({str, int})))
    if form.timestamp is not None:
        wanted.append((form.timestamp, frozenset({str}) if form.timestamp_unit == "iso8601" else _NUMBER))
    wanted += [(path, _SCALAR) for path in form.where]
    wanted += [(path, ANYTHING) for path in form.passthrough]
    shared = {path for path, _ in wanted}
    kinds: dict[Path, Kinds] = {
        path: _NUMBER | {NoneType} if path in shared else NUMBER_OR_NULL for _, path in form.features
    }
    for path, own in wanted:
        kinds[path] = kinds.get(path, ANYTHING) & own
    return kinds


def _parsed(decode: Callable[[bytes], msgspec.Struct], texts: Sequence[bytes]) -> _Parsed:
    """What could be decoded."""
    events: list[msgspec.Struct] = []
    failed: list[int] = []
    rest = map(decode, texts)
    while len(events) + len(failed) < len(texts):
        try:
            events.extend(rest)  # keeps what came before an error; the next round goes on behind it
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            failed.append(len(events) + len(failed))
    return _Parsed(np.delete(np.arange(len(texts)), failed), events)


def _names_in_keys(keys: Sequence[bytes | None]) -> list[str]:
    """Entities; "" where there is none."""
    try:
        return list(map(bytes.decode, keys))  # type: ignore[arg-type]  # a null raises TypeError
    except (TypeError, UnicodeDecodeError):
        return list(map(_name_in_key, keys))


def _name_in_key(key: bytes | None) -> str:
    try:
        return "" if key is None else key.decode()
    except UnicodeDecodeError:
        return ""


def _names_in_values(found: list[Any]) -> list[str]:
    """Entities; "" where there is none."""
    if set(map(type, found)) == {str}:
        return found
    return [str(value) if isinstance(value, str | int) else "" for value in found]


def _are_of_fitting_length(names: list[str]) -> Bool:
    if longest(names) <= MOST_ENTITY_BYTES // 4 and "" not in names:  # a character has at most 4 bytes
        return np.ones(len(names), np.bool_)
    lengths = np.fromiter(map(len, names), np.int64, len(names))
    fitting = lengths > 0
    for row in np.flatnonzero(lengths > MOST_ENTITY_BYTES // 4).tolist():
        fitting[row] = len(names[row].encode()) <= MOST_ENTITY_BYTES
    return fitting


class _FeatureColumns:
    """The feature matrix of parsed events."""

    def __init__(self, form: EventFormat, made: EventType) -> None:
        paths = [path for _, path in form.features]
        distinct = list(dict.fromkeys(paths))
        self._form = form
        self._distinct = len(distinct)
        self._places = None if len(distinct) == len(paths) else [distinct.index(path) for path in paths]
        self._required = [place for place, (name, _) in enumerate(form.features) if name in form.required]
        self._only_floats = all(made.kinds[path] == NUMBER_OR_NULL for path in distinct)
        self._rows = _leading(self._distinct) if all(len(path) == 1 for path in paths) else _rows(made, distinct)

    def of(self, events: Sequence[msgspec.Struct]) -> tuple[Float32, Bool]:
        """(m, F), NaN where missing; and which rows are finite and have features enough."""
        wide = self._matrix(events)
        with np.errstate(over="ignore"):  # becomes infinite, which is seen below
            features = (wide if self._places is None else wide[:, self._places]).astype(np.float32)
        finite = np.isfinite(features)
        if finite.all():
            return features, np.ones(len(events), dtype=np.bool_)
        missing = np.isnan(features)
        enough = missing.sum(axis=1) / features.shape[1] <= self._form.max_missing
        enough &= ~missing[:, self._required].any(axis=1)
        return features, enough & (finite | missing).all(axis=1)

    def _matrix(self, events: Sequence[msgspec.Struct]) -> NDArray[np.float64]:
        if not events:
            return np.empty((0, self._distinct))
        rows = list(self._rows(events))
        if not self._only_floats:
            return self._from_numbers(map(_as_float, itertools.chain.from_iterable(rows)), len(rows))
        matrix = _from_msgpack(msgspec.msgpack.encode(rows), len(rows), self._distinct)
        return self._from_numbers(itertools.chain.from_iterable(rows), len(rows)) if matrix is None else matrix

    def _from_numbers(self, numbers: Iterable[float | None], rows: int) -> NDArray[np.float64]:
        return np.fromiter(numbers, np.float64, rows * self._distinct).reshape(rows, self._distinct)  # None is NaN


def _from_msgpack(packed: bytes, rows: int, columns: int) -> NDArray[np.float64] | None:
    """MessagePack writes a float in 9 bytes, a null in 1: where nothing is null, its bytes are a matrix as they are.

    That is half as much work as to read the floats one by one.
    """
    in_front, before_row = _msgpack_header(rows), _msgpack_header(columns)
    row_bytes = before_row + columns * _MSGPACK_FLOAT.itemsize
    if len(packed) != in_front + rows * row_bytes:
        return None
    shape, strides = (rows, columns), (row_bytes, _MSGPACK_FLOAT.itemsize)
    matrix = np.ndarray(shape, _MSGPACK_FLOAT, buffer=packed, offset=in_front + before_row, strides=strides)
    values: NDArray[np.float64] = matrix["value"]
    return values


def _msgpack_header(length: int) -> int:
    """The bytes in front of an array's items."""
    return 1 if length < 16 else 3 if length < 65_536 else 5


def _as_float(found: Any) -> float:  # noqa: ANN401  a number, None or UNSET
    if found is None or found is msgspec.UNSET:
        return float("nan")
    try:
        return float(found)
    except OverflowError:
        return float("inf")


def _leading(count: int) -> _Rows:
    """The first values of each event, which features without inner steps are."""
    first = operator.itemgetter(slice(count))

    def rows(events: Iterable[msgspec.Struct]) -> Iterable[tuple[Any, ...]]:
        return map(first, map(msgspec.structs.astuple, events))

    return rows


def _rows(made: EventType, paths: Sequence[Path]) -> _Rows:
    """The values at these paths of each event."""
    get = operator.attrgetter(*(made.attribute[path] for path in paths))
    if len(paths) > 1:
        return functools.partial(map, get)
    return lambda events: zip(map(get, events), strict=True)


class _ContextColumn:
    """What is passed through, rendered."""

    def __init__(self, paths: Sequence[Path], made: EventType) -> None:
        self._object = object_maker([spelled(path) for path in paths])
        self._rows = _rows(made, paths)
        self._encode = msgspec.json.Encoder().encode

    def of(self, events: Sequence[msgspec.Struct]) -> tuple[list[bytes], Bool]:
        """A JSON object for each event; and which of them have no number in them that is too large for a double."""
        rendered = list(map(self._encode, itertools.starmap(self._object, self._rows(events))))
        sound = (len(context) < 309 or _LONG_NUMBER.search(context) is None for context in rendered)
        return rendered, np.fromiter(sound, np.bool_, len(rendered))
