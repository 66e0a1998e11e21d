"""The kinds of value that settings are made of: one check and one JSON Schema each. They know no setting by name."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, TypeAlias

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from schemas.kafka_properties import refusal

_LATEST_TIME_S = 2**63 / 1e9  # the year 2262, where nanoseconds since 1970 end
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_AWS_REGION = re.compile("^[a-z]{2,3}(-[a-z]+)+-[0-9]+$")
_SERVER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.%]+\]|[^\s:,/\[\]]+)(?::(\d{1,5}))?")


def _distinct(items: Sequence[str]) -> Sequence[str]:
    twice = next((item for place, item in enumerate(items) if item in items[:place]), None)
    if twice is not None:
        raise ValueError(f"names {twice!r} twice")
    return items


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError("must be a topic's name: up to 249 letters, digits, dots, underscores and hyphens")
    return name


def _aws_region(name: str) -> str:
    if not _AWS_REGION.fullmatch(name):
        raise ValueError("must be a region of AWS, such as eu-west-1")
    return name


def _servers(servers: str) -> str:
    for server in servers.split(","):
        match = _SERVER.fullmatch(server.strip())
        if not match or not 0 < int(match[1] or 1) <= 65_535:
            raise ValueError("must be brokers as host:port, several with commas between them")
    return servers


def _allowed_property(name: str) -> str:
    reason = refusal(name)
    if reason:
        raise ValueError(f"may not be set: {reason}")
    return name


def _property_value(value: object) -> str | int | float | bool:
    if isinstance(value, str | int | float):  # a bool is an int
        return value
    raise ValueError("must be text, a number, true or false")


def _alternatives(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _scalar(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float):  # a bool is an int
        return value
    raise ValueError("must be text, a number, true, false or null, or a list of them")


def _moment(value: object) -> Literal["earliest", "latest"] | datetime:
    if value == "earliest":
        return "earliest"
    if value == "latest":
        return "latest"
    moment = _time(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if not 0 <= moment.timestamp() < _LATEST_TIME_S:
        raise ValueError("must lie between 1970 and 2262")
    return moment.astimezone(UTC)


def _time(value: object) -> datetime:
    """Some readers of YAML make a time of what looks like one, others leave it text."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    try:
        return datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("must be earliest, latest or a time such as 2026-01-31T12:00:00Z") from None


Text: TypeAlias = Annotated[str, Len(min_length=1)]
Distinct = AfterValidator(_distinct)
"""Marks a list that may not name one thing twice."""
Servers: TypeAlias = Annotated[Text, AfterValidator(_servers)]
Topic: TypeAlias = Annotated[Text, AfterValidator(_topic)]
AwsRegion: TypeAlias = Annotated[
    str, AfterValidator(_aws_region), WithJsonSchema({"type": "string", "pattern": _AWS_REGION.pattern})
]
_Scalar: TypeAlias = Annotated[
    str | int | float | bool | None,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
Alternatives: TypeAlias = Annotated[
    list[_Scalar],
    Len(min_length=1),
    BeforeValidator(_alternatives),
    WithJsonSchema(
        {
            "type": ["string", "number", "boolean", "null", "array"],
            "items": {"type": ["string", "number", "boolean", "null"]},
            "minItems": 1,
        }
    ),
]
Properties: TypeAlias = dict[
    Annotated[Text, AfterValidator(_allowed_property)],
    Annotated[
        str | int | float | bool,
        PlainValidator(_property_value),
        WithJsonSchema({"type": ["string", "number", "boolean"]}),
    ],
]
Moment: TypeAlias = Annotated[
    Literal["earliest", "latest"] | datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "pattern": r"^(earliest|latest|\d{4}-.*)$"}),
]
