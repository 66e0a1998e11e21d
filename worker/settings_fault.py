"""What the settings model complains of goes in, sentences come out: the setting, what it must be, where it stands.

A value is shown only where it cannot be a secret.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from schemas.settings import Place, known_settings
from worker.settings_variables import variable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PHRASES: Mapping[str, str] = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": 'must be a list, such as ["a", "b"]',
    "dict_type": 'must be a mapping, such as {{"a": "b"}}',
    "model_type": 'must be a mapping, such as {{"a": "b"}}',
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
_CONTAINERS = frozenset({"list_type", "dict_type", "model_type"})
"""What stands where one of these belongs may be a text with a secret somewhere in it."""
_EMPTY = frozenset({"string_too_short", "too_short"})
_NOT_FINITE = re.compile(r"[-+]?\.?(inf|infinity|nan)", re.IGNORECASE)
"""How YAML and others write what is a number elsewhere, and text here."""
_LONGEST_SHOWN = 60


def sentences(
    error: ValidationError, *, origin: Callable[[Place], str | None], may_show: Callable[[Place], bool]
) -> str:
    """One line for each fault; misspelt names first, and not a second time as something that is required.

    Args:
        error: what `Settings.model_validate` raised.
        origin: says where a value stands, None where it stands nowhere.
        may_show: whether the value at a place may be printed.
    """
    faults = _most_telling(error.errors(include_url=False))
    return "\n".join(_sentence(fault, origin, may_show) for fault in faults)


def dotted(place: Place) -> str:
    """The name of a setting as people write it."""
    return ".".join(map(str, place))


def _most_telling(faults: Sequence["ErrorDetails"]) -> list["ErrorDetails"]:
    """A misspelt name is the cause of what is then missing: it stands first, and for both."""
    misspelt = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    meant = {_meant(fault["loc"]) for fault in misspelt}

    def is_told(fault: "ErrorDetails") -> bool:
        places = (dotted(fault["loc"][:length]) for length in range(1, len(fault["loc"]) + 1))
        return fault["type"] == "missing" and not meant.isdisjoint(places)

    return [*misspelt, *(fault for fault in faults if fault not in misspelt and not is_told(fault))]


def _sentence(fault: "ErrorDetails", origin: Callable[[Place], str | None], may_show: Callable[[Place], bool]) -> str:
    context = fault.get("ctx", {})
    place: Place = context.get("place") or tuple(step for step in fault["loc"] if step != "[key]")
    name, kind, value = dotted(place), fault["type"], fault["input"]
    if kind == "missing":
        return f"{name} is required: set it in the settings file or as {variable(_names(place))}."
    where = origin(place)
    stands = f" ({where})" if where else ""
    if kind == "extra_forbidden":
        return f"{name} is not a setting{stands}: {_nearest(place)}"
    if kind in _EMPTY or (value is None and kind in _PHRASES):
        return f"{name} is empty{stands}: give it a value, or leave it out where it has a default."
    if kind == "float_type" and isinstance(value, str) and _NOT_FINITE.fullmatch(value):
        kind = "finite_number"
    if kind in _PHRASES:
        shown = _shown(value) if kind not in _CONTAINERS and may_show(place) else ""
        return f"{name} {_PHRASES[kind].format(**_plain(context))}{shown}{stands}."
    return f"{name} {context.get('error') or fault['msg']}{stands}."


def _plain(context: Mapping[str, object]) -> dict[str, object]:
    """A bound of 1.0 reads better as 1."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in context.items()
    }


def _names(place: Place) -> tuple[str, ...]:
    return tuple(map(str, place))


def _nearest(place: Place) -> str:
    """A remedy for a name that is no setting: the one that was meant, or all there are."""
    meant = _meant(place)
    return f"did you mean {meant}?" if meant else f"{_among(place)} {', '.join(_siblings(place))}."


def _meant(place: Place) -> str | None:
    """The most similar name of the same section, or the same name elsewhere."""
    similar = difflib.get_close_matches(dotted(place), _siblings(place), n=1, cutoff=0.7)
    elsewhere = [name for name in map(dotted, known_settings()) if name.endswith(f".{place[-1]}")]
    return next(iter([*similar, *elsewhere]), None)


def _siblings(place: Place) -> list[str]:
    depth = len(place)
    return list(dict.fromkeys(dotted(near[:depth]) for near in known_settings() if near[: depth - 1] == place[:-1]))


def _among(place: Place) -> str:
    return f"{dotted(place[:-1])} has" if place[:-1] else "there are"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float) else ""
    return f", not {text}" if 0 < len(text) <= _LONGEST_SHOWN else ""
