"""How deep objects and arrays lie within each other in JSON texts, found without recursion; and whether they are UTF-8.

Parsers find out by recursion, so that what they accept depends on how deep their caller stands. A quick look at many
texts at once finds those few that have brackets enough to be worth a count.
"""

import re
from collections.abc import Sequence

import numpy as np

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OPENING = b"[{"
_BRACKETS = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_PIECE_BYTES = 65_536  # scanned at a time: the columns made on the way stay in the nearest caches


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


def faulty_rows(texts: Sequence[bytes], limit: int) -> list[int]:
    """Which of these JSON objects or arrays are not UTF-8 or deeper than `limit`."""
    sizes = list(map(len, texts))
    longest = max(sizes, default=0)
    piece = 1 + _PIECE_BYTES * len(texts) // (1 + sum(sizes))
    faulty = []
    for start in range(0, len(texts), piece):
        part = texts[start : start + piece]
        joined = b"\n".join(part)
        if _may_be_deeper(joined, len(part), longest, limit) or not _is_utf8(joined):
            faulty += [
                start + row for row, text in enumerate(part) if is_deeper_than(text, limit) or not _is_utf8(text)
            ]
    return faulty


def _may_be_deeper(joined: bytes, texts: int, longest: int, limit: int) -> bool:
    """Whether somewhere more than `limit` opening brackets stand within the length of the longest text.

    Each text has one of its own: where hardly more are counted, none can have many.
    """
    is_opening = (np.frombuffer(joined, dtype=np.uint8) | 0x20) == _OPENING[1]  # "[" | 0x20 is "{"
    if np.count_nonzero(is_opening) - texts < limit:
        return False
    opening = np.flatnonzero(is_opening)
    return bool((opening[limit:] - opening[:-limit]).min(initial=longest) < longest)


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
