"""How deep objects and arrays lie within each other in JSON texts, found without recursion; and whether they are UTF-8.

Parsers find out by recursion, so that what they accept depends on how deep their caller stands. A quick look at many
texts (compiled, where a C compiler was at hand) finds those few that have brackets enough to be worth a count.
"""

import re

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def is_deeper_than(text: bytes, limit: int) -> bool:
    """Whether more than `limit` brackets are open at once somewhere; or, in what is not JSON, never closed."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    brackets = _STRINGS.sub(b"", text).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(limit):
        shorter = brackets.replace(b"()", b"")  # takes off the innermost layer
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return bool(brackets)


def unusual_in_python(values: list[bytes | None], most: int, brackets: int, /) -> list[int]:
    """The rows that no parser should see before they were looked at.

    They have no value, or one of more than `most` bytes or `brackets` opening brackets (in strings too), or not UTF-8.
    """
    return [
        row
        for row, value in enumerate(values)
        if value is None or len(value) > most or value.count(b"[") + value.count(b"{") > brackets or not is_utf8(value)
    ]


def is_utf8(text: bytes) -> bool:
    """Whether it is."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


try:
    from worker import _rows
except ImportError:
    unusual = unusual_in_python
else:
    unusual = _rows.unusual
