"""The dead letter and its headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.dead_letter import (
    MESSAGE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    REASONS,
    TOPIC_HEADER,
    VALUE_SHA256_HEADER,
    VALUE_SIZE_HEADER,
    DeadLetter,
)

OURS: dict[str, bytes] = {
    TOPIC_HEADER: b"machine-events",
    PARTITION_HEADER: b"3",
    OFFSET_HEADER: b"1234",
    REASON_HEADER: b"wrong_type",
    MESSAGE_HEADER: b"the feature cpu_r is not a number",
}


def letter(*, before: dict[str, bytes | None] | None = None, **changes: bytes | None) -> DeadLetter:
    ours = {name: value for name, value in (OURS | changes).items() if value is not None}
    headers = [*(before or {}).items(), *ours.items()]
    return DeadLetter(key=b"k", value=b"\xff", timestamp=5, headers=headers)


def test_a_letter_tells_where_it_came_from_and_why() -> None:
    assert letter().source == ("machine-events", 3, 1234)
    assert letter().reason == "wrong_type"
    assert letter().message == "the feature cpu_r is not a number"


def test_the_names_are_the_contract() -> None:
    assert list(OURS) == [
        "__streams.errors.topic",
        "__streams.errors.partition",
        "__streams.errors.offset",
        "anomaly-worker.reason",
        "anomaly-worker.message",
    ]
    assert (VALUE_SHA256_HEADER, VALUE_SIZE_HEADER) == ("anomaly-worker.value.sha256", "anomaly-worker.value.size")


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_contract_is_accepted(reason: str) -> None:
    assert letter(**{REASON_HEADER: reason.encode()}).reason == reason


@pytest.mark.parametrize("name", list(OURS))
def test_a_letter_without_one_of_the_headers_is_none(name: str) -> None:
    with pytest.raises(ValidationError, match=f"header {name} is missing"):
        letter(**{name: None})


@pytest.mark.parametrize(
    "changes",
    [
        {REASON_HEADER: b"bad_luck"},
        {REASON_HEADER: b"\xff"},
        {OFFSET_HEADER: b"-1"},
        {PARTITION_HEADER: b"x"},
        {VALUE_SIZE_HEADER: b"5"},
        {VALUE_SHA256_HEADER: b"00"},
    ],
)
def test_headers_that_break_the_contract_are_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(ValidationError):
        letter(**changes)


def test_a_letter_that_is_refused_again_tells_the_last_refusal() -> None:
    again = letter(before={REASON_HEADER: b"empty", OFFSET_HEADER: b"7", "trace": None})
    assert again.reason == "wrong_type"
    assert again.source[2] == 1234


@given(key=st.none() | st.binary(), value=st.none() | st.binary(), timestamp=st.integers(-1, 2**62))
def test_any_bytes_come_through_json(key: bytes | None, value: bytes | None, timestamp: int) -> None:
    before = DeadLetter(key=key, value=value, timestamp=timestamp, headers=list(OURS.items()))
    assert DeadLetter.model_validate_json(before.model_dump_json()) == before
