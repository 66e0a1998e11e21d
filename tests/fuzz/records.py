"""Records for the decoder by chance: nearly events, and what mutation makes of them.

Whoever asks brings the source of chance: a seeded `random.Random` for many, Hypothesis' own for few that shrink. It
knows no decoder.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

FEATURES = ("x", "y", "z")
NOW_MS = 1_700_000_000_000

FORMATS: Sequence[Mapping[str, object]] = (
    {},
    {"entity": "e", "max_missing": 1.0},
    {"entity": "a.e", "features": {"x": "a.x", "y": "a.b.y"}, "required": ["y"]},
    {"timestamp": "t", "timestamp_unit": "s", "tombstone": "skip"},
    {"timestamp": "a.t", "timestamp_unit": "ms", "max_missing": 0.0},
    {"timestamp": "t", "timestamp_unit": "us", "entity": "k"},
    {"timestamp": "t", "timestamp_unit": "ns", "required": ["x", "z"], "max_missing": 0.7},
    {"timestamp": "t", "timestamp_unit": "iso8601", "passthrough": ["t", "a"]},
    {"where": {"k": ["a", 1, True, None]}, "entity": "e"},
    {"where": {"a.k": 1, "x": [1, 2.5]}, "passthrough": ["x", "a.b", "e"]},
    {"entity": "a", "features": {"x": "a.x"}, "where": {"k": "a"}},
    {"entity": "e", "timestamp": "e", "timestamp_unit": "ns", "features": {"x": "e"}, "max_bytes": 90},
    {"features": {"x": r"dotted\.name", "y": "x", "z": "x"}, "passthrough": [r"dotted\.name", 'q"uote']},
)
"""Settings of `events` that together use every rule of the table of validity, and every way through the decoder."""


class Record(NamedTuple):
    """What the decoder sees of one."""

    value: bytes | None
    key: bytes | None
    timestamp: int


Members: TypeAlias = list[tuple[bytes, bytes]]

_NAMES = [b"x", b"y", b"z", b"a", b"b", b"e", b"t", b"k", b"dotted.name", b'q\\"uote', b"other", b"\\u0078"]
_NAMES += [b"\xc3\xa9"]
_STRANGE_NAMES = [b"", b" x", b"\\u0000", b"\\ud800", b"\xff", b"n" * 3000, b"x\\u0000", b"a.x", b"X", b"\xef\xbb\xbfx"]
_NUMBERS = [b"1", b"0", b"-0", b"1.0", b"2.5", b"-1e3", b"1E+2", b"1e999", b"-1e999", b"1e39", b"1e-400", b"1e-42"]
_NUMBERS += [b"3.4028235677973366e38", b"3.4028234e38", b"-3.5e38", b"1700000000", b"1700000000000", b"-1", b"0.0"]
_NUMBERS += [b"1700000000000000", b"1700000000000000000", b"1700000000.123456", b"9223372036854775807"]
_NUMBERS += [b"9223372036854775808", b"18446744073709551616", b"9214646400000", b"9214646399999.9", b"1e12"]
_NUMBERS += [b"9" * 30, b"9" * 308, b"9" * 309, b"9" * 512, b"9" * 513, b"9" * 5000, b"0." + b"0" * 400 + b"1e401"]
_TEXTS = [b'"a"', b'"1"', b'""', b'"m1"', b'"NaN"', b'"Infinity"', b'"1.5"', b'"\\u00e9"', b'"\\ud83d\\ude00"']
_TEXTS += ['"\u00e9\U0001f600"'.encode(), b'"' + b"e" * 512 + b'"', b'"' + b"e" * 513 + b'"', b'"\\\\"', b'"\\/"']
_TEXTS += [b'"' + "\u00e9".encode() * 256 + b'"', b'"' + "\u00e9".encode() * 257 + b'"', b'"},{"', b'"[[[["']
_TIMES = [b'"2023-11-14T22:13:20Z"', b'"2023-11-14T22:13:20.123999+05:30"', b'"2023-11-14"', b'"20231114T221320Z"']
_TIMES += [
    b'"1969-12-31T23:59:59.999Z"',
    b'"2262-01-01T00:00:00Z"',
    b'"2024-02-30T00:00:00Z"',
    b'"2023-11-14 22:13:20"',
]
_TIMES += [b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"', b'"2023-11-14T24:00:00Z"', b'"2023-W46-2"']
_TIMES += [b'"2023-11-14 22:13:20"', b'"2023-11-14T22:13:20,5Z"']
_TIMES += ['"2023-11-1\u0664T22:13:20Z"'.encode(), b'"2023-11-14T22:13:20.1234567891Z"']
_OTHERS = [b"null", b"true", b"false", b"[]", b"{}", b"[1,[2]]", b'{"x":1}', b'[{"a":{}}]', b"[" * 62 + b"]" * 62]
_FAULTS = [b"NaN", b"-Infinity", b"Infinity", b"nan", b"01", b"1.", b".5", b"+1", b"-", b"1e", b"0x1", b"nul", b"True"]
_FAULTS += [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xf4\x90\x80\x80"', b'"\\ud800"', b'"\\udc00\\ud800"']
_FAULTS += [
    b'"\\q"',
    b'"\\u12"',
    b'"\x01"',
    b'"\n"',
    b"[1,]",
    b'{"a":}',
    b'{"a"}',
    b"{,}",
    b"",
    b"'a'",
    b'"a',
    b"/**/1",
]
_FAULTS += [b"[" * 70 + b"]" * 70, b"[" * 2000 + b"]" * 2000, b"[" * 500, b'{"a":' * 80 + b"1" + b"}" * 80, b"/**/1"]
_TOKENS = [b",", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\xef\xbb\xbf", b"\x00", b"\xff", b"\n", b"0", b"-"]
_TOKENS += [b"e9", b"null", b"NaN", b'"x":1', b',"x":2', b"},{", b"\xe2\x80\xa8", b"\\u0000", b"\xed\xb0\x80", b"//"]
_KEYS = [None, b"", b"\xff", b"k" * 512, b"k" * 513, "\u00e9".encode(), "\u00e9".encode() * 257, b"\x00", b"42"]
_STAMPS = [0, -1, -2, 9_214_646_399_999, 9_214_646_400_000, 2**63 - 1, -(2**63), 1]
_SPACES = [b" ", b"\n", b"\t", b"\r", b"\x0b", b"\xa0"]


class RecordMaker:
    """Makes records; with the same chance the same."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._mutations: Sequence[Callable[[bytes], bytes]] = (
            self._with_flipped_bits,
            self._truncated,
            self._spliced,
            self._with_token,
            self._with_repeated_part,
            self._wrapped,
            self._spaced,
        )

    def batch(self, size: int) -> list[Record]:
        """So many."""
        return [self.record() for _ in range(size)]

    def record(self) -> Record:
        """One: in half of all cases a good event or nearly one."""
        chance = self._chance
        key = b"m%d" % chance.randrange(9) if chance.random() < 0.9 else chance.choice(_KEYS)
        stamp = NOW_MS + chance.randrange(10**6) if chance.random() < 0.95 else chance.choice(_STAMPS)
        return Record(self._value(), key, stamp)

    def _value(self) -> bytes | None:
        kind = self._chance.random()
        if kind < 0.55:
            return self._event(flaws=int(kind * 6))
        if kind < 0.96:
            value = self._event(flaws=self._chance.randrange(2))
            for _ in range(1 + self._chance.randrange(3)):
                value = self._chance.choice(self._mutations)(value)
            return value
        if kind < 0.98:
            return self._leaf()
        return self._chance.choice([None, b"", b" ", b"\xef\xbb\xbf", self._noise()])

    def _event(self, *, flaws: int) -> bytes:
        """An event that is proper for most formats, with so many members dropped, replaced, repeated or added."""
        chance = self._chance
        inner = [(b"x", self._number()), (b"t", self._time()), (b"e", b'"m1"'), (b"k", b"1")]
        inner.append((b"b", _object([(b"y", self._number())])))
        members = [(name, self._number()) for name in (b"x", b"y", b"z")]
        members += [(b"t", self._time()), (b"e", b'"m2"'), (b"k", b'"a"'), (b"a", _object(inner))]
        for _ in range(flaws):
            target = inner if chance.random() < 0.3 else members
            self._spoil(target)
            members[-1] = (members[-1][0], _object(inner)) if members and members[-1][0] == b"a" else members[-1]
        if chance.random() < 0.1:
            chance.shuffle(members)
        return _object(members)

    def _spoil(self, members: Members) -> None:
        chance = self._chance
        place = chance.randrange(len(members) + 1)
        kind = chance.random()
        if kind < 0.2 and len(members) > 1:
            del members[place % len(members)]
        elif kind < 0.7:
            place %= len(members)
            members[place] = (members[place][0], self._leaf())
        else:
            members.insert(place, (self._name(), self._leaf()))

    def _name(self) -> bytes:
        return self._chance.choice(_NAMES if self._chance.random() < 0.9 else _STRANGE_NAMES)

    def _number(self) -> bytes:
        return b"%.3f" % self._chance.gauss(0, 100) if self._chance.random() < 0.9 else self._chance.choice(_NUMBERS)

    def _time(self) -> bytes:
        kind = self._chance.random()
        if kind < 0.25:
            second = self._chance.randrange(86_400)
            return b'"2023-11-14T%02d:%02d:%02dZ"' % (second // 3600, second // 60 % 60, second % 60)
        if kind < 0.9:
            return b"%d" % ((1_700_000_000 + self._chance.randrange(10**6)) * 1000 ** self._chance.randrange(4))
        return self._chance.choice(_TIMES if kind < 0.97 else _NUMBERS)

    def _leaf(self) -> bytes:
        kind = self._chance.random()
        if kind < 0.1:
            return repr(self._chance.uniform(-1, 1) * 10 ** self._chance.uniform(-330, 40)).encode()
        if kind < 0.15:
            return _object([(self._name(), self._leaf()) for _ in range(self._chance.randrange(4))])
        if kind < 0.18:
            return b"[" + b",".join(self._leaf() for _ in range(self._chance.randrange(4))) + b"]"
        pools = (_NUMBERS, _TEXTS, _TIMES, _OTHERS, _FAULTS)
        return self._chance.choice(self._chance.choice(pools))

    def _noise(self) -> bytes:
        return self._chance.randbytes(self._chance.randrange(40))

    # ---- mutations -------------------------------------------------------------------------------------------------

    def _with_flipped_bits(self, value: bytes) -> bytes:
        if not value:
            return value
        damaged = bytearray(value)
        for _ in range(1 + self._chance.randrange(3)):
            damaged[self._chance.randrange(len(damaged))] ^= 1 << self._chance.randrange(8)
        return bytes(damaged)

    def _truncated(self, value: bytes) -> bytes:
        place = self._chance.randrange(len(value) + 1)
        return value[:place] if self._chance.random() < 0.8 else value[place:]

    def _spliced(self, value: bytes) -> bytes:
        """The head of one and the tail of another; or both, with or without what joins records."""
        other = self._event(flaws=1)
        if self._chance.random() < 0.4:
            return value + self._chance.choice([b"", b",", b"\n", b"\x00"]) + other
        return value[: self._chance.randrange(len(value) + 1)] + other[self._chance.randrange(len(other)) :]

    def _with_token(self, value: bytes) -> bytes:
        place = self._chance.randrange(len(value) + 1)
        taken = self._chance.randrange(3)
        return value[:place] + self._chance.choice(_TOKENS) + value[place + taken :]

    def _with_repeated_part(self, value: bytes) -> bytes:
        start = self._chance.randrange(len(value) + 1)
        stop = min(len(value), start + self._chance.randrange(40))
        return value[:stop] + value[start:stop] * self._chance.choice([1, 1, 2, 5, 70]) + value[stop:]

    def _wrapped(self, value: bytes) -> bytes:
        """Deeper by some levels: the event itself, or something within it."""
        depth = self._chance.choice([1, 2, 61, 62, 63, 64, 65, 200, 1500])
        opening, closing = self._chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
        deep = opening * depth + b"1" + closing * depth
        if self._chance.random() < 0.3 or not value.endswith(b"}"):
            return opening * (depth % 3) + value + closing * (depth % 3)
        return value[:-1] + b',"deep":' + deep + b"}"

    def _spaced(self, value: bytes) -> bytes:
        space = self._chance.choice(_SPACES)
        return self._chance.choice([space + value, value + space, value.replace(b",", space + b"," + space)])


def _object(members: Members) -> bytes:
    return b"{" + b",".join([b'"%b":%b' % member for member in members]) + b"}"


def giants(size: int) -> Mapping[str, bytes]:
    """Values of about `size` bytes, each of them costly for a careless parser."""
    good = b'{"x":1,"y":2,"z":3,"e":"m","t":1700000000000,"k":1,"a":'
    fillings = {
        "brackets": b"[" * size,
        "closed brackets": b"[" * (size // 2) + b"]" * (size // 2),
        "flat arrays": b"[" + b",".join([b"[]"] * (size // 3)) + b"]",
        "digits": b"9" * size,
        "fraction": b"0." + b"3" * size,
        "exponent": b"1e" + b"9" * size,
        "text": b'"' + b"a" * size + b'"',
        "escapes": b'"' + b"\\u00e9" * (size // 6) + b'"',
        "backslashes": b'"' + b"\\\\" * (size // 2) + b'"',
        "open text": b'"' + b"\\\\" * (size // 2),
        "quotes": b'"",' * (size // 3),
        "spaces": b" " * size + b"1",
        "one name often": b"{" + b",".join([b'"x":1'] * (size // 6)) + b"}",
        "many names": json.dumps(dict.fromkeys(map(str, range(size // 10)), 1)).encode(),
        "a long name": b'{"' + b"n" * size + b'":1}',
        "bytes": b'"' + b"\xff" * size + b'"',
        "pairs": b'{"a":[' * (size // 8),
    }
    return {name: good + filling + b"}" for name, filling in fillings.items()}
