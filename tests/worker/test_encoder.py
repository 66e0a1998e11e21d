"""What is published of a scored batch: score records to the letter, dead letters, and every row exactly once."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetter
from schemas.score_record import ScoreRecord
from worker.batch import Events, Explanation, Headers, Outgoing, Records, Refused, Scores, TopicPartition, Windows
from worker.encoder import Encoder, OutputFormat

PARTITIONS = [TopicPartition("machine-events", 0), TopicPartition("machine-events", 3), TopicPartition("other", 3)]
FEATURES = ("cpu_r", 'lo"ad', "d\u00efsk")
WINDOW = 4
UNEXPLAINED = (
    b'{"schema_version":1,"id":"machine-events-0-1234","entity":"omi-0","event_time":1700000000000,"score":0.5,'
    b'"p_value":0.25,"threshold":1.0,"is_anomaly":false,"warming":false,"missing":0,"top_feature":null,'
    b'"contributions":[],"context":{},"model":{"name":"machine","version":"3","sha256":"4be14be14be1"},'
    b'"window":{"first_offset":1203,"length":4,"truncated":false,"digest":"0a830c0420b7813e"},'
    b'"source":{"topic":"machine-events","partition":0,"offset":1234}}'
)


def encoder(**changes: object) -> Encoder:
    form: dict[str, object] = {
        "features": FEATURES,
        "min_length": 3,
        "threshold": 1.0,
        "top": 2,
        "model_name": "machine",
        "model_version": "3",
        "model_sha256": "4be1" * 16,
        "dead_letter_topic": "dead",
        "max_dead_letter_bytes": 100_000,
    }
    return Encoder(OutputFormat(**(form | changes)))


class Batch:
    """A batch of n records, all of them valid events with full windows, unless it is told otherwise."""

    def __init__(self, n: int = 1, *, headers: Headers = ()) -> None:
        self.key: list[bytes | None] = [b"key-%d" % row for row in range(n)]
        self.value: list[bytes | None] = [b"value-%d" % row for row in range(n)]
        self.partition = np.zeros(n, dtype=np.int64)
        self.offset = np.arange(1234, 1234 + n)
        self.timestamp = np.full(n, 1_700_000_000_500)
        self.headers: Headers = headers
        self.row = np.arange(n)
        self.entity = [f"omi-{row}" for row in range(n)]
        self.event_time = np.full(n, 1_700_000_000_000)
        self.values = np.arange(n * WINDOW * 3, dtype=np.float32).reshape(n, WINDOW, 3) + np.float32(0.1)
        self.context: list[bytes] | None = None
        self.refused: list[Refused] = []
        self.skipped: list[int] = []
        self.length = np.full(n, WINDOW)
        self.first_offset = self.offset - 31
        self.truncated = np.zeros(n, dtype=np.bool_)
        self.digest = np.full(n, 0x0A830C0420B7813E, dtype=np.uint64)
        self.score = np.full(n, 0.5, dtype=np.float32)
        self.p_value = np.full(n, 0.25, dtype=np.float32)
        self.explained: list[int] = []
        self.contribution = np.zeros((0, WINDOW, 3), dtype=np.float32)
        self.expected = np.zeros((0, WINDOW, 3), dtype=np.float32)

    def explain(self, rows: Sequence[int], contribution: object, expected: object = 0.25) -> None:
        self.explained = list(rows)
        shape = (len(rows), WINDOW, 3)
        self.contribution = np.broadcast_to(np.asarray(contribution, dtype=np.float32), shape)
        self.expected = np.broadcast_to(np.asarray(expected, dtype=np.float32), shape)

    def encoded(self, by: Encoder, *, copartitioned: frozenset[str] = frozenset()) -> Outgoing:
        records = Records(
            PARTITIONS, self.partition, self.offset, self.timestamp, self.key, self.value, lambda row: self.headers
        )
        skipped = np.array(self.skipped, dtype=np.int64)
        latest = self.values[:, -1]
        events = Events(self.row, self.entity, self.event_time, latest, self.context, self.refused, skipped)
        windows = Windows(self.values, None, self.length, self.first_offset, self.truncated, self.digest)
        explanation = Explanation(np.array(self.explained, dtype=np.int64), self.contribution, self.expected)
        scores = Scores(self.score, self.p_value, explanation)
        return by.encode(records, events, windows, scores, copartitioned=copartitioned)

    def records(self, by: Encoder) -> list[dict]:
        return [json.loads(value) for value in self.encoded(by).value]


# The score record ---------------------------------------------------------------------------------------------------


def test_an_unexplained_record_is_written_to_the_letter() -> None:
    out = Batch().encoded(encoder())
    assert out.value == [UNEXPLAINED]
    assert (out.key, out.partition, out.timestamp, out.headers) == ([b"key-0"], [-1], [1_700_000_000_500], None)
    assert out.dead_letters == []


def test_an_explained_record_names_the_largest_shares_first() -> None:
    batch = Batch()
    batch.score[0], batch.p_value[0] = 1.83, 3.2e-6
    batch.values[0, 2, 1] = np.nan
    batch.values[0, 3] = [97, np.nan, 0]
    contribution = np.zeros((WINDOW, 3))
    contribution[2:, 0], contribution[2, 1] = (0.22, 0.4), 0.3
    batch.explain([0], [contribution], expected=41.2)
    record = batch.records(encoder())[0]
    assert record["is_anomaly"]
    assert (record["score"], record["p_value"], record["missing"]) == (1.83, 3.2e-6, 1)
    assert record["top_feature"] == "cpu_r"
    assert record["contributions"] == [
        {"feature": "cpu_r", "share": 0.62, "value": 97.0, "expected": 41.2, "rows_ago": 0},
        {"feature": 'lo"ad', "share": 0.3, "value": None, "expected": 41.2, "rows_ago": 1},
    ]
    assert list(record["contributions"][0]) == ["feature", "share", "value", "expected", "rows_ago"]


def test_of_equal_rows_and_features_the_latest_row_and_the_first_feature_are_told() -> None:
    batch = Batch()
    batch.score[0] = 2
    batch.explain([0], 1 / 12)
    told = batch.records(encoder(top=9))[0]["contributions"]
    assert [(part["feature"], part["rows_ago"]) for part in told] == [(feature, 0) for feature in FEATURES]


@pytest.mark.parametrize(
    ("explain", "top", "told"), [("anomalies", 3, [2]), ("all", 3, [0, 1, 2]), ("never", 3, []), ("all", 0, [])]
)
def test_only_the_rows_that_are_asked_for_are_explained(explain: str, top: int, told: list[int]) -> None:
    batch = Batch(4)
    batch.score[1:3] = 2
    batch.length[1] = 2
    batch.explain([0, 1, 2], 1 / 12)
    records = batch.records(encoder(explain=explain, top=top))
    assert [record["warming"] for record in records] == [False, True, False, False]
    assert [row for row, record in enumerate(records) if record["contributions"]] == told
    assert [row for row, record in enumerate(records) if record["top_feature"]] == told


def test_an_explanation_with_faults_leaves_a_readable_record() -> None:
    batch = Batch()
    batch.score[0] = 2
    contribution = np.full((WINDOW, 3), 0.1)
    contribution[1, 0], contribution[2, 1] = np.nan, np.inf
    batch.explain([0], [contribution], expected=np.nan)
    record = ScoreRecord.model_validate_json(batch.encoded(encoder()).value[0])
    assert [part.expected for part in record.contributions] == [None, None]


@pytest.mark.parametrize(
    ("score", "threshold"), [(1.1, 1.1), (0.7, 0.7), (1.0, 1.0), (0.69999999, 0.69999999), (0.7, 0.69999999)]
)
def test_the_written_score_lies_on_its_own_side_of_the_threshold(score: float, threshold: float) -> None:
    batch = Batch(2)
    batch.score[:] = [score, np.nextafter(np.float32(score), np.float32(9))]
    out = batch.encoded(encoder(threshold=threshold))
    for row, value in enumerate(out.value):
        record = ScoreRecord.model_validate_json(value)
        assert record.is_anomaly == (float(batch.score[row]) > threshold) == (record.score > threshold)
        assert np.float32(record.score) == batch.score[row]


def test_an_anomaly_in_a_short_window_is_only_warming() -> None:
    batch = Batch(2)
    batch.score[:] = 9
    batch.length[:] = [2, 3]
    records = batch.records(encoder())
    assert [(record["is_anomaly"], record["warming"]) for record in records] == [(False, True), (True, False)]
    assert [record["window"]["length"] for record in records] == [2, 3]


def test_context_is_copied_as_it_was_rendered() -> None:
    batch = Batch(2)
    batch.context = [b'{"site":1.10}', b"{}"]
    out = batch.encoded(encoder())
    assert b'"contributions":[],"context":{"site":1.10},"model"' in out.value[0]
    assert json.loads(out.value[1])["context"] == {}


# Its envelope -------------------------------------------------------------------------------------------------------


def test_a_null_key_becomes_the_entity_and_an_empty_one_stays() -> None:
    batch = Batch(3)
    batch.key = [None, b"", b"\xff"]
    batch.entity[0] = "\u00e9"
    assert batch.encoded(encoder()).key == ["\u00e9".encode(), b"", b"\xff"]


def test_scores_keep_the_partition_of_copartitioned_topics() -> None:
    batch = Batch(3)
    batch.partition[:] = [0, 1, 2]
    out = batch.encoded(encoder(), copartitioned=frozenset({"machine-events"}))
    assert out.partition == [0, 3, -1]
    sources = [json.loads(value)["source"] for value in out.value]
    assert [(source["topic"], source["partition"]) for source in sources] == [
        ("machine-events", 0),
        ("machine-events", 3),
        ("other", 3),
    ]


def test_a_record_without_a_timestamp_stays_without_one() -> None:
    batch = Batch()
    batch.timestamp[0] = -1
    assert batch.encoded(encoder()).timestamp == [-1]


def test_headers_are_forwarded_by_name_in_their_order() -> None:
    headers = [("b", b"1"), ("other", b"x"), ("a", None), ("b", b"2")]
    batch = Batch(2, headers=headers)
    assert batch.encoded(encoder(forward_headers=("a", "b"))).headers == [[headers[0], headers[2], headers[3]]] * 2


# Dead letters -------------------------------------------------------------------------------------------------------


def test_a_refused_record_becomes_a_dead_letter_as_it_was() -> None:
    batch = Batch(2, headers=[("trace", b"\xff"), ("none", None)])
    batch.partition[:] = 1
    batch.timestamp[1] = -1
    batch.row, batch.entity, batch.event_time = batch.row[:1], ["a"], batch.event_time[:1]
    batch.values, batch.length, batch.digest = batch.values[:1], batch.length[:1], batch.digest[:1]
    batch.first_offset, batch.truncated = batch.first_offset[:1], batch.truncated[:1]
    batch.score, batch.p_value = batch.score[:1], batch.p_value[:1]
    batch.refused = [Refused(1, "wrong_type", 'The feature "\u00e9" is text.')]
    out = batch.encoded(encoder())
    (letter,) = out.dead_letters
    assert letter.topic == "dead"
    assert (letter.key, letter.value, letter.partition, letter.timestamp) == (b"key-1", b"value-1", -1, -1)
    assert list(letter.headers) == [
        ("trace", b"\xff"),
        ("none", None),
        ("__streams.errors.topic", b"machine-events"),
        ("__streams.errors.partition", b"3"),
        ("__streams.errors.offset", b"1235"),
        ("anomaly-worker.reason", b"wrong_type"),
        ("anomaly-worker.message", 'The feature "\u00e9" is text.'.encode()),
    ]
    assert len(out.value) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["score", "p_value"])
def test_a_score_that_is_not_finite_becomes_a_dead_letter(column: str, bad: float) -> None:
    batch = Batch(3)
    getattr(batch, column)[1] = bad
    batch.explain([0, 1, 2], 1 / 12)
    out = batch.encoded(encoder(explain="all"))
    assert [json.loads(value)["source"]["offset"] for value in out.value] == [1234, 1236]
    assert len(out.key) == len(out.partition) == len(out.timestamp) == 2
    (letter,) = out.dead_letters
    assert _letter(letter).reason == "model_not_finite"
    assert letter.value == b"value-1"


def test_it_says_which_of_the_scores_that_go_out_are_anomalies() -> None:
    batch = Batch(5)
    batch.score = np.array([0.5, np.nan, 1.5, 7.0, 9.0], np.float32)
    batch.length[4] = 1  # warming
    outgoing = batch.encoded(encoder())
    records = [ScoreRecord.model_validate_json(value) for value in outgoing.value]
    assert [record.is_anomaly for record in records] == outgoing.anomaly.tolist() == [False, True, True, False]


def test_a_large_value_is_shortened_to_what_the_producer_takes() -> None:
    batch = Batch(1, headers=[("h", b"x" * 1000)])
    batch.score[0] = np.nan
    batch.value = [b"v" * 100_000]
    letter = batch.encoded(encoder(max_dead_letter_bytes=50_000)).dead_letters[0]
    assert 45_000 < len(letter.value) < 49_000
    model = _letter(letter)
    assert model.header("anomaly-worker.value.size") == "100000"
    assert model.header("anomaly-worker.value.sha256") == hashlib.sha256(batch.value[0]).hexdigest()
    headers = sum(len(name) + len(value or b"") for name, value in letter.headers)
    assert len(letter.key) + len(letter.value) + headers < 50_000


def test_a_value_that_fits_is_not_shortened() -> None:
    batch = Batch(1)
    batch.score[0] = np.nan
    batch.value = [b"v" * 48_000]
    letter = batch.encoded(encoder(max_dead_letter_bytes=50_000)).dead_letters[0]
    assert letter.value == batch.value[0]
    assert _letter(letter).header("anomaly-worker.value.size") is None


def test_a_score_record_too_large_for_the_producer_becomes_a_dead_letter() -> None:
    batch = Batch(3)
    batch.context = [b"{}", b'{"s":"%b"}' % (b"x" * 9_000), b"{}"]
    out = batch.encoded(encoder(max_dead_letter_bytes=9_000))
    assert len(out.value) == 2
    assert [_letter(letter).reason for letter in out.dead_letters] == ["too_large"]
    with_headers = Batch(1, headers=[("h", b"x" * 9_000)])
    assert with_headers.encoded(encoder(max_dead_letter_bytes=9_000, forward_headers=("h",))).value == []


def _letter(letter: object) -> DeadLetter:
    return DeadLetter(key=letter.key, value=letter.value, timestamp=letter.timestamp, headers=list(letter.headers))


# Whatever comes -----------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
wicked = st.sampled_from([",", '","', '"', "\\", '",', "\\\\", "\x00", "\u2028", '"}', ",,"])
entities = st.one_of(names, wicked, st.lists(wicked, min_size=1, max_size=3).map("".join))
float32s = st.floats(width=32)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(0, 6))
    fates = draw(st.lists(st.sampled_from(["event", "event", "event", "refused", "skipped"]), min_size=n, max_size=n))
    batch = Batch(n, headers=draw(st.lists(st.tuples(names, st.none() | st.binary(max_size=4)), max_size=2)))
    events = np.array([row for row, fate in enumerate(fates) if fate == "event"], dtype=np.int64)
    m = len(events)

    def column(values: st.SearchStrategy, dtype: type) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=m, max_size=m)), dtype=dtype)

    batch.partition = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), dtype=np.int64)
    batch.row = events
    batch.entity = draw(st.lists(entities, min_size=m, max_size=m))
    batch.refused = [Refused(row, "empty", "It is.") for row, fate in enumerate(fates) if fate == "refused"]
    batch.skipped = [row for row, fate in enumerate(fates) if fate == "skipped"]
    batch.event_time = column(st.integers(0, 2**43), np.int64)
    batch.length = column(st.integers(1, WINDOW), np.int64)
    batch.first_offset = column(st.integers(0, 2**62), np.int64)
    batch.truncated = column(st.booleans(), np.bool_)
    batch.digest = column(st.integers(0, 2**64 - 1), np.uint64)
    batch.score = column(st.floats(0, 3, width=32) | float32s, np.float32)
    batch.p_value = column(st.floats(0, 1, width=32, exclude_min=True) | st.just(np.nan), np.float32)
    batch.values = column(st.lists(float32s, min_size=12, max_size=12), np.float32).reshape(m, WINDOW, 3)
    batch.context = draw(st.none() | st.just([b'{"a":[1,{}]}'] * m))
    explained = [place for place in range(m) if draw(st.booleans())]
    shares = np.array(draw(st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12)), dtype=np.float32)
    batch.explain(explained, shares.reshape(WINDOW, 3), draw(float32s))
    return batch


@settings(deadline=None)
@given(batch=batches(), explain=st.sampled_from(["anomalies", "all"]), top=st.integers(0, 4))
def test_every_row_comes_out_once_and_every_record_keeps_the_contract(batch: Batch, explain: str, top: int) -> None:
    out = batch.encoded(encoder(explain=explain, top=top))
    records = [ScoreRecord.model_validate_json(value) for value in out.value]
    finite = np.isfinite(batch.score) & np.isfinite(batch.p_value)
    assert [record.source.offset for record in records] == batch.offset[batch.row[finite]].tolist()
    dead = [int(_letter(letter).source[2]) for letter in out.dead_letters]
    assert dead == sorted({*batch.offset[batch.row[~finite]].tolist(), *(1234 + each.row for each in batch.refused)})
    assert len(records) + len(dead) + len(batch.skipped) == len(batch.value)
    for record, place in zip(records, np.flatnonzero(finite).tolist(), strict=True):
        _hold_against(record, batch, place, explained=explain == "all", top=top)


def _hold_against(record: ScoreRecord, batch: Batch, place: int, *, explained: bool, top: int) -> None:
    topic, partition = PARTITIONS[batch.partition[batch.row[place]]]
    assert (record.source.topic, record.source.partition) == (topic, partition)
    assert record.entity == batch.entity[place]
    assert record.event_time == batch.event_time[place]
    assert np.float32(record.score) == batch.score[place]
    assert np.float32(record.p_value) == batch.p_value[place]
    assert record.is_anomaly == (batch.score[place] > 1 and batch.length[place] >= 3)
    assert record.missing == np.isnan(batch.values[place, -1]).sum()
    assert record.window.first_offset == batch.first_offset[place]
    assert (record.window.length, record.window.truncated) == (batch.length[place], batch.truncated[place])
    assert int(record.window.digest, 16) == int(batch.digest[place])
    assert record.context == ({} if batch.context is None else {"a": [1, {}]})
    told = place in batch.explained and (explained or record.is_anomaly)
    assert len(record.contributions) == (min(top, 3) if told else 0)
    for part in record.contributions:
        _hold_part(part, batch, place)


def _hold_part(part: object, batch: Batch, place: int) -> None:
    feature = FEATURES.index(part.feature)
    by_row = batch.contribution[batch.explained.index(place), :, feature]
    row = WINDOW - 1 - part.rows_ago
    assert by_row[row] == by_row.max()
    assert part.share == pytest.approx(by_row.sum(dtype=np.float64), rel=1e-6)
    value = batch.values[place, row, feature]
    assert part.value is None if not np.isfinite(value) else np.float32(part.value) == value
