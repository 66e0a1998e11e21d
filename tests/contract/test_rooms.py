"""Decoder and windows against the oracle, which was written from the contract alone: same verdict, same window."""

import json
import math
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.settings import EventSettings, Settings
from tests.artifacts import artifact_bytes, make_artifact
from tests.end_to_end.stream import MAX_BYTES
from tests.end_to_end.stream import events as endless_events
from tests.log_record import LogRecord
from tests.oracle import Case, Dead, Expectation, Skipped, Valid, _Judge, verdict, verify, window_digest
from tests.test_oracle import settings as worker_settings
from worker.batch import Events, Records, TopicPartition
from worker.decoder import JsonDecoder
from worker.detector import Detector, ExplainRule
from worker.encoder import Encoder
from worker.formats import event_format, output_format, window_format
from worker.model_store import Artifact, load_artifact
from worker.windows import WindowStore

FEATURES = ("x", "y")

# ---- the decoder

scalar = st.one_of(
    st.sampled_from(
        [
            b"1",
            b"-2.5",
            b"0",
            b"1e5",
            b"null",
            b"true",
            b"false",
            b'"1"',
            b'""',
            b'"a"',
            b"1e999",
            b"-1e999",
            b"1e39",
            b"1e38",
            b"[]",
            b"{}",
            b"01",
            b"1.",
            b"NaN",
            b"-0",
            b"9" * 30,
            b"9" * 400,
            b'"\\ud800"',
            b'"\\u00e9"',
            b'"\xff"',
            b"nul",
            b"-",
        ]
    ),
    st.integers(-10, 10).map(lambda number: b"%d" % number),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: json.dumps(number).encode()),
)
name = st.sampled_from([b"x", b"y", b"id", b"t", b"kind", b"in", b"z", b"\\u0078"])


def rendered(members: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % member for member in members) + b"}"


flat = st.lists(st.tuples(name, scalar), max_size=6).map(rendered)
nested = st.lists(st.tuples(name, st.one_of(scalar, flat)), max_size=6).map(rendered)
good = st.just(b'{"id":"a","t":5,"kind":"k","in":{"x":1,"y":2},"x":1.5,"y":2}')


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An object with one byte changed, taken out or put in."""
    value = draw(st.one_of(good, nested))
    place = draw(st.integers(0, len(value)))
    byte = draw(st.sampled_from([b"", b'"', b"{", b"}", b",", b"\\", b"\xff", b"0", b" ", b"\x00", b"\xef\xbb\xbf"]))
    return value[:place] + byte + value[place + draw(st.integers(0, 1)) :]


values = st.one_of(good, flat, nested, damaged(), st.none(), st.just(b""), st.just(b"[" * 70 + b"]" * 70), scalar)
keys = st.one_of(st.just(b"key"), st.none(), st.sampled_from([b"", b"\xff", b"k" * 512, "é".encode() * 257]))
path = st.sampled_from(["x", "id", "t", "in.x", "in.id", "z"])


@st.composite
def event_settings(draw: st.DrawFn) -> EventSettings:
    tree = {
        "entity": draw(st.none() | path),
        "timestamp": draw(st.none() | path),
        "timestamp_unit": draw(st.sampled_from(["s", "ms", "us", "ns", "iso8601"])),
        "features": draw(st.dictionaries(st.sampled_from(FEATURES), path)),
        "where": draw(st.dictionaries(path, st.sampled_from(["a", 1, True, None, ["k", 2.0]]), max_size=1)),
        "passthrough": draw(st.lists(path, unique=True, max_size=2)),
        "tombstone": draw(st.sampled_from(["dead-letter", "skip"])),
        "required": draw(st.lists(st.sampled_from(FEATURES), unique=True, max_size=1)),
        "max_missing": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "max_bytes": draw(st.sampled_from([40, 10_000])),
    }
    return EventSettings.model_validate(tree)


def batch(records: Sequence[LogRecord]) -> Records:
    partitions = sorted({TopicPartition(record.topic, record.partition) for record in records})
    return Records(
        partitions=partitions,
        partition=np.array([partitions.index((each.topic, each.partition)) for each in records], np.int64),
        offset=np.array([each.offset for each in records], np.int64),
        timestamp=np.array([each.timestamp for each in records], np.int64),
        key=[each.key for each in records],
        value=[each.value for each in records],
        headers=lambda row: records[row].headers,
    )


def verdicts_of(events: Events, rows: int) -> list[Valid | Dead | Skipped]:
    found: dict[int, Valid | Dead | Skipped] = {refused.row: Dead(refused.reason) for refused in events.refused}
    found |= dict.fromkeys(events.skipped.tolist(), Skipped())
    for place, row in enumerate(events.row.tolist()):
        context = json.loads(events.context[place]) if events.context else {}
        features = tuple(events.features[place].tolist())
        found[row] = Valid(events.entity[place], int(events.event_time[place]), features, context)
    assert len(found) == len(events.refused) + len(events.skipped) + len(events.row) == rows
    return [found[row] for row in range(rows)]


def comparable(judged: Valid | Dead | Skipped) -> object:
    """NaN differs from itself."""
    if not isinstance(judged, Valid):
        return judged
    return judged._replace(features=tuple("missing" if math.isnan(value) else value for value in judged.features))


@given(event_settings(), st.lists(st.tuples(keys, values, st.sampled_from([5, 0, -1])), max_size=8))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_decoder_judges_as_the_contract_says(
    events: EventSettings, records: list[tuple[bytes | None, bytes | None, int]]
) -> None:
    log = [LogRecord("in", 0, offset, stamp, key, value) for offset, (key, value, stamp) in enumerate(records)]
    decoded = JsonDecoder(event_format(events, FEATURES)).decode(batch(log))
    expected = [comparable(verdict(record, events, FEATURES)) for record in log]
    assert [comparable(judged) for judged in verdicts_of(decoded, len(log))] == expected


# ---- the windows

LOOKBACK = 12
WINDOW = 3
MODEL = artifact_bytes(features=FEATURES, window=WINDOW, max_gap_s=5.0, with_elapsed=True)

step = st.tuples(
    st.integers(0, 1),  # partition
    st.integers(1, 5),  # offsets to the last record
    st.sampled_from(["a", "b", "c"]),
    st.integers(-3, 7),  # seconds since the last record
    st.booleans(),  # whether the batch ends here
    st.sampled_from(["keep", "stage", "drop"]),  # what becomes of the staged batches then
)


def log_of(steps: Sequence[tuple]) -> list[LogRecord]:
    offsets, seconds, records = {0: -1, 1: -1}, 1_000, []
    for number, (partition, further, entity, elapsed, *_) in enumerate(steps):
        offsets[partition] += further
        seconds += elapsed
        value = b'{"x":%d,"y":null}' % number
        records.append(LogRecord("in", partition, offsets[partition], seconds * 1000, entity.encode(), value))
    return records


def expectations(log: Sequence[LogRecord]) -> dict[tuple[str, int, int], Expectation]:
    told = worker_settings(lookback_offsets=LOOKBACK)
    verdicts = _Judge(Case(settings=told, model=MODEL), log)._verdicts
    return {place: expected for place, expected in verdicts.items() if isinstance(expected, Expectation)}


@given(st.lists(step, min_size=1, max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_windows_are_those_of_the_contract_whatever_the_batches_and_aborts(steps: list[tuple]) -> None:
    log = log_of(steps)
    expected = expectations(log)
    decoder = JsonDecoder(event_format(worker_settings().events, FEATURES))
    store = WindowStore(window=WINDOW, features=2, lookback_offsets=LOOKBACK, max_gap_ms=5_000, with_elapsed=True)
    staged: list[list[LogRecord]] = []
    ends = [0, *(place + 1 for place, (*_, ends_here, _) in enumerate(steps) if ends_here), len(log)]
    partitions = [TopicPartition("in", 0), TopicPartition("in", 1)]
    for begin, end in pairwise(ends):
        if begin == end:
            continue
        part = log[begin:end]
        held_against(store, decoder, part, partitions, expected)
        staged.append(part)
        fate = steps[end - 1][-1]
        if fate == "keep":
            store.keep(len(staged))
            staged.clear()
        elif fate == "drop":
            store.drop()
            for again in staged:
                held_against(store, decoder, again, partitions, expected)


def held_against(
    store: WindowStore,
    decoder: JsonDecoder,
    part: Sequence[LogRecord],
    partitions: Sequence[TopicPartition],
    expected: dict[tuple[str, int, int], Expectation],
) -> None:
    records = batch(part)
    place = np.array([partitions.index((record.topic, record.partition)) for record in part], np.int64)
    events = decoder.decode(records)
    windows = store.extend(events, partition=place[events.row], offset=records.offset[events.row])
    assert windows.elapsed is not None
    for row in range(len(events)):
        wanted = expected[part[int(events.row[row])].place]
        assert f"{int(windows.digest[row]):016x}" == window_digest(wanted.offsets)
        assert (windows.first_offset[row], windows.length[row]) == (wanted.offsets[0], len(wanted.offsets))
        assert not windows.truncated[row]
        np.testing.assert_array_equal(windows.values[row], wanted.values)
        np.testing.assert_array_equal(windows.elapsed[row], wanted.elapsed)


# ---- all rooms in a row


class Rooms:
    """Decoder, windows, detector, encoder: a batch in, its records out."""

    def __init__(self, told: Settings, artifact: Artifact) -> None:
        form = window_format(told, artifact.manifest)
        self._decoder = JsonDecoder(event_format(told.events, artifact.manifest.feature_names))
        self._detector = Detector(
            artifact, provider="cpu", threads=1, explain=ExplainRule(told.explain.when, told.alert.threshold)
        )
        self._windows = WindowStore(
            window=form.window,
            features=form.features,
            lookback_offsets=form.lookback_offsets,
            max_gap_ms=form.max_gap_ms,
            with_elapsed=self._detector.needs_elapsed,
        )
        self._encoder = Encoder(output_format(told, artifact))

    def make(self, part: Sequence[LogRecord]) -> tuple[list[LogRecord], list[LogRecord]]:
        """Scores and dead letters of consecutive records; all but co-partitioned scores go to partition 0."""
        records = batch(part)
        events = self._decoder.decode(records)
        windows = self._windows.extend(
            events, partition=records.partition[events.row], offset=records.offset[events.row]
        )
        self._windows.keep()
        scores = self._detector.score(windows, events.entity)
        outgoing = self._encoder.encode(records, events, windows, scores, copartitioned=frozenset({"events"}))
        headers = outgoing.headers or [()] * len(outgoing.key)
        columns = zip(outgoing.partition, outgoing.timestamp, outgoing.key, outgoing.value, headers, strict=True)
        scored = [
            LogRecord("scores", partition, -1, stamp, key, value, tuple(own))
            for partition, stamp, key, value, own in columns
        ]
        dead = [
            LogRecord(letter.topic, 0, -1, letter.timestamp, letter.key, letter.value, tuple(letter.headers))
            for letter in outgoing.dead_letters
        ]
        return scored, dead


@pytest.mark.parametrize("explain", ["anomalies", "all", "never"])
def test_what_the_rooms_make_of_a_stream_is_what_the_oracle_expects(tmp_path: Path, explain: str) -> None:
    path = make_artifact(tmp_path / "m.onnx", window=6, min_length=3, max_gap_s=90.0, with_elapsed=True)
    told = worker_settings(
        events={"max_bytes": MAX_BYTES, "forward_headers": ["trace"], "passthrough": ["unit", "x"]},
        explain={"when": explain, "top": 2},
        lookback_offsets=400,
    )
    stream = (event.to("events", number % 2) for number, event in enumerate(islice(endless_events(), 1500)))
    log = [record._replace(offset=number // 2) for number, record in enumerate(stream)]
    rooms = Rooms(told, load_artifact(str(path), sha256=None))
    made = [rooms.make(log[start : start + 170]) for start in range(0, len(log), 170)]
    scores = [record for scored, _ in made for record in scored]
    report = verify(
        Case(settings=told, model=path.read_bytes(), partitions={"events": 2, "scores": 2}),
        inputs=log,
        scores=[record._replace(offset=number) for number, record in enumerate(scores)],
        dead_letters=[record for _, dead in made for record in dead],
    )
    assert report.scored > 1300
    assert report.dead > 20
