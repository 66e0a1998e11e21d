"""A batch of records in, the columns of its valid events out; whatever is not valid is listed with its reason.

A quick look takes what is surely valid, column by column. All other records, and only they, get a second look, which
knows the rules one by one and has the last word. The two agree on what is valid, so nothing depends on which of them
decides, nor on the records beside it. The decoder knows no Kafka and no settings.
"""

from collections.abc import Sequence

import numpy as np

from worker.batch import Events, Records, Refused
from worker.event_format import EventFormat, JsonScalar, Path
from worker.quick_look import Columns, Look, QuickLook
from worker.second_look import Refusal, SecondLook, Skipped, Valid, Verdict

__all__ = ["DECODER_VERSION", "EventFormat", "JsonDecoder", "JsonScalar", "Path"]

DECODER_VERSION = "json-1"
"""Changes whenever a record may be judged or read otherwise than before (rule R4)."""


class JsonDecoder:
    """Decodes JSON records by one format."""

    def __init__(self, form: EventFormat) -> None:
        self._form = form
        self._quick_look = QuickLook.suited_to(form)
        self._second_look = SecondLook(form)

    def decode(self, records: Records) -> Events:
        """The batch's valid events, its refused and its skipped rows: every row is in exactly one of them."""
        look = self._doubt_all(len(records)) if self._quick_look is None else self._quick_look.look(records)
        judged = [(row, self._judge(records, row)) for row in look.doubtful]
        late = [(row, verdict) for row, verdict in judged if isinstance(verdict, Valid)]
        columns = _merged(look.columns, _columns_of(late, look.columns)) if late else look.columns
        skipped = np.array([row for row, verdict in judged if isinstance(verdict, Skipped)], dtype=np.int64)
        return Events(
            row=columns.row,
            entity=columns.entity,
            event_time=columns.event_time,
            features=columns.features,
            context=columns.context,
            refused=[Refused(row, v.reason, v.message) for row, v in judged if isinstance(v, Refusal)],
            skipped=np.sort(np.concatenate([look.skipped, skipped])),
        )

    def _judge(self, records: Records, row: int) -> Verdict:
        return self._second_look.judge(
            value=records.value[row], key=records.key[row], timestamp=int(records.timestamp[row])
        )

    def _doubt_all(self, rows: int) -> Look:
        nothing = np.empty(0, dtype=np.int64)
        features = np.empty((0, len(self._form.features)), dtype=np.float32)
        columns = Columns(nothing, [], nothing, features, [] if self._form.passthrough else None)
        return Look(columns, nothing, list(range(rows)))


def _columns_of(late: Sequence[tuple[int, Valid]], like: Columns) -> Columns:
    return Columns(
        row=np.array([row for row, _ in late], dtype=np.int64),
        entity=[event.entity for _, event in late],
        event_time=np.array([event.event_time for _, event in late], dtype=np.int64),
        features=np.array([event.features for _, event in late], dtype=np.float32),
        context=None if like.context is None else [event.context or b"{}" for _, event in late],
    )


def _merged(one: Columns, other: Columns) -> Columns:
    row = np.concatenate([one.row, other.row])
    order = np.argsort(row)
    entity = one.entity + other.entity
    context = None if one.context is None or other.context is None else one.context + other.context
    return Columns(
        row=row[order],
        entity=[entity[place] for place in order],
        event_time=np.concatenate([one.event_time, other.event_time])[order],
        features=np.concatenate([one.features, other.features])[order],
        context=None if context is None else [context[place] for place in order],
    )
