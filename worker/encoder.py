"""A scored batch in, what is to be published out: score records as columns, dead letters one by one.

A record is put together from fragments that are rendered a column at a time. The encoder knows no Kafka and no
settings, and what it writes holds no clock of its own: the same batch gives the same bytes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from worker.batch import (
    Bool,
    Events,
    Explanation,
    Float32,
    Headers,
    Outgoing,
    OutgoingRecord,
    Records,
    Refused,
    Scores,
    TopicPartition,
    Windows,
)
from worker.dead_letter import FRAMING_BYTES, dead_letter, size_of
from worker.decimals import shortest
from worker.explanation import UNEXPLAINED, ExplanationText
from worker.fragments import escaped, json_text
from worker.rows import Column, joined, longest

_DIGEST_DIGITS = 12
_PARTITIONS = 10_000  # whose texts are kept

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """What is written on every record, and where dead letters go."""

    features: tuple[str, ...]
    min_length: int  # windows with fewer rows are warming
    threshold: float
    explain: Literal["anomalies", "all", "never"] = "anomalies"
    top: int  # contributions to a record
    model_name: str
    model_version: str
    model_sha256: str  # 64 hexadecimal digits
    dead_letter_topic: str
    forward_headers: tuple[str, ...] = ()
    max_dead_letter_bytes: int  # what the producer takes for any record, headers and all


class Encoder:
    """Renders batches by one format."""

    def __init__(self, form: OutputFormat) -> None:
        self._form = form
        self._forwarded = frozenset(form.forward_headers)
        self._explanation = ExplanationText(form.features, top=form.top)
        self._unexplained = [self._render_judgement(code) for code in range(4 * len(form.features) + 4)]
        model = {"name": form.model_name, "version": form.model_version, "sha256": form.model_sha256[:_DIGEST_DIGITS]}
        self._model = f',"model":{json_text(model)},"window":{{"first_offset":'

    def encode(
        self, records: Records, events: Events, windows: Windows, scores: Scores, *, copartitioned: frozenset[str]
    ) -> Outgoing:
        """One score record for each event whose score is finite, one dead letter for all that was refused.

        Scores take the input's partition number where its topic is `copartitioned`; elsewhere, and for dead letters,
        the key decides. Timestamps are the records' own, -1 where there is none.
        """
        rows = events.row.tolist()
        keys = _keys(records.key if len(rows) == len(records) else [records.key[row] for row in rows], events.entity)
        anomaly = self._anomalies(windows, scores)
        values = self._texts(records, events, windows, scores, anomaly)
        headers = [self._forward(records.headers(row)) for row in rows] if self._forwarded else None
        finite = np.isfinite(scores.score) & np.isfinite(scores.p_value)
        sent = finite & self._fits(keys, values, headers)
        unsent = [self._unsent(rows[place], finite=bool(finite[place])) for place in np.flatnonzero(~sent).tolist()]
        partition = np.array(
            [place.partition if place.topic in copartitioned else -1 for place in records.partitions], np.int64
        )
        return Outgoing(
            key=_only(keys, sent),
            value=_only(values, sent),
            partition=_only(partition[records.partition[events.row]].tolist(), sent),
            timestamp=_only(records.timestamp[events.row].tolist(), sent),
            headers=None if headers is None else _only(headers, sent),
            anomaly=anomaly[sent],
            dead_letters=[self._dead_letter(refused, records) for refused in sorted([*events.refused, *unsent])],
        )

    def _anomalies(self, windows: Windows, scores: Scores) -> Bool:
        return (scores.score.astype(np.float64) > self._form.threshold) & (windows.length >= self._form.min_length)

    def _texts(self, records: Records, events: Events, windows: Windows, scores: Scores, anomaly: Bool) -> list[bytes]:
        """The score records, in the order of the contract's fields."""
        partition, offset = records.partition[events.row], records.offset[events.row]
        columns: tuple[Column, ...] = (
            (list(map(_render_topic, records.partitions)), partition),
            offset,
            '","entity":"',
            escaped(events.entity),
            '","event_time":',
            events.event_time,
            ',"score":',
            _on_its_side(scores.score, self._form.threshold),
            ',"p_value":',
            scores.p_value,
            self._judgements(events, windows, scores, anomaly),
            "{}" if events.context is None else list(map(bytes.decode, events.context)),
            self._model,
            windows.first_offset,
            (_window_texts(windows.values.shape[1]), windows.length * 2 + windows.truncated),
            windows.digest,
            (list(map(_render_source, records.partitions)), partition),
            offset,
            "}}",
        )
        return joined(columns, len(events))

    def _judgements(self, events: Events, windows: Windows, scores: Scores, anomaly: Bool) -> Column:
        """From the threshold to the contributions."""
        warming = windows.length < self._form.min_length
        code = np.isnan(events.features).sum(axis=1) * 4 + anomaly * 2 + warming
        explanation = _some(scores.explanation, self._asked_for(anomaly)[scores.explanation.row])
        if not len(explanation.row):
            return self._unexplained, code
        codes = code[explanation.row].tolist()
        reasons = self._explanation.of(explanation, windows.values)
        explained = [self._render_judgement(*each) for each in zip(codes, reasons, strict=True)]
        code[explanation.row] = len(self._unexplained) + np.arange(len(explained))
        return self._unexplained + explained, code

    def _asked_for(self, anomaly: Bool) -> Bool:
        explain = self._form.explain
        return anomaly if explain == "anomalies" else np.full(len(anomaly), explain == "all")

    def _render_judgement(self, code: int, reason: str = UNEXPLAINED) -> str:
        missing, anomaly, warming = code >> 2, bool(code & 2), bool(code & 1)
        judgement = {
            "threshold": self._form.threshold,
            "is_anomaly": anomaly,
            "warming": warming,
            "missing": missing,
        }
        return f',{json_text(judgement)[1:-1]},{reason},"context":'

    def _forward(self, headers: Headers) -> Headers:
        return [header for header in headers if header[0] in self._forwarded]

    def _fits(self, keys: list[bytes], values: list[bytes], headers: Sequence[Headers] | None) -> Bool:
        """Which records the producer will take: what is passed through or forwarded may make them too large."""
        limit = self._form.max_dead_letter_bytes
        if headers is None and longest(keys) + longest(values) + FRAMING_BYTES <= limit:
            return np.ones(len(values), dtype=np.bool_)
        sizes = map(size_of, keys, values, repeat(()) if headers is None else headers)
        return np.fromiter((size <= limit for size in sizes), np.bool_, len(values))

    def _unsent(self, row: int, *, finite: bool) -> Refused:
        if finite:
            limit = self._form.max_dead_letter_bytes
            return Refused(row, "too_large", f"The score record would be larger than the producer's {limit} bytes.")
        return Refused(row, "model_not_finite", "The model's score or p-value is not a finite number.")

    def _dead_letter(self, refused: Refused, records: Records) -> OutgoingRecord:
        return dead_letter(
            refused, records, topic=self._form.dead_letter_topic, max_bytes=self._form.max_dead_letter_bytes
        )


def _keys(keys: list[bytes | None], entities: Sequence[str]) -> list[bytes]:
    if None not in keys:
        return cast("list[bytes]", keys)
    return [entity.encode() if key is None else key for key, entity in zip(keys, entities, strict=True)]


def _some(explanation: Explanation, wanted: Bool) -> Explanation:
    if wanted.all():
        return explanation
    return Explanation(explanation.row[wanted], explanation.contribution[wanted], explanation.expected[wanted])


def _only(column: list[_T], wanted: Bool) -> list[_T]:
    return column if wanted.all() else list(itertools.compress(column, wanted))


def _on_its_side(scores: Float32, threshold: float) -> Float32 | NDArray[np.float64]:
    """Scores to write in the shortest decimals; or the exact ones, where the shortest lie beyond the threshold.

    They read back as the same float32, so that only a threshold which does so too can lie between.
    """
    if not (scores == np.float32(threshold)).any():
        return scores
    exact, short = scores.astype(np.float64), shortest(scores)
    return np.where((exact > threshold) == (short > threshold), short, exact)


@lru_cache(_PARTITIONS)
def _render_topic(place: TopicPartition) -> str:
    identity = json_text(f"{place.topic}-{place.partition}-")
    return f'{{"schema_version":1,"id":{identity[:-1]}'


@lru_cache(_PARTITIONS)
def _render_source(place: TopicPartition) -> str:
    source = {"topic": place.topic, "partition": place.partition}
    return f'"}},"source":{json_text(source)[:-1]},"offset":'


@lru_cache(1)
def _window_texts(window: int) -> list[str]:
    """For each length, not truncated and truncated."""
    return [
        f',"length":{length},"truncated":{json_text(truncated)},"digest":"'
        for length in range(window + 1)
        for truncated in (False, True)
    ]
