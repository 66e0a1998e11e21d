"""The sentences about values that are not JSON: one place each, and nothing of the value."""

import pytest

from worker.event_format import EventFormat
from worker.second_look import Refusal, SecondLook

LOOK = SecondLook(EventFormat(features=(("a", ("a",)),), where={}))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"a":"\x01"}', "Invalid control character at character 6."),
        (b'{"a":"', "Unterminated string starting at character 5."),
        (b'{"a":"\\q"}', "Invalid \\escape at character 6."),
        (b'{"a":"\\u12"}', "Invalid \\uXXXX escape at character 7."),
        (b"{a:1}", "Expecting property name enclosed in double quotes at character 1."),
        (b'{"a" 1}', "Expecting ':' delimiter at character 5."),
        (b'{"a":1}}', "Extra data at character 7."),
        (b"", "The value has no bytes."),
    ],
)
def test_what_is_not_json_is_told_at_its_place(value: bytes, said: str) -> None:
    verdict = LOOK.judge(value=value, key=b"k", timestamp=1)
    assert isinstance(verdict, Refusal)
    assert verdict.message.removeprefix("The value is not JSON: ") == said
