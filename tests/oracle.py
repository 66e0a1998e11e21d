"""An independent judge: from the input log alone, what every record must have become, and whether the outputs say so.

Written from the contract (windows, validity, score record, dead letter); it shares no code with the worker but the
schemas. Slow and plain on purpose: one record at a time, one window at a time, the model at batch 1.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from schemas.artifact import CONTRIBUTION, ELAPSED, ENTITY, EXPECTED, METADATA_KEY, P_VALUE, SCORE, WINDOW
from schemas.manifest import Manifest
from schemas.settings import EventSettings, Settings, steps_of
from tests.log_record import LogRecord

Place = tuple[str, int, int]

DEEPEST = 64
LONGEST_ENTITY_BYTES = 512
ERRORS = "__streams.errors"
UNITS_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
FIRST_MS = 0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = (datetime(2262, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
CRASH = "crash"
REMEMBERED = 20_000  # records, windows


# What a record is ---------------------------------------------------------------------------------------------------


class Valid(NamedTuple):
    """An event that must be scored. NaN stands for a missing feature."""

    entity: str
    event_time: int
    features: tuple[float, ...]
    context: dict[str, object]


class Dead(NamedTuple):
    """A record that must come out whole in the dead-letter topic."""

    reason: str


class Skipped(NamedTuple):
    """A record of which nothing may come out."""


class _Refused(Exception):  # noqa: N818  it carries a verdict, it is no error
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Skip(Exception):  # noqa: N818  likewise
    pass


class _Object(NamedTuple):
    """A JSON object with its repeated names."""

    pairs: list[tuple[str, object]]


_ABSENT = object()


class Verdicts:
    """What records are under these settings; what it said once is not worked out again."""

    def __init__(self, events: EventSettings, features: Sequence[str]) -> None:
        self._events = events
        self._features = features
        self._known: dict[tuple[bytes | None, bytes | None, int], Valid | Dead | Skipped] = {}

    def of(self, record: LogRecord) -> Valid | Dead | Skipped:
        """Validity depends on key, value and timestamp alone."""
        asked = (record.key, record.value, record.timestamp)
        if asked not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[asked] = verdict(record, self._events, self._features)
        return self._known[asked]


def verdict(record: LogRecord, events: EventSettings, features: Sequence[str]) -> Valid | Dead | Skipped:
    """What the contract's table of validity says of one record: the first rule that fails decides."""
    try:
        return _validate(record, events, features)
    except _Refused as refused:
        return Dead(refused.reason)
    except _Skip:
        return Skipped()


def _validate(record: LogRecord, events: EventSettings, features: Sequence[str]) -> Valid:
    value = record.value
    if value is None and events.tombstone == "skip":
        raise _Skip
    if not value:
        raise _Refused("empty")
    if len(value) > events.max_bytes:
        raise _Refused("too_large")
    event = _parse(value)
    if not isinstance(event, _Object):
        raise _Refused("wrong_type")
    if not all(_holds(event, steps_of(path), wanted) for path, wanted in events.where.items()):
        raise _Skip
    entity = _entity(event, record.key, events.entity)
    event_time = _event_time(event, record.timestamp, events.timestamp, events.timestamp_unit)
    return Valid(entity, event_time, _features(event, events, features), _context(event, events.passthrough))


def _parse(value: bytes) -> object:
    try:
        text = value.decode("utf-8")
        event = json.loads(
            text, object_pairs_hook=_Object, parse_constant=_no_such_constant, parse_int=_integer, strict=True
        )
        json.dumps(event, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text in UTF-8
    except (ValueError, RecursionError) as error:
        raise _Refused("undecodable") from error
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise _Refused("undecodable")
    return event


def _no_such_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4_000 else float(digits)  # int() of more than 4,300 digits raises


def _depth(text: str) -> int:
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string, escaped = True, False
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _at(event: _Object, path: Sequence[str]) -> tuple[list[object], bool]:
    """Every value at the path, the one that counts last (or `_ABSENT`), and whether something bars the way."""
    values: list[object] = [event]
    blocked = False
    for name in path:
        below: list[object] = []
        for value in values:
            if isinstance(value, _Object):
                below += [inner for key, inner in value.pairs if key == name] or [_ABSENT]
            else:
                blocked = blocked or value is not _ABSENT
                below.append(_ABSENT)
        values = below
    return values, blocked


def _holds(event: _Object, path: Sequence[str], wanted: Sequence[object]) -> bool:
    actual = _at(event, path)[0][-1]
    return any(_same(actual, value) for value in wanted)


def _same(actual: object, wanted: object) -> bool:
    return isinstance(actual, bool) == isinstance(wanted, bool) and actual == wanted


def _entity(event: _Object, key: bytes | None, path: str | None) -> str:
    entity: object
    if path is None:
        try:
            entity = (key or b"").decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Refused("no_entity") from error
    else:
        entity = _at(event, steps_of(path))[0][-1]
    if isinstance(entity, int) and not isinstance(entity, bool):
        entity = str(entity)
    if not isinstance(entity, str) or not entity or len(entity.encode()) > LONGEST_ENTITY_BYTES:
        raise _Refused("no_entity")
    return entity


def _event_time(event: _Object, record_timestamp: int, path: str | None, unit: str) -> int:
    found = record_timestamp if path is None else _at(event, steps_of(path))[0][-1]
    try:
        milliseconds = _milliseconds(found, "ms" if path is None else unit)
    except (ValueError, OverflowError) as error:
        raise _Refused("bad_timestamp") from error
    if not FIRST_MS <= milliseconds < LAST_MS:
        raise _Refused("bad_timestamp")
    return milliseconds


def _milliseconds(found: object, unit: str) -> int:
    if unit == "iso8601":
        if not isinstance(found, str):
            raise ValueError("not a string")
        moment = datetime.fromisoformat(found)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError("not a number")
    if found < 0:
        raise ValueError("before 1970, by however little")
    if unit == "s" and isinstance(found, float):
        found, unit = round(found * 1e6), "us"  # else 1700000000.123 would lie below its millisecond
    return math.floor(found * 1000 // UNITS_A_SECOND[unit])


def _features(event: _Object, events: EventSettings, names: Sequence[str]) -> tuple[float, ...]:
    found = {}
    for name in names:
        values, blocked = _at(event, events.feature_path(name))
        if blocked or not all(_is_number_or_nothing(value) for value in values):
            raise _Refused("wrong_type")
        found[name] = values[-1]
    numbers = {name: _float32(value) for name, value in found.items()}
    missing = {name for name, number in numbers.items() if math.isnan(number)}
    if len(missing) / len(names) > events.max_missing or missing & set(events.required):
        raise _Refused("missing_features")
    return tuple(numbers[name] for name in names)


def _context(event: _Object, paths: Sequence[str]) -> dict[str, object]:
    found = {path: _at(event, steps_of(path))[0][-1] for path in paths}
    return {path: _plain(value) for path, value in found.items() if value is not _ABSENT}


def _plain(value: object) -> object:
    if isinstance(value, _Object):
        return {name: _plain(inner) for name, inner in value.pairs}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, int | float) and not _is_double(value) else value


def _is_double(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _is_number_or_nothing(value: object) -> bool:
    return value is _ABSENT or value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _float32(value: object) -> float:
    if value is _ABSENT or value is None:
        return math.nan
    try:
        wide = float(value)  # type: ignore[arg-type]
    except OverflowError as error:
        raise _Refused("not_finite") from error
    with np.errstate(over="ignore"):
        narrow = float(np.float32(wide))
    if not math.isfinite(narrow):
        raise _Refused("not_finite")
    return narrow


# What an event's window is ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rebuilt:
    """From record `at` on, a partition's windows were built anew from a log that began at `available_from`."""

    at: int
    available_from: int


@dataclass(frozen=True)
class Expectation:
    """What the score record of one event must say."""

    event: Valid
    offsets: tuple[int, ...]  # of the window's rows, oldest first
    truncated: bool
    values: np.ndarray  # (W, F), NaN rows in front
    elapsed: np.ndarray  # (W,)


class _Row(NamedTuple):
    offset: int
    event: Valid


def splitmix64(number: int) -> int:
    """The 64-bit finaliser of Steele, Lea and Flood's SplittableRandom."""
    mask = 2**64 - 1
    z = (number + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
    return z ^ z >> 31


def window_digest(offsets: Iterable[int]) -> str:
    """16 hex digits over the offsets of a window's records."""
    return f"{sum(map(splitmix64, offsets)) % 2**64:016x}"


def _expectation(rows: Sequence[_Row], *, manifest: Manifest, lookback: int, rebuilt: Rebuilt | None) -> Expectation:
    """The window of the last of `rows`, which are all rows of its partition and entity up to it."""
    last = rows[-1]
    anew = rebuilt is not None and last.offset >= rebuilt.at
    available_from = rebuilt.available_from if rebuilt and anew else 0
    oldest = max(last.offset - lookback + 1, available_from)
    kept = [last]
    cut = False
    for row in reversed(rows[:-1]):
        if len(kept) == manifest.window or row.offset < oldest:
            break
        step_s = (kept[0].event.event_time - row.event.event_time) / 1000
        cut = manifest.max_gap_s is not None and step_s > manifest.max_gap_s
        if cut:
            break
        kept.insert(0, row)
    features = len(manifest.features)
    values = np.full((manifest.window, features), np.nan, dtype=np.float32)
    values[manifest.window - len(kept) :] = [row.event.features for row in kept]
    elapsed = np.full(manifest.window, np.nan, dtype=np.float32)
    elapsed[manifest.window - len(kept) :] = [(last.event.event_time - row.event.event_time) / 1000 for row in kept]
    return Expectation(
        event=last.event,
        offsets=tuple(row.offset for row in kept),
        truncated=anew and not cut and len(kept) < manifest.window and max(0, last.offset - lookback + 1) < oldest,
        values=values,
        elapsed=elapsed,
    )


def oldest_needed(
    log: Iterable[LogRecord], committed: int, *, manifest: Manifest, lookback: int, verdicts: Verdicts
) -> int:
    """The oldest offset that windows of records at or after `committed` may hold: `lo` may not be higher (I5).

    `log` is what one partition holds, as a read_committed reader sees it.
    """
    by_entity: dict[str, list[_Row]] = defaultdict(list)
    for record in log:
        if committed - lookback < record.offset < committed and isinstance(judged := verdicts.of(record), Valid):
            by_entity[judged.entity].append(_Row(record.offset, judged))
    reached = (_reached(rows, manifest) for rows in by_entity.values())
    return min((rows[0].offset for rows in reached if rows), default=committed)


def _reached(rows: Sequence[_Row], manifest: Manifest) -> Sequence[_Row]:
    """Those of an entity's rows that a next row's window may still hold."""
    gap_ms = math.inf if manifest.max_gap_s is None else manifest.max_gap_s * 1000
    last = rows[len(rows) - manifest.window + 1 :] if len(rows) >= manifest.window else rows
    steps = [after.event.event_time - before.event.event_time for before, after in pairwise(last)]
    first = max((at for at, step in enumerate(steps, start=1) if step > gap_ms), default=0)
    return last[first:]


# What the model says of it ------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """The model's outputs for one window."""

    score: float
    p_value: float
    contribution: np.ndarray  # (W, F)
    expected: np.ndarray  # (W, F)


class Model:
    """The artifact, asked for one window at a time."""

    def __init__(self, file: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        properties = {entry.key: entry.value for entry in onnx.load_model_from_string(file).metadata_props}
        self.manifest = Manifest.model_validate_json(properties[METADATA_KEY])
        self._inputs = {tensor.name for tensor in self._session.get_inputs()}
        self._places = {entity: place for place, entity in enumerate(self.manifest.entities, start=1)}
        self._said: dict[tuple[bytes, bytes, int], Said] = {}

    def say(self, expectation: Expectation) -> Said:
        """Score, p-value and explanation of one window. What it said lately is not asked again."""
        place = self._places.get(expectation.event.entity, 0)
        asked = (expectation.values.tobytes(), expectation.elapsed.tobytes(), place)
        if asked not in self._said:
            if len(self._said) == REMEMBERED:
                self._said.clear()
            self._said[asked] = self._ask(expectation, place)
        return self._said[asked]

    def _ask(self, expectation: Expectation, place: int) -> Said:
        inputs: dict[str, np.ndarray] = {WINDOW: expectation.values[None]}
        if ELAPSED in self._inputs:
            inputs[ELAPSED] = expectation.elapsed[None]
        if ENTITY in self._inputs:
            inputs[ENTITY] = np.array([place], dtype=np.int64)
        score, p_value, contribution, expected = self._session.run([SCORE, P_VALUE, CONTRIBUTION, EXPECTED], inputs)
        return Said(float(score[0]), float(p_value[0]), contribution[0], expected[0])


model_of = lru_cache(maxsize=8)(Model)


# Whether the outputs say so -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What came out, once it was seen to be right."""

    scored: int
    dead: int
    skipped: int
    repeated: int  # only at-least-once delivery may repeat


class Fault(NamedTuple):
    """One thing that is wrong, at one input record."""

    kind: str
    place: Place
    what: str


class FaultsFound(AssertionError):  # noqa: N818  the name says it
    """Outputs that do not follow from the input: how many faults of each kind, and the first of each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        by_kind: dict[str, list[Fault]] = defaultdict(list)
        for fault in sorted(faults, key=lambda fault: fault.place):
            by_kind[fault.kind].append(fault)
        lines = [
            f"{kind}: {len(found)}, first {'-'.join(map(str, found[0].place))}: {found[0].what}"
            for kind, found in by_kind.items()
        ]
        super().__init__("\n".join(lines))
        self.kinds = frozenset(by_kind)
        self.faults = list(faults)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the outputs are held against."""

    settings: Settings
    model: bytes
    rebuilt: Mapping[tuple[str, int], Rebuilt] = field(default_factory=dict)
    log_starts: Mapping[tuple[str, int], Sequence[int]] = field(default_factory=dict)
    """Where a partition's log began after each deletion: any window may have been rebuilt from any of them, or not."""
    first: Mapping[tuple[str, int], int] = field(default_factory=dict)  # records below were before the very first start
    committed: Mapping[tuple[str, int], int] | None = None  # records at or above may not have been answered
    partitions: Mapping[str, int] = field(default_factory=dict)  # how many each topic has, where that is to be checked
    crashed: frozenset[Place] = frozenset()  # records that killed the runtime
    deleted: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Records below were deleted at some time or other: windows that reach below may lack them, and then say so."""
    verdicts: Verdicts | None = None  # those of an earlier case with the same settings and model
    gone: frozenset[Place] = frozenset()  # records that were deleted before they were scored: they may be unanswered
    successors: Sequence[
        bytes
    ] = ()  # models rolled out after `model`, with the same windows: a score says which it is of


def verify(
    case: Case, *, inputs: Sequence[LogRecord], scores: Sequence[LogRecord], dead_letters: Sequence[LogRecord]
) -> Report:
    """Hold the outputs against the input log, all as a read_committed reader sees them.

    Args:
        case: Settings, model and what else decides.
        inputs: Every visible record of the input topics, from the first one that a window may need.
        scores: Everything in the output topic.
        dead_letters: Everything in the dead-letter topic.

    Raises:
        FaultsFound: with the smallest witness of every kind.
    """
    return _Judge(case, inputs).judge(scores, dead_letters)


class _Judge:
    def __init__(self, case: Case, inputs: Sequence[LogRecord]) -> None:
        self._case = case
        self._settings = case.settings
        self._model = model_of(case.model)
        self._successors = {model.manifest.digest[:12]: model for model in map(model_of, case.successors)}
        self._exactly_once = case.settings.delivery == "exactly-once"
        self._inputs = {record.place: record for record in sorted(inputs, key=lambda record: record.place)}
        self._faults: list[Fault] = []
        self._without_number: dict[Place, Expectation] = {}  # what the model would be asked
        self._rebuilt: dict[Place, list[Expectation]] = {}
        self._verdicts: dict[Place, Expectation | Dead | Skipped] = dict(self._expect())

    def judge(self, scores: Sequence[LogRecord], dead_letters: Sequence[LogRecord]) -> Report:
        answers = self._answers(scores, dead_letters)
        repeated = 0
        for place, expected in self._verdicts.items():
            if not self._concerned(place):
                continue
            found = answers.pop(place, [])
            repeated += self._count(place, expected, found)
            for answer in found[:1]:
                self._hold_against(place, expected, answer)
        for place, found in answers.items():
            known = self._inputs.get(place)
            self._fault(
                "unasked", place, f"{len(found)} out for a record that {'lies outside' if known else 'is not visible'}"
            )
        if self._exactly_once:  # what comes again may overtake
            self._check_order(scores)
        if self._faults:
            raise FaultsFound(self._faults)
        kinds = [type(expected) for place, expected in self._verdicts.items() if self._concerned(place)]
        return Report(kinds.count(Expectation), kinds.count(Dead), kinds.count(Skipped), repeated)

    def _fault(self, kind: str, place: Place, what: str) -> None:
        self._faults.append(Fault(kind, place, what))

    def _concerned(self, place: Place) -> bool:
        """Whether this record was to be answered: not before the first start, and not beyond what is committed."""
        topic, partition, offset = place
        if offset < self._case.first.get((topic, partition), 0):
            return False
        return self._case.committed is None or offset < self._case.committed.get((topic, partition), 0)

    def _expect(self) -> Iterator[tuple[Place, Expectation | Dead | Skipped]]:
        manifest = self._model.manifest
        verdicts = self._case.verdicts or Verdicts(self._settings.events, manifest.feature_names)
        by_entity: dict[tuple[str, int, str], list[_Row]] = defaultdict(list)
        for place, record in self._inputs.items():
            if place in self._case.crashed:
                yield place, Dead(CRASH)
                continue
            judged = verdicts.of(record)
            if not isinstance(judged, Valid):
                yield place, judged
                continue
            own = by_entity[record.topic, record.partition, judged.entity]
            own.append(_Row(record.offset, judged))
            rows = own[-manifest.window - 1 :]
            log = (record.topic, record.partition)
            expectation = self._window(rows, self._case.rebuilt.get(log))
            starts = [start for start in self._case.log_starts.get(log, ()) if start <= record.offset]
            self._rebuilt[place] = [self._window(rows, Rebuilt(at=0, available_from=start)) for start in starts]
            if self._is_finite(expectation):
                yield place, expectation
            else:
                self._without_number[place] = expectation
                yield place, Dead("model_not_finite")

    def _window(self, rows: Sequence[_Row], rebuilt: Rebuilt | None) -> Expectation:
        lookback = self._settings.lookback_offsets
        return _expectation(rows, manifest=self._model.manifest, lookback=lookback, rebuilt=rebuilt)

    def _is_finite(self, expectation: Expectation) -> bool:
        said = self._model.say(expectation)
        return math.isfinite(said.score) and math.isfinite(said.p_value)

    def _answers(self, scores: Sequence[LogRecord], dead_letters: Sequence[LogRecord]) -> dict[Place, list[LogRecord]]:
        answers: dict[Place, list[LogRecord]] = defaultdict(list)
        for record in scores:
            source = json.loads(record.value or b"")["source"]
            answers[source["topic"], source["partition"], source["offset"]].append(record)
        for record in dead_letters:
            headers = dict(record.headers)
            topic, partition, offset = ((headers[f"{ERRORS}.{part}"] or b"").decode() for part in PLACE_PARTS)
            answers[topic, int(partition), int(offset)].append(record)
        return answers

    def _count(self, place: Place, expected: Expectation | Dead | Skipped, found: Sequence[LogRecord]) -> int:
        """Note what is lost or doubled; how many are repeated lawfully."""
        wanted = 0 if isinstance(expected, Skipped) else 1
        if len(found) < wanted and place in self._case.gone:
            return 0
        if len(found) < wanted:
            self._fault("lost", place, f"nothing came out, where {_in_words(expected)} is expected")
        elif len(found) > wanted and (self._exactly_once or not wanted):
            self._fault("doubled", place, f"{len(found)} came out, where {wanted} is expected")
        elif len({_content(record) for record in found}) > 1:
            self._fault("contradicted", place, f"{len(found)} came out with different contents")
        return max(0, len(found) - wanted)

    def _hold_against(self, place: Place, expected: Expectation | Dead | Skipped, answer: LogRecord) -> None:
        is_dead_letter = answer.topic == self._settings.kafka.dead_letter_topic
        score = {} if is_dead_letter else json.loads(answer.value or b"")
        if score:
            expected = self._as_truncated(expected, place, score["window"])
        if isinstance(expected, Expectation) and score:
            lawful = [expected, *self._rebuilt[place]]
            model = self._successors.get(score["model"]["sha256"], self._model)
            checks = (_ScoreCheck(self._case, model, self._inputs[place], one) for one in lawful)
            for kind, what in min((list(check.faults(answer)) for check in checks), key=len):
                self._fault(kind, place, what)
        elif isinstance(expected, Dead) and is_dead_letter:
            for kind, what in _dead_letter_faults(self._inputs[place], expected, answer):
                self._fault(kind, place, what)
        else:
            self._fault("misjudged", place, f"it came out in {answer.topic}, where {_in_words(expected)} is expected")

    def _as_truncated(
        self, expected: Expectation | Dead | Skipped, place: Place, window: dict
    ) -> Expectation | Dead | Skipped:
        """What is expected, if a window that says `truncated` may lack its oldest rows, which were deleted."""
        whole = self._without_number.get(place) or expected
        deleted = self._case.deleted.get(place[:2], 0)
        beyond_reach = deleted <= max(0, place[2] - self._settings.lookback_offsets + 1)
        if not isinstance(whole, Expectation) or not window["truncated"] or beyond_reach:
            return expected
        count = window["length"]
        if not 0 < count <= len(whole.offsets) or count == len(whole.values):
            return expected
        if any(offset >= deleted for offset in whole.offsets[:-count]):
            return expected
        values, elapsed = whole.values.copy(), whole.elapsed.copy()
        values[:-count], elapsed[:-count] = np.nan, np.nan
        return replace(whole, offsets=whole.offsets[-count:], truncated=True, values=values, elapsed=elapsed)

    def _check_order(self, scores: Sequence[LogRecord]) -> None:
        """Scores of one input partition and entity stand in input order within an output partition."""
        latest: dict[tuple[int, str, int, str], int] = {}
        seen: set[Place] = set()
        for record in sorted(scores, key=lambda record: (record.partition, record.offset)):
            score = json.loads(record.value or b"")
            source = score["source"]
            place = (source["topic"], source["partition"], source["offset"])
            if place in seen:
                continue
            seen.add(place)
            stream = (record.partition, source["topic"], source["partition"], score["entity"])
            if latest.get(stream, -1) > source["offset"]:
                self._fault("out of order", place, f"it came out after offset {latest[stream]} of the same entity")
            latest[stream] = source["offset"]


PLACE_PARTS = ("topic", "partition", "offset")


def _content(record: LogRecord) -> tuple[object, ...]:
    return record.topic, record.key, record.value, record.timestamp, tuple(record.headers)


def _in_words(expected: Expectation | Dead | Skipped) -> str:
    if isinstance(expected, Dead):
        return f"a dead letter ({expected.reason})"
    return "nothing" if isinstance(expected, Skipped) else "a score"


@dataclass(frozen=True)
class _ScoreCheck:
    case: Case
    model: Model
    record: LogRecord
    expected: Expectation

    def faults(self, answer: LogRecord) -> Iterator[tuple[str, str]]:
        """Everything in a score record that does not follow from the log."""
        score = json.loads(answer.value or b"")
        said = self.model.say(self.expected)
        yield from self._window_faults(score)
        yield from _differences("wrong record", self._record(score), score)
        yield from self._score_faults(score, said)
        yield from self._explanation_faults(score, said)
        yield from self._envelope_faults(answer)

    def _window_faults(self, score: dict) -> Iterator[tuple[str, str]]:
        offsets = self.expected.offsets
        window = {
            "first_offset": offsets[0],
            "length": len(offsets),
            "truncated": self.expected.truncated,
            "digest": window_digest(offsets),
        }
        if score["window"] != window:
            yield "wrong window", f"{score['window']}, where {window} is expected (offsets {offsets})"

    def _record(self, score: dict) -> dict:
        """What must be equal to the letter; what may lie within a tolerance is not in it."""
        manifest = self.model.manifest
        event, record = self.expected.event, self.record
        warming = len(self.expected.offsets) < manifest.min_length
        threshold = self.case.settings.alert.threshold
        return {
            "schema_version": 1,
            "id": f"{record.topic}-{record.partition}-{record.offset}",
            "entity": event.entity,
            "event_time": event.event_time,
            "threshold": threshold,
            "is_anomaly": not warming and score["score"] > threshold,
            "warming": warming,
            "missing": sum(math.isnan(value) for value in event.features),
            "context": event.context,
            "model": {"name": manifest.name, "version": manifest.version, "sha256": manifest.digest[:12]},
            "source": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
        }

    def _score_faults(self, score: dict, said: Said) -> Iterator[tuple[str, str]]:
        if not math.isclose(score["score"], said.score, rel_tol=1e-3, abs_tol=1e-4):
            yield "wrong score", f"{score['score']}, where {said.score} is expected"
        if not math.isclose(score["p_value"], said.p_value, rel_tol=1e-2):
            yield "wrong score", f"p_value {score['p_value']}, where {said.p_value} is expected"

    def _explanation_faults(self, score: dict, said: Said) -> Iterator[tuple[str, str]]:
        explain = self.case.settings.explain
        contributions = score["contributions"]
        asked = explain.when == "all" or (explain.when == "anomalies" and score["is_anomaly"])
        if bool(contributions) != (asked and explain.top > 0):
            yield "wrong explanation", f"{len(contributions)} contributions, where is_anomaly is {score['is_anomaly']}"
        if score["top_feature"] != (contributions[0]["feature"] if contributions else None):
            yield "wrong explanation", f"top_feature {score['top_feature']} does not head {contributions}"
        shares = dict(zip(self.model.manifest.feature_names, said.contribution.sum(axis=0).tolist(), strict=True))
        largest = sorted(shares.values(), reverse=True)[: explain.top]
        if contributions and not np.allclose([part["share"] for part in contributions], largest, atol=1e-3):
            yield "wrong explanation", f"shares {contributions}, where {largest} are expected"
        for part in contributions:
            yield from self._part_faults(part, said, shares[part["feature"]])

    def _part_faults(self, part: dict, said: Said, share: float) -> Iterator[tuple[str, str]]:
        column = self.model.manifest.feature_names.index(part["feature"])
        row = len(said.contribution) - 1 - part["rows_ago"]
        value = self.expected.values[row, column]
        by_row = said.contribution[:, column]
        right = (
            math.isclose(part["share"], share, abs_tol=1e-3)
            and by_row[row] >= by_row.max() - 1e-3
            and _close(part["value"], None if np.isnan(value) else float(value))
            and _close(part["expected"], float(said.expected[row, column]))
        )
        if not right:
            yield "wrong explanation", f"{part} of window {self.expected.values[:, column].tolist()}"

    def _envelope_faults(self, answer: LogRecord) -> Iterator[tuple[str, str]]:
        record, counts = self.record, self.case.partitions
        if answer.key != (self.expected.event.entity.encode() if record.key is None else record.key):
            yield "wrong key", f"{answer.key!r} for an input keyed {record.key!r}"
        if answer.timestamp != record.timestamp:
            yield "wrong timestamp", f"{answer.timestamp}, where {record.timestamp} is expected"
        both = (counts.get(record.topic), counts.get(answer.topic))
        if None not in both and both[0] == both[1] and answer.partition != record.partition:
            yield "wrong partition", f"{answer.partition}, where {record.partition} is expected"
        forwarded = [header for header in record.headers if header[0] in self.case.settings.events.forward_headers]
        if list(answer.headers) != forwarded:
            yield "wrong headers", f"{answer.headers}, where {forwarded} are expected"


def _close(actual: float | None, wanted: float | None) -> bool:
    if actual is None or wanted is None:
        return actual is wanted
    return math.isclose(actual, wanted, rel_tol=1e-3, abs_tol=1e-4)


def _differences(kind: str, wanted: dict, actual: dict) -> Iterator[tuple[str, str]]:
    for name, value in wanted.items():
        if actual[name] != value:
            yield kind, f"{name} is {actual[name]!r}, where {value!r} is expected"


def _dead_letter_faults(record: LogRecord, expected: Dead, answer: LogRecord) -> Iterator[tuple[str, str]]:
    headers = dict(answer.headers)
    reason = (headers.get("anomaly-worker.reason") or b"").decode()
    message = (headers.get("anomaly-worker.message") or b"").decode()
    own = len(record.headers)
    if reason != expected.reason:
        yield "wrong reason", f"{reason} ({message}), where {expected.reason} is expected for {record.value!r:.200}"
    if not message:
        yield "wrong dead letter", "it has no message"
    if list(answer.headers[:own]) != list(record.headers):
        yield "wrong dead letter", f"headers {answer.headers}, where {record.headers} come first"
    if answer.key != record.key or answer.timestamp != record.timestamp:
        yield (
            "wrong dead letter",
            f"key {answer.key!r} at {answer.timestamp}, where {record.key!r} at {record.timestamp}",
        )
    shortened = "anomaly-worker.value.sha256" in headers
    whole = answer.value == record.value
    if not whole and not (shortened and (record.value or b"").startswith(answer.value or b"")):
        yield "wrong dead letter", f"value {answer.value!r:.100}, where {record.value!r:.100} is expected"
