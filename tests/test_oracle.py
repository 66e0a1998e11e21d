"""The oracle itself: it knows the contract's examples, accepts right outputs, and sees every single mutation."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.dead_letter import MESSAGE_HEADER, OFFSET_HEADER, PARTITION_HEADER, REASON_HEADER, TOPIC_HEADER
from schemas.settings import Settings
from tests.artifacts import artifact_bytes
from tests.log_record import LogRecord
from tests.oracle import (
    Case,
    Dead,
    Expectation,
    FaultsFound,
    Model,
    Rebuilt,
    Said,
    Skipped,
    Valid,
    Verdicts,
    _Judge,
    oldest_needed,
    verdict,
    verify,
    window_digest,
)

FEATURES = ("x", "y")
MODEL = artifact_bytes(features=FEATURES, window=3, min_length=2, max_gap_s=60.0)


def settings(**changes: object) -> Settings:
    kafka = {
        "bootstrap_servers": "localhost:9092",
        "group_id": "group",
        "input_topics": ["events"],
        "output_topic": "scores",
        "dead_letter_topic": "dead",
    }
    return Settings.model_validate({"model": {"uri": "m.onnx"}, "kafka": kafka, "start": "earliest"} | changes)


def event(offset: int, x: object = 0.0, *, key: bytes = b"a", partition: int = 0, **fields: object) -> LogRecord:
    value = json.dumps({"x": x, "y": 0.0, **fields}).encode()
    return LogRecord("events", partition, offset, 1_000 * offset, key, value, (("trace", b"1"),))


def judge_of(value: bytes | None, *, key: bytes | None = b"a", record_timestamp: int = 5, **changes: object) -> object:
    record = LogRecord("events", 0, 0, record_timestamp, key, value)
    return verdict(record, settings(events=changes).events, FEATURES)


# ---- what a record is


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b'{"x":1,"y":2}' + b" " * 100, "too_large"),
        (b'{"x":1,"y":2', "undecodable"),
        (b'{"x":1},{"x":2}', "undecodable"),
        (b'\xef\xbb\xbf{"x":1,"y":2}', "undecodable"),
        (b'{"x":1,"y":2,"z":"\xff"}', "undecodable"),
        (b'{"x":1,"y":2,"z":"\\ud800"}', "undecodable"),
        (b'{"x":NaN,"y":2}', "undecodable"),
        (b'{"x":1,"y":' + b"[" * 70, "undecodable"),
        (b'{"x":1,"y":2,"z":' + b"[" * 64 + b"]" * 64 + b"}", "undecodable"),
        (b"[1,2]", "wrong_type"),
        (b"null", "wrong_type"),
        (b'{"x":true,"y":2}', "wrong_type"),
        (b'{"x":"1","y":2}', "wrong_type"),
        (b'{"x":"1","x":1,"y":2}', "wrong_type"),
        (b'{"x":1e999,"y":2}', "not_finite"),
        (b'{"x":1e39,"y":2}', "not_finite"),
        (b'{"x":' + b"9" * 60 + b',"y":2}', "not_finite"),
        (b'{"z":1}', "missing_features"),
        (b'{"x":null,"y":null}', "missing_features"),
    ],
)
def test_a_record_is_refused_for_the_first_rule_that_fails(value: bytes | None, reason: str) -> None:
    limit = 100 if reason == "too_large" else 10_000
    assert judge_of(value, max_bytes=limit) == Dead(reason)


def test_the_last_of_repeated_names_counts() -> None:
    assert judge_of(b'{"x":1,"x":2,"y":3}') == Valid("a", 5, (2.0, 3.0), {})


def test_64_levels_are_not_too_deep() -> None:
    assert isinstance(judge_of(b'{"x":1,"y":2,"z":' + b"[" * 63 + b"]" * 63 + b"}"), Valid)


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (b'"e"', Valid("e", 5, (1.0, 2.0), {})),
        (b"42", Valid("42", 5, (1.0, 2.0), {})),
        (b'"' + b"e" * 512 + b'"', Valid("e" * 512, 5, (1.0, 2.0), {})),
        (b'"' + b"e" * 513 + b'"', Dead("no_entity")),
        (b'""', Dead("no_entity")),
        (b"null", Dead("no_entity")),
        (b"true", Dead("no_entity")),
        (b"1.5", Dead("no_entity")),
    ],
)
def test_an_entity_is_a_short_string_or_an_integer(entity: bytes, expected: object) -> None:
    assert judge_of(b'{"id":' + entity + b',"x":1,"y":2}', entity="id") == expected


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"e" * 513])
def test_a_key_that_names_nobody_is_refused(key: bytes | None) -> None:
    assert judge_of(b'{"x":1,"y":2}', key=key) == Dead("no_entity")


@pytest.mark.parametrize(
    ("unit", "stamp", "expected"),
    [
        ("ms", b"1700000000123", 1700000000123),
        ("s", b"1700000000", 1700000000000),
        ("s", b"1700000000.123", 1700000000123),
        ("us", b"1700000000123999", 1700000000123),
        ("ns", b"1700000000123999999", 1700000000123),
        ("iso8601", b'"2023-11-14T22:13:20.123Z"', 1700000000123),
        ("iso8601", b'"2023-11-15T00:13:20.123+02:00"', 1700000000123),
    ],
)
def test_a_time_is_read_in_its_unit(unit: str, stamp: bytes, expected: int) -> None:
    judged = judge_of(b'{"t":' + stamp + b',"x":1,"y":2}', timestamp_unit=unit, timestamp="t")
    assert judged == Valid("a", expected, (1.0, 2.0), {})


@pytest.mark.parametrize("stamp", [b"null", b"true", b'"5"', b"-1", b"1e300", b"{}"])
def test_a_time_that_is_none_is_refused(stamp: bytes) -> None:
    assert judge_of(b'{"t":' + stamp + b',"x":1,"y":2}', timestamp="t") == Dead("bad_timestamp")


def test_a_record_without_a_timestamp_is_refused() -> None:
    assert judge_of(b'{"x":1,"y":2}', record_timestamp=-1) == Dead("bad_timestamp")


def test_where_decides_before_the_entity_and_after_the_type() -> None:
    where = {"kind": ["reading", "probe"]}
    assert judge_of(b'{"kind":"log"}', key=None, where=where) == Skipped()
    assert judge_of(b"[]", key=None, where=where) == Dead("wrong_type")
    assert judge_of(b'{"kind":"probe"}', key=None, where=where) == Dead("no_entity")


def test_context_is_what_lies_at_the_paths() -> None:
    value = b'{"x":1,"y":2,"a":{"b":[1,{"c":1,"c":2}]},"d":null,"e.f":"text"}'
    judged = judge_of(value, passthrough=["a.b", "d", r"e\.f", "g"])
    assert isinstance(judged, Valid)
    assert judged.context == {"a.b": [1, {"c": 2}], "d": None, r"e\.f": "text"}


def test_a_tombstone_may_be_skipped() -> None:
    assert judge_of(None, tombstone="skip") == Skipped()


# ---- what a window is


def test_the_contracts_digests_are_known() -> None:
    assert window_digest([0]) == "e220a8397b1dcdaf"
    assert window_digest([0, 1, 2]) == "0a830c0420b7813e"
    assert window_digest(range(100, 132)) == "dac2315820d0ed6d"


def windows(inputs: Sequence[LogRecord], **about: object) -> dict[int, Expectation]:
    changes = {name: about.pop(name) for name in ("lookback_offsets",) if name in about}
    judge = _Judge(Case(settings=settings(**changes), model=MODEL, **about), inputs)
    return {place[2]: expected for place, expected in judge._verdicts.items() if isinstance(expected, Expectation)}


def test_a_window_holds_the_last_rows_of_its_own_entity_and_partition() -> None:
    other = [event(1, key=b"b"), event(2, partition=1)]
    found = windows([event(0), *other, event(3), event(4), event(5)])
    assert found[5].offsets == (3, 4, 5)
    assert found[1].offsets == (1,)


def test_a_refused_record_enters_no_window() -> None:
    found = windows([event(0), event(1, x="bad"), event(2)])
    assert found[2].offsets == (0, 2)


def test_a_crashed_record_enters_no_window() -> None:
    found = windows([event(0), event(1), event(2)], crashed=frozenset({("events", 0, 1)}))
    assert found[2].offsets == (0, 2)


def test_a_window_ends_where_the_lookback_ends() -> None:
    assert windows([event(0), event(1), event(10)], lookback_offsets=10)[10].offsets == (1, 10)
    assert windows([event(0), event(1), event(10)], lookback_offsets=9)[10].offsets == (10,)


def test_a_long_step_of_time_cuts_a_window() -> None:
    late = event(2)._replace(timestamp=1_000 + 60_001)
    just = event(2)._replace(timestamp=1_000 + 60_000)
    assert windows([event(0), event(1), late])[2].offsets == (2,)
    assert windows([event(0), event(1), just])[2].offsets == (0, 1, 2)


def oldest(inputs: Sequence[LogRecord], committed: int, *, lookback: int = 1_000) -> int:
    verdicts = Verdicts(settings().events, FEATURES)
    return oldest_needed(inputs, committed, manifest=Model(MODEL).manifest, lookback=lookback, verdicts=verdicts)


def test_the_oldest_offset_needed_is_that_of_a_next_rows_window() -> None:
    inputs = [event(0), event(1, key=b"b"), event(2), event(3), event(4), event(5, x="bad"), event(6)]
    assert oldest(inputs, 7) == 1  # the only row of b
    assert oldest(inputs, 4) == 1
    assert oldest([record for record in inputs if record.key == b"a"], 7) == 4  # of three rows, two are there
    assert oldest([record for record in inputs if record.key == b"a"], 3) == 0
    assert oldest(inputs, 7, lookback=6) == 4  # row 1 is out of reach
    assert oldest([], 7) == 7


def test_nothing_before_a_long_step_of_time_is_needed() -> None:
    late = event(2)._replace(timestamp=1_000 + 60_001)
    assert oldest([event(0), event(1), late], 3) == 2
    assert oldest([event(0), event(1), late], 2) == 0


def test_windows_that_were_rebuilt_from_a_shorter_log_are_truncated() -> None:
    inputs = [event(offset) for offset in range(8)]
    found = windows(inputs, rebuilt={("events", 0): Rebuilt(at=4, available_from=3)})
    assert [(found[offset].offsets, found[offset].truncated) for offset in (3, 4, 5)] == [
        ((1, 2, 3), False),
        ((3, 4), True),
        ((3, 4, 5), False),
    ]


def test_a_window_that_says_so_may_lack_rows_that_were_deleted() -> None:
    inputs = [event(offset) for offset in range(8)]
    judge = _Judge(Case(settings=settings(), model=MODEL, deleted={("events", 0): 4}), inputs)
    whole = judge._verdicts["events", 0, 5]

    def offsets(*, length: int, truncated: bool) -> tuple[int, ...]:
        expected = judge._as_truncated(whole, ("events", 0, 5), {"truncated": truncated, "length": length})
        assert isinstance(expected, Expectation)
        assert int(np.isfinite(expected.values[:, 0]).sum()) == len(expected.offsets)
        return expected.offsets

    assert offsets(length=2, truncated=True) == (4, 5)
    assert offsets(length=2, truncated=False) == (3, 4, 5)
    assert offsets(length=1, truncated=True) == (3, 4, 5), "offset 4 was not deleted"
    assert offsets(length=0, truncated=True) == (3, 4, 5)


# ---- whether the outputs say so

INPUTS = [
    *(event(offset, x=float(offset % 7), key=b"ab"[offset % 2 : offset % 2 + 1]) for offset in range(20)),
    event(20, x=8.0),
    event(21, x=None),
    event(22, x="bad"),
    event(23)._replace(value=None),
    event(24, kind="other"),
    event(25),
]
CASE = Case(
    settings=settings(events={"where": {"kind": [None, "reading"]}, "forward_headers": ["trace"]}),
    model=MODEL,
    partitions={"events": 1, "scores": 1},
)
INPUTS = [
    record
    if record.value is None or b'"kind"' in record.value
    else record._replace(value=record.value[:-1] + b',"kind":null}')
    for record in INPUTS
]


def score_value(record: LogRecord, expected: Expectation, said: Said, model: Model) -> bytes:
    manifest = model.manifest
    shares = said.contribution.sum(axis=0)
    warming = len(expected.offsets) < manifest.min_length
    is_anomaly = said.score > 1.0 and not warming
    contributions = []
    for column in shares.argsort(kind="stable")[::-1].tolist() if is_anomaly else []:
        row = int(said.contribution[:, column].argmax())
        value = float(expected.values[row, column])
        contributions.append(
            {
                "feature": manifest.feature_names[column],
                "share": float(shares[column]),
                "value": None if value != value else value,  # noqa: PLR0124  NaN differs from itself
                "expected": float(said.expected[row, column]),
                "rows_ago": manifest.window - 1 - row,
            }
        )
    offsets = expected.offsets
    score = {
        "schema_version": 1,
        "id": f"{record.topic}-{record.partition}-{record.offset}",
        "entity": expected.event.entity,
        "event_time": expected.event.event_time,
        "score": said.score,
        "p_value": said.p_value,
        "threshold": 1.0,
        "is_anomaly": is_anomaly,
        "warming": warming,
        "missing": sum(value != value for value in expected.event.features),  # noqa: PLR0124  likewise
        "top_feature": contributions[0]["feature"] if contributions else None,
        "contributions": contributions,
        "context": {},
        "model": {"name": manifest.name, "version": manifest.version, "sha256": manifest.digest[:12]},
        "window": {
            "first_offset": offsets[0],
            "length": len(offsets),
            "truncated": expected.truncated,
            "digest": window_digest(offsets),
        },
        "source": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
    }
    return json.dumps(score).encode()


def right_outputs(file: bytes = MODEL) -> tuple[list[LogRecord], list[LogRecord]]:
    """What a faultless worker with that model would publish for INPUTS."""
    judge, model = _Judge(CASE, INPUTS), Model(file)
    scores: list[LogRecord] = []
    dead: list[LogRecord] = []
    for record in INPUTS:
        expected = judge._verdicts[record.place]
        if isinstance(expected, Expectation):
            value = score_value(record, expected, model.say(expected), model)
            scores.append(record._replace(topic="scores", offset=len(scores), value=value))
        elif isinstance(expected, Dead):
            added = {
                TOPIC_HEADER: record.topic,
                PARTITION_HEADER: str(record.partition),
                OFFSET_HEADER: str(record.offset),
                REASON_HEADER: expected.reason,
                MESSAGE_HEADER: "a sentence",
            }
            headers = (*record.headers, *((name, text.encode()) for name, text in added.items()))
            dead.append(record._replace(topic="dead", offset=len(dead), headers=headers))
    return scores, dead


SCORES, DEAD = right_outputs()


def hold(scores: Sequence[LogRecord] = SCORES, dead: Sequence[LogRecord] = DEAD, case: Case = CASE) -> object:
    return verify(case, inputs=INPUTS, scores=scores, dead_letters=dead)


def test_right_outputs_are_accepted() -> None:
    report = hold()
    assert (report.scored, report.dead, report.skipped, report.repeated) == (23, 2, 1, 0)


Change = Callable[[dict], object]
ANOMALY = 20


def changed(place: int, change: Change) -> list[LogRecord]:
    """The scores, with one field of one record changed."""
    score = json.loads(SCORES[place].value or b"")
    change(score)
    return [*SCORES[:place], SCORES[place]._replace(value=json.dumps(score).encode()), *SCORES[place + 1 :]]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("wrong window", lambda score: score["window"].update(digest="0" * 16)),
        ("wrong window", lambda score: score["window"].update(first_offset=0)),
        ("wrong window", lambda score: score["window"].update(length=1)),
        ("wrong window", lambda score: score["window"].update(truncated=True)),
        ("wrong score", lambda score: score.update(score=score["score"] * 1.01)),
        ("wrong score", lambda score: score.update(p_value=score["p_value"] * 1.1)),
        ("wrong record", lambda score: score.update(is_anomaly=False)),
        ("wrong record", lambda score: score.update(warming=True)),
        ("wrong record", lambda score: score.update(missing=1)),
        ("wrong record", lambda score: score.update(entity="b")),
        ("wrong record", lambda score: score.update(event_time=0)),
        ("wrong record", lambda score: score.update(context={"z": 1})),
        ("wrong record", lambda score: score.update(id="events-0-0")),
        ("wrong record", lambda score: score["model"].update(sha256="0" * 12)),
        ("wrong explanation", lambda score: score.update(contributions=[], top_feature=None)),
        ("wrong explanation", lambda score: score.update(top_feature="y")),
        ("wrong explanation", lambda score: score["contributions"][0].update(share=0.5)),
        ("wrong explanation", lambda score: score["contributions"][0].update(value=1.0)),
        ("wrong explanation", lambda score: score["contributions"][0].update(expected=1.0)),
        ("wrong explanation", lambda score: score["contributions"][0].update(rows_ago=2)),
        ("wrong explanation", lambda score: score["contributions"].reverse()),
    ],
)
def test_a_wrong_field_is_found(kind: str, change: Change) -> None:
    with pytest.raises(FaultsFound, match=f"{kind}: .*first events-0-20") as found:
        hold(changed(ANOMALY, change))
    assert kind in found.value.kinds


def one_faulty(scores: Sequence[LogRecord], place: int, **fields: object) -> list[LogRecord]:
    return [record._replace(**fields) if at == place else record for at, record in enumerate(scores)]


def swapped() -> list[LogRecord]:
    return [*SCORES[:2], SCORES[4]._replace(offset=2), SCORES[3], SCORES[2]._replace(offset=4), *SCORES[5:]]


@pytest.mark.parametrize(
    ("kind", "scores", "dead"),
    [
        ("lost", SCORES[1:], DEAD),
        ("lost", SCORES, DEAD[1:]),
        ("doubled", [*SCORES, SCORES[3]._replace(offset=99)], DEAD),
        ("doubled", SCORES, [*DEAD, DEAD[0]._replace(offset=99)]),
        (
            "doubled",
            SCORES,
            [
                *DEAD,
                DEAD[0]._replace(
                    offset=99,
                    headers=(
                        *SCORES[0].headers,
                        *[(name, b"24" if name == OFFSET_HEADER else value) for name, value in DEAD[0].headers[1:]],
                    ),
                ),
            ],
        ),
        ("unasked", changed(3, lambda score: score["source"].update(offset=1000)), DEAD),
        (
            "misjudged",
            SCORES[1:],
            [
                *DEAD,
                DEAD[0]._replace(
                    offset=99,
                    headers=tuple((name, b"0" if name == OFFSET_HEADER else value) for name, value in DEAD[0].headers),
                ),
            ],
        ),
        ("out of order", swapped(), DEAD),
        ("wrong key", one_faulty(SCORES, 3, key=b"x"), DEAD),
        ("wrong timestamp", one_faulty(SCORES, 3, timestamp=1), DEAD),
        ("wrong partition", one_faulty(SCORES, 3, partition=1), DEAD),
        ("wrong headers", one_faulty(SCORES, 3, headers=()), DEAD),
        ("wrong dead letter", SCORES, one_faulty(DEAD, 0, value=b"{}")),
        ("wrong dead letter", SCORES, one_faulty(DEAD, 0, key=b"x")),
        ("wrong dead letter", SCORES, one_faulty(DEAD, 0, headers=DEAD[0].headers[1:])),
        ("wrong dead letter", SCORES, one_faulty(DEAD, 0, headers=DEAD[0].headers[:-1])),
        (
            "wrong reason",
            SCORES,
            one_faulty(DEAD, 0, headers=(*DEAD[0].headers[:-2], (REASON_HEADER, b"empty"), DEAD[0].headers[-1])),
        ),
    ],
)
def test_a_wrong_output_is_found(kind: str, scores: Sequence[LogRecord], dead: Sequence[LogRecord]) -> None:
    with pytest.raises(FaultsFound) as found:
        hold(scores, dead)
    assert kind in found.value.kinds


def test_nothing_may_come_out_at_or_above_the_committed_offset() -> None:
    case = replace(CASE, committed={("events", 0): 20})
    assert hold(SCORES[:20], [], case).scored == 20
    with pytest.raises(FaultsFound, match="unasked: 1, first events-0-20"):
        hold(SCORES[:21], [], case)


def test_nothing_may_come_out_below_the_very_first_start() -> None:
    case = replace(CASE, first={("events", 0): 5})
    assert hold(SCORES[5:], DEAD, case).scored == 18
    with pytest.raises(FaultsFound, match="unasked: 1, first events-0-4"):
        hold(SCORES[4:], DEAD, case)


def test_at_least_once_may_repeat_but_never_contradict() -> None:
    changes = {"events": CASE.settings.events, "delivery": "at-least-once"}
    case = replace(CASE, settings=settings(**changes))
    assert hold([*SCORES, SCORES[3]._replace(offset=99)], DEAD, case).repeated == 1
    with pytest.raises(FaultsFound, match="contradicted: 1, first events-0-3"):
        hold([*SCORES, SCORES[3]._replace(offset=99, value=SCORES[3].value + b" ")], DEAD, case)


def test_the_report_names_the_smallest_witness_of_each_kind() -> None:
    with pytest.raises(FaultsFound, match="lost: 3, first events-0-7: nothing came out, where a score is expected"):
        hold([*SCORES[:7], *SCORES[10:]])


def test_a_model_without_an_answer_makes_a_dead_letter_and_its_row_stays() -> None:
    model = artifact_bytes(features=FEATURES, window=3, nan_above=100.0)
    judge = _Judge(Case(settings=settings(), model=model), [event(0), event(1, x=100.0), event(2)])
    verdicts = judge._verdicts
    assert verdicts["events", 0, 1] == Dead("model_not_finite")
    later = verdicts["events", 0, 2]
    assert isinstance(later, Dead) or later.offsets == (0, 1, 2)


def test_a_score_of_a_successor_is_held_against_the_successor() -> None:
    successor = artifact_bytes(features=FEATURES, window=3, min_length=2, max_gap_s=60.0, version="2", mean=0.5)
    rolled_out = [*SCORES[:10], *right_outputs(successor)[0][10:]]
    hold(rolled_out, case=replace(CASE, successors=(successor,)))
    with pytest.raises(FaultsFound, match="wrong record: 13,"):
        hold(rolled_out)


def test_the_model_file_may_lie_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    assert Model(path.read_bytes()).manifest.window == 3
