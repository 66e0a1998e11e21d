"""Environment variables in, the settings that they give out: `ANOMALY_WORKER_KAFKA__GROUP_ID` is kafka.group_id.

A name with the prefix but without `__` that is no setting is left alone: an orchestrator writes such names beside
every program (`ANOMALY_WORKER_SERVICE_HOST` for a service called anomaly-worker).
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.settings import known_settings
from worker.errors import ConfigError

PREFIX = "ANOMALY_WORKER_"

_SECTION: Mapping[str, Any] = {"type": "object"}


class Given(NamedTuple):
    """What a variable says."""

    variable: str
    value: object


def variable(place: tuple[str, ...]) -> str:
    """The name of the variable that gives a setting."""
    return PREFIX + "__".join(place).upper()


def given_by(environ: Mapping[str, str]) -> dict[tuple[str, ...], Given]:
    """Settings by their place. A whole section, given as a JSON mapping, is taken apart.

    Raises ConfigError for a name that was meant as a setting and is none.
    """
    known: dict[tuple[str, ...], Mapping[str, Any]] = dict(known_settings())
    sections = dict.fromkeys([place[:1] for place in known if len(place) > 1], _SECTION)
    schemas = {variable(place): (place, schema) for place, schema in (sections | known).items()}
    meant = sorted(name for name in environ if name.startswith(PREFIX))
    unknown = [name for name in meant if name not in schemas and "__" in name.removeprefix(PREFIX)]
    if unknown:
        raise ConfigError("\n".join(_unknown(name) for name in unknown))
    given: dict[tuple[str, ...], Given] = {}
    for name in meant:  # sorted: a section comes before its settings, which go before it
        if name in schemas:
            place, schema = schemas[name]
            value = value_of(environ[name], schema)
            values = _apart(place, value) if place in sections else {place: value}
            given |= {setting: Given(name, part) for setting, part in values.items()}
    return given


def value_of(text: str, schema: Mapping[str, Any]) -> object:
    """What a text means for a setting of that JSON Schema: itself where text is allowed, else JSON.

    `null` is null wherever that is allowed. What cannot be read stays text, for the model to complain of.
    """
    kinds = kinds_of(schema)
    if text == "null" and "null" in kinds:
        return None
    if "string" in kinds:
        return text
    try:
        return json.loads(text, parse_constant=_not_json)
    except ValueError:
        return text


def kinds_of(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a setting may have."""
    return {schema["type"]} if "type" in schema else {kind["type"] for kind in schema["anyOf"]}


def _apart(place: tuple[str, ...], value: object) -> dict[tuple[str, ...], object]:
    return {(*place, name): inner for name, inner in value.items()} if isinstance(value, dict) else {place: value}


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unknown(name: str) -> str:
    meant = _meant(name.removeprefix(PREFIX).lower())
    remedy = f"did you mean {meant}?" if meant else "docs/settings.md lists those that there are."
    return f"The environment variable {name} is no setting: {remedy}"


def _meant(name: str) -> str | None:
    """The most similar name of the same section, so that what they all begin with makes none similar; else of all."""
    section, _, key = name.partition("__")
    keys: dict[str, tuple[str, ...]] = {
        place[1]: place for place in known_settings() if len(place) == 2 and place[0] == section
    }
    places = keys or {"__".join(place): place for place in known_settings()}
    similar = difflib.get_close_matches(key if keys else name, places, n=1)
    return variable(places[similar[0]]) if similar else None
