"""What the decoder takes, refuses and skips: the table of validity rule by rule, and against an independent judge."""

import json
import sys
from collections.abc import Sequence

import hypothesis
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.settings import EventSettings, steps_of
from tests.log_record import LogRecord
from tests.oracle import Dead, Skipped, Valid, verdict
from worker.batch import Events, Records, TopicPartition
from worker.decoder import EventFormat, JsonDecoder

NOW_MS = 1_700_000_000_000
GOOD = b'{"x":1,"y":2.5}'


def decoder(names: Sequence[str] = ("x", "y"), **settings: object) -> JsonDecoder:
    return JsonDecoder(event_format(EventSettings(**settings), names))


def event_format(events: EventSettings, features: Sequence[str]) -> EventFormat:
    return EventFormat(
        features=tuple((name, events.feature_path(name)) for name in features),
        entity=None if events.entity is None else steps_of(events.entity),
        timestamp=None if events.timestamp is None else steps_of(events.timestamp),
        timestamp_unit=events.timestamp_unit,
        where={steps_of(path): tuple(values) for path, values in events.where.items()},
        passthrough=tuple(steps_of(path) for path in events.passthrough),
        tombstone=events.tombstone,
        required=frozenset(events.required),
        max_missing=events.max_missing,
        max_bytes=events.max_bytes,
    )


def records(
    values: Sequence[bytes | None], *, keys: Sequence[bytes | None] | None = None, timestamp: int = NOW_MS
) -> Records:
    return Records(
        partitions=[TopicPartition("events", 0)],
        partition=np.zeros(len(values), dtype=np.int64),
        offset=np.arange(len(values)),
        timestamp=np.full(len(values), timestamp),
        key=[b"machine-1"] * len(values) if keys is None else list(keys),
        value=list(values),
        headers=lambda row: (),
    )


def outcomes(events: Events, rows: int) -> list[object]:
    """What became of each row; fails unless it is in exactly one place."""
    found: dict[int, object] = {}
    for place, row in enumerate(events.row.tolist()):
        context = None if events.context is None else json.loads(events.context[place])
        features = events.features[place].tolist()
        found[row] = (events.entity[place], int(events.event_time[place]), repr(features), context)
    found |= {refused.row: refused.reason for refused in events.refused}
    found |= dict.fromkeys(events.skipped.tolist(), "skipped")
    assert len(events.row) + len(events.refused) + len(events.skipped) == rows
    assert sorted(found) == list(range(rows))
    assert events.row.tolist() == sorted(events.row.tolist())
    return [found[row] for row in range(rows)]


def reason(decode: JsonDecoder, value: bytes | None, *, key: bytes | None = b"m", timestamp: int = NOW_MS) -> object:
    """The reason for which one record between two good ones is refused, "skipped", or the valid event."""
    batch = records([GOOD, value, GOOD], keys=[b"before", key, b"after"], timestamp=timestamp)
    return outcomes(decode.decode(batch), 3)[1]


def features_of(decode: JsonDecoder, value: bytes) -> list[float]:
    events = decode.decode(records([value]))
    assert not events.refused, events.refused
    return events.features[0].tolist()


# Rule by rule -------------------------------------------------------------------------------------------------------


def test_columns_come_in_the_order_of_the_features_and_the_records() -> None:
    events = decoder(("y", "x")).decode(
        records([b'{"x":1,"y":2}', b'{"y":4,"x":3,"z":[]}'], keys=[b"a", "\u00e9".encode()])
    )
    assert events.entity == ["a", "\u00e9"]
    assert events.features.dtype == np.float32
    assert events.features.tolist() == [[2, 1], [4, 3]]
    assert events.event_time.tolist() == [NOW_MS, NOW_MS]
    assert events.row.tolist() == [0, 1]
    assert events.context is None


def test_an_empty_batch_has_empty_columns() -> None:
    events = decoder().decode(records([]))
    assert len(events) == 0
    assert events.features.shape == (0, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b" ", "undecodable"),
        (b"\xef\xbb\xbf" + GOOD, "undecodable"),
        (GOOD[:-1], "undecodable"),
        (GOOD + GOOD, "undecodable"),
        (GOOD + b",", "undecodable"),
        (GOOD + b"\x00", "undecodable"),
        (b'{"x":1,"y":2},{"x":3,"y":4}', "undecodable"),
        (b'{"o":[{}', "undecodable"),
        (b'{}],"x":7}', "undecodable"),
        (b'{"x":1,"y":2,}', "undecodable"),
        (b'{"x":01,"y":2}', "undecodable"),
        (b'{"x":NaN,"y":2}', "undecodable"),
        (b'{"x":1,"y":2,"z":-Infinity}', "undecodable"),
        (b'{"x":1,"y":2,"z":"\xff"}', "undecodable"),
        (b'{"x":1,"y":2,"z":"\xed\xa0\x80"}', "undecodable"),
        (b'{"x":1,"y":2,"\xc3":0}', "undecodable"),
        (b'{"x":1,"y":2,"z":"\\ud800"}', "undecodable"),
        (b'{"x":1,"y":2,"\\udc00 ":0}', "undecodable"),
        (b'{"x":1,"y":2,"z":"\t"}', "undecodable"),
        (b'"\xff"', "undecodable"),
        (b"[]", "wrong_type"),
        (b"null", "wrong_type"),
        (b"1e999", "wrong_type"),
        (b'{"x":true,"y":2}', "wrong_type"),
        (b'{"x":"1","y":2}', "wrong_type"),
        (b'{"x":[1],"y":1e999}', "wrong_type"),
        (b'{"x":1e999,"y":{}}', "wrong_type"),
        (b'{"x":"a","x":1,"y":2}', "wrong_type"),
        (b'{"x":1e999,"y":2}', "not_finite"),
        (b'{"x":-1e999}', "not_finite"),
        (b'{"x":1e39,"y":2}', "not_finite"),
        (b'{"x":%d,"y":2}' % 10**400, "not_finite"),
        (b'{"x":' + b"9" * 5000 + b',"y":2}', "not_finite"),
        (b"{}", "missing_features"),
        (b'{"x":null,"y":null}', "missing_features"),
    ],
)
def test_a_record_is_refused_for_the_first_rule_it_breaks(value: bytes | None, expected: str) -> None:
    assert reason(decoder(), value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b' \n\t\r{ "x" : 1 , "y" : 2 } ', [1, 2]),
        (b'{"x":-0.0,"y":1e-400}', [-0.0, 0]),
        (b'{"x":1e-42,"y":3.4028235e38}', [float(np.float32(1e-42)), float(np.finfo(np.float32).max)]),
        (b'{"x":0.%s1e401,"y":2}' % (b"0" * 400), [1, 2]),
        (b'{"x":12345678901234567890123,"y":2}', [float(np.float32(12345678901234567890123)), 2]),
        (b'{"x":9,"x":1,"y":1e999,"y":2}', [1, 2]),
        (b'{"\\u0078":1,"y":2,"z":"\\ud83d\\ude00"}', [1, 2]),
        ('{"x":1,"y":2,"\u00fc":"\U0001f600"}'.encode(), [1, 2]),
        (b'{"x":1,"y":2,"z":1e999}', [1, 2]),
    ],
)
def test_unusual_but_valid_json_is_taken(value: bytes, expected: list[float]) -> None:
    assert features_of(decoder(), value) == expected


@pytest.mark.parametrize("value", [b'{"x":1}', b'{"x":1,"y":null}'])
def test_absent_and_null_features_are_missing(value: bytes) -> None:
    assert reason(decoder(), value) == ("m", NOW_MS, "[1.0, nan]", None)
    assert reason(decoder(required=["x"]), value) == ("m", NOW_MS, "[1.0, nan]", None)
    assert reason(decoder(required=["y"]), value) == "missing_features"
    assert reason(decoder(max_missing=0.49), value) == "missing_features"


def test_the_share_of_missing_features_is_compared_as_it_is_written() -> None:
    names = [f"f{number}" for number in range(100)]
    with_29_missing = json.dumps(dict.fromkeys(names[29:], 1)).encode()
    assert 0.29 * 100 < 29
    assert len(decoder(names, max_missing=0.29).decode(records([with_29_missing]))) == 1
    assert len(decoder(names, max_missing=0.28).decode(records([with_29_missing]))) == 0


def _nested(depth: int, *, inside: bytes = b"") -> bytes:
    return b'{"x":1,"y":2,"z":' + b"[" * (depth - 1) + inside + b"]" * (depth - 1) + b"}"


def test_64_levels_are_taken_and_65_are_not() -> None:
    assert features_of(decoder(), _nested(64)) == [1, 2]
    assert reason(decoder(), _nested(65)) == "undecodable"
    assert reason(decoder(), _nested(65)[:-1]) == "undecodable"
    assert features_of(decoder(), _nested(64, inside=b"[],[],[]" * 0 + b'"' + b"[{" * 500 + b'\\""')) == [1, 2]
    assert features_of(decoder(), b'{"x":1,"y":2,"z":[' + b",".join([b'{"a":[]}'] * 500) + b"]}") == [1, 2]


@pytest.mark.parametrize("depth", [65, 500, 900, 980, 1_000, 100_000])
def test_a_record_that_is_too_deep_is_refused_however_deep_the_caller_stands(depth: int) -> None:
    def stand(deep: int) -> object:
        return stand(deep - 1) if deep else reason(decode, _nested(depth))

    decode = decoder()
    assert [stand(deep) for deep in (0, 300, 600)] == ["undecodable"] * 3
    assert sys.getrecursionlimit() == 1_000


def test_a_record_over_the_limit_is_refused_before_it_is_parsed() -> None:
    assert reason(decoder(max_bytes=len(GOOD)), GOOD + b" ") == "too_large"
    assert reason(decoder(max_bytes=len(GOOD)), b"\xff" * 16) == "too_large"


def test_a_tombstone_is_a_dead_letter_or_skipped() -> None:
    assert reason(decoder(), None) == "empty"
    assert reason(decoder(tombstone="skip"), None) == "skipped"
    assert reason(decoder(tombstone="skip"), b"") == "empty"


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"k" * 513, "\u00e9".encode() * 257])
def test_a_key_that_names_no_entity_is_refused(key: bytes | None) -> None:
    assert reason(decoder(), GOOD, key=key) == "no_entity"
    assert reason(decoder(), b'{"x":"a"}', key=key) == "no_entity"


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (b'"a"', "a"),
        (b'"\\u00e9"', "\u00e9"),
        (b"42", "42"),
        (b"-0", "0"),
        (b"-7", "-7"),
        (b"9" * 512, "9" * 512),
        (b'"' + b"e" * 512 + b'"', "e" * 512),
    ],
)
def test_text_and_integers_name_an_entity(entity: bytes, expected: str) -> None:
    value = b'{"x":1,"y":2,"m":{"id":%b}}' % entity
    assert decoder(entity="m.id").decode(records([value])).entity == [expected]


@pytest.mark.parametrize(
    "entity",
    [b'""', b"null", b"true", b"1.0", b"1e2", b"[]", b"{}", b"9" * 513, b"9" * 5000, b'"' + b"e" * 513 + b'"'],
)
def test_nothing_else_names_an_entity(entity: bytes) -> None:
    assert reason(decoder(entity="m.id"), b'{"x":1,"y":2,"m":{"id":%b}}' % entity) == "no_entity"


@pytest.mark.parametrize("value", [b"{}", b'{"m":1}', b'{"m":null}', b'{"m":{}}', b'{"x":"a","m":[]}'])
def test_a_path_that_leads_nowhere_names_no_entity(value: bytes) -> None:
    assert reason(decoder(entity="m.id"), value) == "no_entity"


def test_the_records_own_timestamp_must_be_one() -> None:
    assert reason(decoder(), GOOD, timestamp=-1) == "bad_timestamp"
    assert reason(decoder(), b'{"x":"a"}', timestamp=-1) == "bad_timestamp"
    assert reason(decoder(), GOOD, timestamp=0) == ("m", 0, "[1.0, 2.5]", None)


@pytest.mark.parametrize(
    ("time", "unit", "expected"),
    [
        (b"1700000000123", "ms", 1_700_000_000_123),
        (b"1700000000.123", "s", 1_700_000_000_123),
        (b"1.7e12", "ms", 1_700_000_000_000),
        (b"1700000000123999999", "ns", 1_700_000_000_123),
        (b'"2023-11-14T22:13:20.123999Z"', "iso8601", 1_700_000_000_123),
        (b'"2023-11-14T23:13:20.123+01:00"', "iso8601", 1_700_000_000_123),
        (b'"1700000000"', "s", "bad_timestamp"),
        (b"1700000000", "iso8601", "bad_timestamp"),
        (b"null", "ms", "bad_timestamp"),
        (b"true", "ms", "bad_timestamp"),
        (b"-1", "ms", "bad_timestamp"),
        (b"-1e-7", "s", "bad_timestamp"),
        (b"1e999", "ms", "bad_timestamp"),
        (b"9" * 5000, "ms", "bad_timestamp"),
        (b"1700000000000000", "ms", "bad_timestamp"),
    ],
)
def test_a_mapped_timestamp_is_read_in_its_unit(time: bytes, unit: str, expected: object) -> None:
    found = reason(decoder(timestamp="t", timestamp_unit=unit), b'{"x":1,"y":2,"t":%b}' % time)
    assert found == (expected if isinstance(expected, str) else ("m", expected, "[1.0, 2.0]", None))


@pytest.mark.parametrize("value", [b'{"x":1,"y":2}', b'{"x":1,"y":2,"t":5}', b'{"x":1,"y":2,"t":null}'])
def test_a_path_that_leads_nowhere_is_no_timestamp(value: bytes) -> None:
    assert reason(decoder(timestamp="t.at"), value) == "bad_timestamp"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a":{"x":1,"y":null}}', ("m", NOW_MS, "[1.0, nan]", None)),
        (b'{"a":{"x":1}}', ("m", NOW_MS, "[1.0, nan]", None)),
        (b'{"a":{"y":0},"a":{"x":1}}', ("m", NOW_MS, "[1.0, nan]", None)),
        (b"{}", "missing_features"),
        (b'{"a":null}', "wrong_type"),
        (b'{"a":[]}', "wrong_type"),
        (b'{"a":1,"a":{"x":1,"y":2}}', "wrong_type"),
        (b'{"a":{"x":true},"a":{"x":1,"y":2}}', "wrong_type"),
    ],
)
def test_features_are_found_along_their_paths(value: bytes, expected: object) -> None:
    assert reason(decoder(features={"x": "a.x", "y": "a.y"}), value) == expected


def test_a_feature_may_have_any_name_and_share_its_path() -> None:
    names = ("a.b", "class", "x y", "\u00fc\u2028", 'quo"te', "back\\slash", "\n", "same")
    value = json.dumps({name: place for place, name in enumerate(names[:-1])}).encode()
    assert features_of(decoder(names, features={"same": "class"}), value) == [0, 1, 2, 3, 4, 5, 6, 1]
    assert features_of(decoder((*names[:4], "same"), features={"same": "class"}), value) == [0, 1, 2, 3, 1]


def test_one_path_may_lead_through_another() -> None:
    decode = decoder(entity="a", features={"x": "a.x"})
    assert reason(decode, b'{"a":"m","y":1}') == "wrong_type"
    assert reason(decode, b'{"a":{"x":1},"y":1}') == "no_entity"
    through = decoder(passthrough=["a"], features={"x": "a.x"})
    assert reason(through, b'{"a":{"x":1,"o":[1.10]},"y":2}') == (
        "m",
        NOW_MS,
        "[1.0, 2.0]",
        {"a": {"x": 1, "o": [1.1]}},
    )


@pytest.mark.parametrize(
    ("where", "kind", "holds"),
    [
        (1, b"1", True),
        (1, b"1.0", True),
        (1, b"true", False),
        (True, b"true", True),
        (True, b"1", False),
        (0, b"false", False),
        (0, b"-0", True),
        ("1", b'"1"', True),
        ("1", b"1", False),
        (None, b"null", True),
        (["a", "b"], b'"b"', True),
        (["a", "b"], b'"c"', False),
        ("a", b"[]", False),
        ("a", b'{"a":1}', False),
        (1, b"1e999", False),
        (1, b"1" * 5000, False),
        (10**20, b"1" + b"0" * 20, True),
        ("b", b'"a","k":"b"', True),
    ],
)
def test_where_compares_json_scalars(where: object, kind: bytes, holds: bool) -> None:  # noqa: FBT001  a table's column
    found = reason(decoder(where={"k": where}), b'{"x":1,"y":2,"k":%b}' % kind)
    assert (found != "skipped") == holds


@pytest.mark.parametrize(
    "value", [b"{}", b'{"k":{}}', b'{"k":null}', b'{"k":"a"}', b'{"k":{"t":"b"},"x":"no number","x":1e999}']
)
def test_what_where_does_not_hold_for_is_skipped_whatever_else_is_wrong(value: bytes) -> None:
    assert reason(decoder(where={"k.t": "a"}, entity="e", timestamp="t"), value) == "skipped"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b'{"k":"b",}', "undecodable"), (b'["b"]', "wrong_type"), (b'{"k":"b","z":"\\ud800"}', "undecodable")],
)
def test_what_is_no_json_object_is_refused_before_where(value: bytes, expected: str) -> None:
    assert reason(decoder(where={"k": "a"}), value) == expected


@pytest.mark.parametrize(
    ("value", "context"),
    [
        (b"", b"{}"),
        (b',"s":"\\u00e9\\n","o":{"i":null}', '{"s":"\u00e9\\n","o.i":null}'.encode()),
        (b',"s":[1,2.5,true,{"a":{}}],"o":{}', b'{"s":[1,2.5,true,{"a":{}}]}'),
        (b',"s":12345678901234567890123,"o":[]', b'{"s":12345678901234567890123}'),
        (b',"s":[1e999,-1e999,%d,1e5]' % 10**400, b'{"s":[null,null,null,1e5]}'),
        (b',"s":' + b"9" * 5000, b'{"s":null}'),
        (b',"s":"' + b"9" * 400 + b'"', b'{"s":"' + b"9" * 400 + b'"}'),
        (b',"s":{"a":1,"a":2},"s":{"a":1e999,"a":3}', b'{"s":{"a":3}}'),
        (b',"dotted.name":7', b'{"dotted\\\\.name":7}'),
    ],
)
def test_context_is_what_the_event_says(value: bytes, context: bytes) -> None:
    decode = decoder(passthrough=["s", "o.i", r"dotted\.name"])
    assert decode.decode(records([b'{"x":1,"y":2%b}' % value])).context == [context]


def test_context_may_be_a_feature_the_entity_and_the_time_too() -> None:
    decode = decoder(passthrough=["x", "e", "t"], entity="e", timestamp="t", where={"e": 7})
    events = decode.decode(records([b'{"x":1,"y":2,"e":7,"t":1.5}', b'{"x":null,"y":2.0,"e":7,"t":2}']))
    assert events.context == [b'{"x":1,"e":7,"t":1.5}', b'{"x":null,"e":7,"t":2}']
    assert events.entity == ["7", "7"]
    assert events.event_time.tolist() == [1, 2]
    assert repr(events.features.tolist()) == "[[1.0, 2.0], [nan, 2.0]]"


@pytest.mark.parametrize(
    ("settings", "value", "named"),
    [
        ({}, b'{"x":"secret"}', '"x"'),
        ({"features": {"x": "a.b"}}, b'{"a":"secret"}', "a.b"),
        ({"entity": "e.id"}, b'{"e":{"id":["secret"]}}', "e.id"),
        ({"timestamp": "when"}, b'{"when":"secret"}', "when"),
        ({}, b'{"x":987654321987654321e999}', '"x"'),
        ({"required": ["y"]}, b'{"x":987654321987654321}', '"y"'),
        ({}, b'{"secret":987654321987654321}', '"x", "y"'),
        ({}, b'{"secret":987654321987654321', "character"),
    ],
)
def test_the_message_names_the_field_and_carries_no_value(
    settings: dict[str, object], value: bytes, named: str
) -> None:
    message = decoder(**settings).decode(records([value])).refused[0].message
    assert named in message
    assert message.endswith(".")
    assert "secret" not in message
    assert "987654321" not in message


# Against an independent judge ---------------------------------------------------------------------------------------

FORMATS: list[dict[str, object]] = [
    {},
    {"entity": "e"},
    {"entity": "a.e", "features": {"x": "a.x", "y": "a.b.y"}, "max_missing": 1.0},
    {"timestamp": "t", "timestamp_unit": "ms", "required": ["x"], "tombstone": "skip"},
    {"timestamp": "a.t", "timestamp_unit": "iso8601", "features": {"y": "x"}},
    {"where": {"k": ["a", 1, True, None]}, "entity": "e"},
    {"where": {"a.k": 1, "x": [1, 2.5]}, "passthrough": ["x", "a.b", "e"], "max_missing": 0.0},
    {"entity": "a", "features": {"x": "a.x"}, "where": {"k": "a"}},
    {"entity": "e", "timestamp": "e", "timestamp_unit": "ns", "features": {"x": "e"}, "max_bytes": 60},
]
NUMBERS = [b"1", b"0", b"-0", b"1.0", b"2.5", b"-1e3", b"1e999", b"-1e999", b"1e39", b"1e-400", b"1e-42"]
NUMBERS += [b"3.4028235677973366e38", b"1700000000000", b"1700000000000000000", b"9" * 30, b"9" * 400, b"9" * 5000]
OTHERS = [b"null", b"true", b"false", b'"a"', b'"1"', b'""', b'"2023-11-14T22:13:20Z"', b"[]", b"{}", b"[1,[2]]"]
FAULTS = [b"NaN", b"-Infinity", b"01", b"1.", b"+1", b"-", b"nul", b'"\xff"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\q"']
FAULTS += [b'"\x01"', b"[1,]", b'{"a":}', b'{"a"}', b"", b"[" * 70 + b"]" * 70, b"[" * 2000 + b"]" * 2000, b'"\\ud83d"']
UNUSUAL = [b'"\\ud83d\\ude00"', '"\u00e9\U0001f600"'.encode(), b'"' + b"e" * 513 + b'"', b"[" * 62 + b"]" * 62]

names = st.sampled_from([b"x", b"y", b"a", b"b", b"e", b"t", b"k", b"z", b"\\u0078", b"\xc3\xa9"])
numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(-(10**25), 10**25).map(lambda number: b"%d" % number),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: repr(number).encode()),
)
leaves = st.one_of(
    numbers, numbers, st.sampled_from(OTHERS), st.sampled_from(OTHERS + UNUSUAL), st.sampled_from(FAULTS)
)


def _object(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % member for member in members) + b"}"


objects = st.recursive(
    leaves, lambda inner: st.lists(st.tuples(names, inner), min_size=1, max_size=6).map(_object), max_leaves=12
)
PROPER = {b"x": b"1.5", b"y": b"-2", b"e": b'"m1"', b"t": b"1700000000000", b"k": b"1"}


@st.composite
def nearly_proper(draw: st.DrawFn) -> bytes:
    """A proper event of any of the formats with some members replaced, repeated or dropped."""
    inner = [*PROPER.items(), (b"b", _object([(b"y", b"3")]))]
    if draw(st.booleans()):
        inner[3] = (b"t", b'"2023-11-14T22:13:20Z"')
    members = [*PROPER.items(), (b"a", _object(inner))]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(members) - 1))
        members[place : place + draw(st.integers(0, 1))] = draw(
            st.one_of(st.just([]), st.tuples(names, objects).map(lambda member: [member]))
        )
        members = members or [(b"z", b"0")]
    return _object(members)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = draw(nearly_proper())
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.binary(max_size=2)) + text[place + draw(st.integers(0, 2)) :]


values = st.one_of(
    st.none(),
    st.binary(max_size=8),
    st.lists(st.tuples(names, leaves), max_size=8).map(_object),
    nearly_proper(),
    nearly_proper(),
    damaged(),
)
keys = st.sampled_from([b"m", b"m", b"m", None, b"", b"\xff", b"k" * 513, "\u00e9".encode()])
times = st.sampled_from([NOW_MS, NOW_MS, NOW_MS, 0, -1])


def _judged(record: LogRecord, settings: EventSettings) -> object:
    found = verdict(record, settings, ("x", "y"))
    match found:
        case Valid():
            return found.entity, found.event_time, repr(list(found.features))
        case Dead():
            return found.reason
        case Skipped():
            return "skipped"


def _check(drawn: list[tuple[bytes | None, bytes | None, int]], settings: dict[str, object]) -> None:
    events = EventSettings(**settings)
    decode = JsonDecoder(event_format(events, ("x", "y")))
    batch = Records(
        partitions=[TopicPartition("t", 0)],
        partition=np.zeros(len(drawn), dtype=np.int64),
        offset=np.arange(len(drawn)),
        timestamp=np.array([time for _, _, time in drawn], dtype=np.int64),
        key=[key for _, key, _ in drawn],
        value=[value for value, _, _ in drawn],
        headers=lambda row: (),
    )
    found = outcomes(decode.decode(batch), len(drawn))
    judged = [_judged(LogRecord("t", 0, 0, time, key, value), events) for value, key, time in drawn]
    assert [each[:3] if isinstance(each, tuple) else each for each in found] == judged


@pytest.mark.parametrize("settings", FORMATS, ids=str)
@hypothesis.settings(max_examples=60, deadline=None)
@given(drawn=st.lists(st.tuples(values, keys, times), min_size=1, max_size=12))
def test_every_record_gets_the_verdict_of_the_independent_judge(
    settings: dict[str, object], drawn: list[tuple[bytes | None, bytes | None, int]]
) -> None:
    _check(drawn, settings)


@hypothesis.settings(deadline=None)
@given(drawn=st.lists(st.tuples(st.binary(), keys, times), min_size=1))
@example([(b'{"x":1,"y":2}', b"m", NOW_MS)])
def test_any_bytes_get_the_verdict_of_the_independent_judge(drawn: list[tuple[bytes, bytes | None, int]]) -> None:
    _check(list(drawn), {})
