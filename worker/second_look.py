"""One record in, its verdict out: valid, skipped or refused, by the table of validity, rule by rule in its order.

Slow, plain and final: the decoder asks here about every record that its quick look does not take for valid. It knows
no batch.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Never, TypeAlias

import msgspec
import numpy as np

from worker.event_format import DEEPEST, MOST_ENTITY_BYTES, EventFormat, Path, identity, spelled
from worker.event_time import NO_TIME, in_range, to_ms
from worker.nesting import is_deeper_than


@dataclass(frozen=True, slots=True)
class Valid:
    """An event. NaN stands for a missing feature."""

    entity: str
    event_time: int
    features: tuple[float, ...]
    context: bytes | None  # a rendered JSON object; None where nothing is passed through


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is none of ours."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that breaks a rule: which, and a sentence that names the field and carries no value."""

    reason: str
    message: str


Verdict: TypeAlias = Valid | Skipped | Refusal


class _Number(NamedTuple):
    """A JSON number as it was written."""

    text: str

    @property
    def is_integer(self) -> bool:
        return not any(mark in self.text for mark in ".eE")

    def value(self) -> int | float:
        """Exact for integers, but infinite for those that are too long to be read in earnest."""
        return int(self.text) if self.is_integer and len(self.text) <= _LONGEST_INTEGER else float(self.text)


_Object: TypeAlias = "dict[str, list[_Json]]"
"""The values of every name, in their order: a name may be repeated."""
_Json: TypeAlias = "_Object | list[_Json] | _Number | str | bool | None"

_ABSENT = object()
_LONGEST_INTEGER = 4_000  # characters; int() takes no more than 4,300 digits


class _Refused(Exception):  # noqa: N818  it carries a verdict, it is no error
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


def _refuse(reason: str, message: str) -> Never:
    raise _Refused(reason, message)


class SecondLook:
    """Judges records by one format."""

    def __init__(self, form: EventFormat) -> None:
        self._form = form
        self._where = {path: frozenset(map(identity, values)) for path, values in form.where.items()}
        self._parser = json.JSONDecoder(
            object_pairs_hook=_members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
        )

    def judge(self, *, value: bytes | None, key: bytes | None, timestamp: int) -> Verdict:
        """The verdict on one record; `timestamp` is its own, milliseconds since 1970."""
        if value is None and self._form.tombstone == "skip":
            return Skipped()
        try:
            event = self._event(value)
            if not all(_holds(event, path, allowed) for path, allowed in self._where.items()):
                return Skipped()
            return Valid(
                self._entity(event, key),
                self._event_time(event, timestamp),
                self._features(event),
                self._context(event),
            )
        except _Refused as refused:
            return refused.refusal

    def _event(self, value: bytes | None) -> _Object:
        if not value:
            _refuse("empty", "The value is null." if value is None else "The value has no bytes.")
        if len(value) > self._form.max_bytes:
            _refuse("too_large", f"The value is {len(value)} bytes long, the limit is {self._form.max_bytes}.")
        event = self._parse(value)
        if not isinstance(event, dict):
            _refuse("wrong_type", f"The value is {_kind(event)}; an event is an object.")
        return event

    def _parse(self, value: bytes) -> _Json:
        if is_deeper_than(value, DEEPEST):
            _refuse("undecodable", f"The value is not JSON nested at most {DEEPEST} deep.")
        try:
            event: _Json = self._parser.decode(value.decode())
            msgspec.json.encode(event)  # fails on half a surrogate pair: that is no text in UTF-8
        except json.JSONDecodeError as error:
            _refuse("undecodable", f"The value is not JSON: {_fault(error)} at character {error.pos}.")
        except UnicodeDecodeError as error:
            _refuse("undecodable", f"The value is not UTF-8: {error.reason} at byte {error.start}.")
        except UnicodeEncodeError:
            _refuse("undecodable", "The value is not UTF-8: half a surrogate pair is escaped in it.")
        return event

    def _entity(self, event: _Object, key: bytes | None) -> str:
        path = self._form.entity
        where = "The record's key" if path is None else f"The entity at {spelled(path)}"
        entity = _key_text(key) if path is None else _entity_text(_last(event, path))
        if not entity:
            form = "UTF-8 and not empty" if path is None else "text, not empty, or an integer"
            _refuse("no_entity", f"{where} must be {form}.")
        if len(entity.encode()) > MOST_ENTITY_BYTES:
            _refuse("no_entity", f"{where} is longer than {MOST_ENTITY_BYTES} bytes.")
        return entity

    def _event_time(self, event: _Object, timestamp: int) -> int:
        path = self._form.timestamp
        if path is None:
            if not in_range(np.array([timestamp]))[0]:
                _refuse("bad_timestamp", "The record has no timestamp of its own, or one outside 1970 to 2262.")
            return timestamp
        found = _last(event, path)
        time = to_ms(found.value() if isinstance(found, _Number) else found, self._form.timestamp_unit)
        if time == NO_TIME:
            unit = self._form.timestamp_unit
            form = "an ISO 8601 time" if unit == "iso8601" else f"a number of {unit} since 1970"
            _refuse("bad_timestamp", f"The timestamp at {spelled(path)} must be {form}, before 2262.")
        return time

    def _features(self, event: _Object) -> tuple[float, ...]:
        found = {name: _feature(event, name, path) for name, path in self._form.features}
        numbers = {name: _finite(name, value) for name, value in found.items()}
        self._check_missing([name for name, number in numbers.items() if math.isnan(number)])
        return tuple(numbers.values())

    def _check_missing(self, missing: list[str]) -> None:
        required = [name for name in missing if name in self._form.required]
        if required:
            _refuse("missing_features", f"The required feature {_quoted(required[0])} is absent or null.")
        if len(missing) / len(self._form.features) > self._form.max_missing:
            examples = ", ".join(map(_quoted, missing[:3])) + (", ..." if len(missing) > 3 else "")
            _refuse(
                "missing_features", f"{len(missing)} of {len(self._form.features)} features are missing: {examples}."
            )

    def _context(self, event: _Object) -> bytes | None:
        if not self._form.passthrough:
            return None
        found = {spelled(path): _last(event, path) for path in self._form.passthrough}
        return msgspec.json.encode({name: _rendered(value) for name, value in found.items() if value is not _ABSENT})


def _fault(error: json.JSONDecodeError) -> str:
    """What is wrong, without the words and marks that lead on to a place or to a part of the value."""
    return error.msg.removesuffix(" at").rstrip(": ")


def _members(pairs: list[tuple[str, _Json]]) -> _Object:
    members: _Object = {}
    for name, value in pairs:
        members.setdefault(name, []).append(value)
    return members


def _refuse_constant(name: str) -> Never:
    _refuse("undecodable", f"The value is not JSON, which has no {name}.")


def _last(value: object, path: Path) -> object:
    """The value at the path, of repeated names the last; `_ABSENT` where the path leads nowhere."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name][-1]
    return value


def _all(value: object, path: Path) -> Iterator[object]:
    """Every value at the path, and every one that blocks the way to it because it is no object."""
    if path and isinstance(value, dict):
        for member in value.get(path[0], ()):
            yield from _all(member, path[1:])
    else:
        yield _Blocked(value) if path else value


class _Blocked(NamedTuple):
    by: object


def _holds(event: _Object, path: Path, allowed: frozenset[tuple[bool, object]]) -> bool:
    value = _last(event, path)
    if isinstance(value, _Number):
        return identity(value.value()) in allowed
    return isinstance(value, str | bool | None) and identity(value) in allowed


def _key_text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None


def _entity_text(found: object) -> str | None:
    if isinstance(found, _Number) and found.is_integer:
        return found.text if len(found.text) > MOST_ENTITY_BYTES + 1 else str(int(found.text))  # -0 is 0
    return found if isinstance(found, str) else None


def _feature(event: _Object, name: str, path: Path) -> _Number | None:
    """The number, None where missing. An earlier value of a repeated name may not be of a wrong type either."""
    for value in _all(event, path):
        if isinstance(value, _Blocked):
            _refuse(
                "wrong_type",
                f"The feature {_quoted(name)} lies at {spelled(path)}, but {_kind(value.by)} is in the way.",
            )
        if value is not None and not isinstance(value, _Number):
            _refuse("wrong_type", f"The feature {_quoted(name)} is {_kind(value)}; it must be a number or null.")
    last = _last(event, path)
    return last if isinstance(last, _Number) else None


def _finite(name: str, number: _Number | None) -> float:
    if number is None:
        return math.nan
    wide = float(number.text)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(wide)):
            _refuse("not_finite", f"The feature {_quoted(name)} is beyond the range of float32.")
    return wide


def _rendered(value: object) -> object:
    """What msgspec writes as it was; null for a number that no reader can hold."""
    if isinstance(value, _Number):
        return msgspec.Raw(value.text.encode()) if math.isfinite(float(value.text)) else None
    if isinstance(value, dict):
        return {name: _rendered(values[-1]) for name, values in value.items()}
    return [_rendered(item) for item in value] if isinstance(value, list) else value


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return "a number"


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
