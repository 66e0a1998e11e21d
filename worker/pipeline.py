"""The corridor: polls, decodes, windows, scores, encodes, publishes and commits, one batch after the other.

It owns the order of things: what is staged, what is published, what is committed, what is dropped; rooms and doors
know nothing of each other. Inference of one batch, and a commit, run in threads beside, while the next is decoded.
"""

import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np

from schemas.dead_letter import REASON_HEADER
from worker.batch import Events, Int64, Outgoing, Records, Scores, Windows
from worker.bounded import beside
from worker.decoder import JsonDecoder
from worker.detector import Detector
from worker.encoder import Encoder
from worker.errors import DeliveryError, ProducerLostError, TransactionAbortedError
from worker.failpoints import reach
from worker.metrics import Answered, Metrics, missing_by_feature
from worker.probes import Health
from worker.recently import LATEST_ALARMS, Recently
from worker.replay import Plan
from worker.sink import Settle, Sink
from worker.source import Source, ends_of
from worker.suspects import Watches, first_culprit, some, without
from worker.traces import Traced, Traces
from worker.trial import Trial, TrialError
from worker.windows import WindowStore

log = logging.getLogger(__name__)

_IN_FLIGHT = 2
"""Batches under inference while the next is read: one computes, one waits, so that neither thread idles."""

_CALL_TIMEOUT_S = 10.0
_ENDING_TIMEOUT_S = 6.0
"""Calls to the brokers are given less when the worker ends: all of it has 20 s."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_REPORT_EVERY_S = 1.0
_STAY_EVERY_S = 0.2
_COLLECT_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is taken at once, and how long things may wait."""

    max_events: int
    max_wait_s: float
    commit_interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What a batch goes through between the two doors."""

    decoder: JsonDecoder
    windows: WindowStore
    detector: Detector
    encoder: Encoder


@dataclass(frozen=True, slots=True)
class _Staged:
    """A batch whose windows are staged and whose scores are being computed."""

    records: Records
    events: Events
    windows: Windows
    scores: "Future[Scores]"
    traced: Traced | None


@dataclass(frozen=True, slots=True)
class _Published:
    """A batch in the open transaction: no more than its commit needs, for memory just freed is the fastest to fill."""

    ends: dict[int, int]
    answered: Answered
    traced: Traced | None


@dataclass(frozen=True, slots=True)
class _Committing:
    """A commit under way: the next batch is read, decoded and windowed meanwhile, but nothing is published."""

    settle: Settle
    offsets: dict[int, int]
    batches: Sequence[_Published]


class Pipeline:
    """Runs until it is told to stop. `stopping` is looked at once a turn; every wait is bounded."""

    def __init__(  # noqa: PLR0913 - the composition root hands in each part once
        self,
        *,
        source: Source,
        sink: Sink,
        rooms: Rooms,
        pace: Pace,
        output_partitions: int,
        metrics: Metrics,
        recently: Recently,
        traces: Traces,
        health: Health,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._sink = sink
        self._rooms = rooms
        self._pace = pace
        self._output_partitions = output_partitions
        self._metrics = metrics
        self._recently = recently
        self._traces = traces
        self._health = health
        self._stopping = stopping
        self._clock = clock
        self._pause = pause
        self._copartitioned: frozenset[str] = frozenset()
        self._inference = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._staged: deque[_Staged] = deque()
        self._published: list[_Published] = []
        self._committing: _Committing | None = None
        self._watches = Watches(max_events=pace.max_events)
        self._trial: Trial | None = None
        self._commit_due_s = 0.0
        self._report_due_s = 0.0
        self._collect_due_s = clock() + _COLLECT_EVERY_S
        self._pause_s = _FIRST_PAUSE_S
        self._lost = False
        """Whether the brokers know more than we: nothing is committed until they have told what is (R6)."""

    def run(self) -> None:
        """Join, work until told to stop, end cleanly. Raises WorkerError where it cannot go on."""
        try:
            self._work()
            self._end()
        finally:
            self._health.turned(ready=False)
            self._traces.close()
            self._inference.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        try:
            self._begin()
            while not self._stopping():
                self._turn_or_recover()
        except Exception:
            self._abandon()
            raise

    def _begin(self) -> None:
        """The producer first: only then are offsets that an earlier life left pending settled (R2)."""
        while not self._stopping():
            try:
                self._sink.renew(_CALL_TIMEOUT_S)
            except DeliveryError as failure:
                self._wait_after(failure, "the producer cannot start yet")
            else:
                break
        self._source.subscribe(self)

    def _turn_or_recover(self) -> None:
        try:
            self._turn()
        except TransactionAbortedError as failure:
            self._metrics.transaction("aborted")
            self._drop()
            self._source.rewind()
            self._wait_after(failure, "the transaction was aborted, its batches are read again")
        except ProducerLostError as failure:
            self._metrics.transaction("lost")
            self._wait_after(failure, "producer and windows are rebuilt")
            self._rebuild()

    # ---- one turn ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        began_s = self._clock()
        polled = self._source.poll(self._pace.max_events, self._patience_s(began_s))
        self._metrics.stage("poll", self._clock() - began_s)
        reach("after_poll")
        if polled.refill is not None:
            self._refill(polled.refill)
        if polled.live is not None:
            self._take(polled.live)
        if not self._reads_on(more=polled.live is not None):
            self._settle()
            self._publish_scored(all_of_them=polled.live is None)
        now_s = self._clock()
        if self._published and now_s >= self._commit_due_s:
            self._start_commit(self._ends())
        if now_s >= self._report_due_s:
            self._once_a_second(now_s)
        self._health.turned(ready=self._source.ready)

    def _reads_on(self, *, more: bool) -> bool:
        """Whether, while a commit is under way, another batch is read before it is waited for."""
        return more and self._sink.is_committing and self._committing is not None and len(self._staged) <= _IN_FLIGHT

    def _patience_s(self, now_s: float) -> float:
        """How long a poll may wait: not at all while something is under way, else not beyond a due commit."""
        if self._staged or self._committing:
            return 0.0
        if self._published:
            return min(self._pace.max_wait_s, max(0.0, self._commit_due_s - now_s))
        return self._pace.max_wait_s

    def _refill(self, records: Records) -> None:
        """Rows from below the committed offset fill the windows; nothing is emitted (I10)."""
        reach("in_refill")
        events = self._decode(records)
        self._rooms.windows.refill(events, partition=records.partition[events.row], offset=records.offset[events.row])

    def _decode(self, records: Records) -> Events:
        return without(self._rooms.decoder.decode(records), records, self._source.skipped)

    def _extend(self, records: Records, events: Events) -> Windows:
        return self._rooms.windows.extend(
            events, partition=records.partition[events.row], offset=records.offset[events.row]
        )

    def _stage(self, records: Records) -> None:
        traced = self._traces.begin(records)
        began_s = self._clock()
        events = self._decode(records)
        decoded_s = self._clock()
        windows = self._extend(records, events)
        windowed_s = self._clock()
        scores = self._inference.submit(self._score, windows, events.entity)
        self._staged.append(_Staged(records, events, windows, scores, traced))
        reach("staged")
        self._metrics.staged(len(records), {"decode": decoded_s - began_s, "window": windowed_s - decoded_s})

    def _score(self, windows: Windows, entity: list[str]) -> Scores:
        """In the inference thread."""
        began_s = self._clock()
        reach("in_inference")
        scores = self._rooms.detector.score(windows, entity)
        self._metrics.stage("score", self._clock() - began_s)
        return scores

    def _publish_scored(self, *, all_of_them: bool) -> None:
        staged = self._staged
        while staged and (all_of_them or len(staged) > _IN_FLIGHT or staged[0].scores.done()):
            self._publish(staged.popleft())

    def _publish(self, batch: _Staged) -> None:
        scores = batch.scores.result()
        began_s = self._clock()
        outgoing = self._rooms.encoder.encode(
            batch.records, batch.events, batch.windows, scores, copartitioned=self._copartitioned
        )
        encoded_s = self._clock()
        if not self._published:
            self._commit_due_s = began_s + self._pace.commit_interval_s
        # Noted before it is handed over: were that to fail half-way, its windows are dropped like all the others.
        self._published.append(_Published(ends_of(batch.records), self._answered(batch, outgoing), batch.traced))
        self._sink.publish(outgoing)
        self._metrics.stage("encode", encoded_s - began_s)
        self._metrics.stage("publish", self._clock() - encoded_s)

    # ---- records that kill (see `worker.suspects`) -------------------------------------------------------------------

    def _take(self, records: Records) -> None:
        """Stage what was read; with care where workers ended before this one."""
        fresh = self._source.not_begun(records)
        if fresh:
            self._begin_attempt(fresh)
        if not self._watches:
            self._stage(records)
            return
        self._flush()
        if self._watches.suspected:
            self._try_suspects(records, self._watches.suspected)
        self._stage(records)
        self._flush()
        self._watches.passed(records.partition)

    def _begin_attempt(self, places: Sequence[int]) -> None:
        """Recorded before anything from these partitions is scored, together with whatever is to be committed."""
        self._settle()
        self._publish_scored(all_of_them=True)
        self._commit({**self._source.begin_attempt(places), **self._ends()})
        for place in places:
            self._watches.begin(place, before=self._source.watch(place))

    def _flush(self) -> None:
        """Publish and commit all that is in flight."""
        self._settle()
        self._publish_scored(all_of_them=True)
        if self._published:
            self._commit(self._ends())

    def _try_suspects(self, records: Records, places: Sequence[int]) -> None:
        """Score the records of these partitions in another process, and pass over those that kill it."""
        log.warning(
            "workers ended here before: these %d records are first tried in a process of their own", len(records)
        )
        # One process for all batches under suspicion: to start it takes longer than to try a batch.
        trial = self._trial = self._trial or Trial(self._rooms.detector)
        try:
            while (culprit := self._culprit(trial, records, places)) is not None:
                place, offset = int(records.partition[culprit]), int(records.offset[culprit])
                self._source.skip(place, offset)
                partition = records.partitions[place]
                log.warning(
                    "offset %d of %s-%d kills the model's runtime: it becomes a dead letter", offset, *partition
                )
        except TrialError as failure:
            self._end_trial()
            log.warning(
                "records near which workers ended could not be tried, they are scored all the same: %s", failure
            )
        except BaseException:  # the worker is to end, or the group went on without it
            self._end_trial()
            raise

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _culprit(self, trial: Trial, records: Records, places: Sequence[int]) -> int | None:
        """The row of the first record that kills, given that those passed over are in no window."""
        events = self._decode(records)
        windows = self._extend(records, events)
        self._rooms.windows.drop()  # they come again, once it is known which of them are scored

        def kill(rows: Int64) -> bool:
            return trial.kills(some(windows, rows), [events.entity[row] for row in rows.tolist()])

        suspects = np.flatnonzero(np.isin(records.partition[events.row], places))
        culprit = self._meanwhile(lambda: first_culprit(suspects, kill))
        return None if culprit is None else int(events.row[culprit])

    def _meanwhile(self, call: Callable[[], int | None]) -> int | None:
        """What a long call gives, while the group and the probes see a worker that lives."""
        answer = beside(call)
        while not answer.done():
            wait([answer], _STAY_EVERY_S)
            self._health.turned(ready=False)
            if self._stopping():
                raise TransactionAbortedError("the worker was asked to end")
            self._source.stay()
        return answer.result()

    # ---- commits -----------------------------------------------------------------------------------------------------

    def _commit(self, offsets: dict[int, int]) -> None:
        """All that is published, and `offsets`, which are the ends of it and perhaps idle positions."""
        self._start_commit(offsets)
        self._settle()

    def _start_commit(self, offsets: dict[int, int]) -> None:
        settle = self._sink.start_commit(
            self._source.to_commit(offsets, self._oldest_needed), self._source, timeout_s=self._call_timeout_s()
        )
        published, self._published = self._published, []
        self._committing = _Committing(settle, offsets, published)

    def _settle(self) -> None:
        """Wait for the end of the commit under way, if there is one. Only then is it done, and counted."""
        if self._committing is None:
            return
        began_s = self._clock()
        committing, self._committing = self._committing, None
        committing.settle()
        self._source.note_committed(committing.offsets)
        reach("before_keep")
        self._rooms.windows.keep(len(committing.batches))
        self._pause_s = _FIRST_PAUSE_S
        self._metrics.stage("commit", self._clock() - began_s)
        self._metrics.transaction("committed")
        now_s = time.time()
        for batch in committing.batches:
            self._metrics.committed(batch.answered, now_s=now_s)
            self._recently.committed(batch.answered)
            self._traces.committed(batch.traced, batch.answered)

    def _ends(self) -> dict[int, int]:
        ends: dict[int, int] = {}
        for batch in self._published:
            ends.update(batch.ends)
        return ends

    def _oldest_needed(self, place: int, offset: int) -> int:
        return self._rooms.windows.oldest_needed(place, committed=offset)

    def _with_idle_offsets(self) -> dict[int, int]:
        """The ends of what is published and, where nothing is in flight, positions past markers and first starts.

        (Rules R3 and R10.)
        """
        ends = self._ends()
        busy = set(ends)
        for batch in self._staged:
            busy.update(np.unique(batch.records.partition).tolist())
        return {**self._source.idle_offsets(busy), **ends}

    def _answered(self, batch: _Staged, outgoing: Outgoing) -> Answered:
        form = self._rooms.detector.manifest
        return Answered(
            scored=len(outgoing.value),
            skipped=len(batch.events.skipped),
            reasons=[_reason(dict(letter.headers)) for letter in outgoing.dead_letters],
            anomalies=int(outgoing.anomaly.sum()),
            alarms=[outgoing.value[row] for row in np.flatnonzero(outgoing.anomaly)[-LATEST_ALARMS:].tolist()],
            warming=int((batch.windows.length < form.min_length).sum()),
            unknown_entities=batch.scores.result().unknown_entities,
            missing=missing_by_feature(form.feature_names, batch.events.features),
            timestamps_ms=batch.records.timestamp,
        )

    # ---- faults ------------------------------------------------------------------------------------------------------

    def _drop(self) -> None:
        """Forget every staged batch; their records are read again (R5)."""
        for batch in self._staged:
            batch.scores.cancel()
        self._staged.clear()
        self._published.clear()
        self._rooms.windows.drop()

    def _rebuild(self) -> None:
        """A new producer, then every partition as after an assignment, with empty windows (R6)."""
        self._committing = None  # whether it was done, the brokers will say
        self._drop()
        self._lost = True
        while not self._stopping():
            try:
                self._source.keep_alive()
                self._sink.renew(_CALL_TIMEOUT_S)
                self._source.forget_warm()
                self._source.take_up_again()
            except DeliveryError as failure:
                self._drop()
                self._wait_after(failure, "still trying")
            else:
                self._lost = False
                return

    def _wait_after(self, failure: DeliveryError, meaning: str) -> None:
        """Pauses grow with each failure in a row, and start small again after a commit."""
        log.warning("%s: %s", meaning, failure)
        self._health.turned(ready=False)
        if not self._stopping():
            self._pause(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    # ---- rebalances (called inside Source.poll) ----------------------------------------------------------------------

    def partitions_revoked(self, places: Sequence[int]) -> None:
        """Everything in flight is published and committed before the partitions are given away."""
        reach("on_revoke")
        try:
            self._settle()
            self._publish_scored(all_of_them=True)
            offsets = {**self._source.end_watch(self._watches.end(places)), **self._ends()}
            if offsets and not self._lost:
                self._commit(offsets)
        except DeliveryError:
            self._drop()
            raise

    def partitions_lost(self, places: Sequence[int]) -> None:
        """The group went on without us: what is in flight would be fenced."""
        log.warning("the group did not hear from this worker in time and took %d of its partitions", len(places))
        self._watches.end(places)
        try:
            self._settle()
        finally:
            self._drop()
            self._sink.discard()
        raise TransactionAbortedError("the group went on without this worker")

    def partition_assigned(self, place: int, plan: Plan, *, warm: bool) -> None:
        """Windows that do not fit are dropped before the partition is read again; warm ones miss what they missed."""
        self._copartitioned = self._source.copartitioned(self._output_partitions)
        self._watches.end([place])
        if not warm:
            self._rooms.windows.forget(place)
            self._rooms.windows.mark_missing(place, before=plan.missing_before)

    def partition_cold(self, place: int) -> None:
        """Its windows are not worth holding any longer."""
        self._rooms.windows.forget(place)

    # ---- housekeeping and the end ------------------------------------------------------------------------------------

    def _once_a_second(self, now_s: float) -> None:
        self._report_due_s = now_s + _REPORT_EVERY_S
        self._settle()
        self._sink.listen()
        over = self._watches.end(self._watches.over(at_end=self._source.at_end))
        if not self._watches.suspected:
            self._end_trial()
        # A first start is committed anyway (R3): the attempt is recorded with it.
        begun = self._source.begin_attempt(self._source.first_starts)
        offsets = {**begun, **self._source.end_watch(over), **self._with_idle_offsets()}
        if offsets:
            self._commit(offsets)
        lag, refill_remaining = self._source.lag(), self._source.refill_remaining()
        entities, rebalances = self._rooms.windows.entities, self._source.rebalances
        self._metrics.position(lag=lag, refill_remaining=refill_remaining, entities=entities, rebalances=rebalances)
        self._recently.position(lag=lag, refill_remaining=refill_remaining, entities=entities, now_s=now_s)
        if now_s >= self._collect_due_s:
            # Automatic collection is off: it would look at every record of a batch. Young cycles are few.
            self._collect_due_s = now_s + _COLLECT_EVERY_S
            gc.collect(1)

    def _call_timeout_s(self) -> float:
        return _ENDING_TIMEOUT_S if self._stopping() else _CALL_TIMEOUT_S

    def _end(self) -> None:
        """Publish and commit what is in flight, then leave the group."""
        self._health.turned(ready=False)
        self._end_trial()
        reach("on_sigterm")
        try:
            # With a lost producer nothing more is committed: reading stands beyond what was dropped.
            if not self._lost:
                self._commit_the_rest()
        except DeliveryError as failure:
            log.warning("what was in flight could not be committed and will be scored again: %s", failure)
            self._drop()
        finally:
            self._source.close()
            self._sink.close(_ENDING_TIMEOUT_S)

    def _abandon(self) -> None:
        """Let go at once of what nobody will finish: others need not wait until brokers miss this worker."""
        self._end_trial()
        self._let_go(self._settle)
        self._drop()
        self._let_go(partial(self._sink.close, _ENDING_TIMEOUT_S))
        self._let_go(self._source.close)

    @staticmethod
    def _let_go(close: Callable[[], None]) -> None:
        try:
            close()
        except Exception as failure:  # noqa: BLE001 - what ended the worker is the thing to tell
            log.warning("the brokers could not be told of the end: %s", failure)

    def _commit_the_rest(self) -> None:
        self._settle()
        self._publish_scored(all_of_them=True)
        offsets = {**self._source.end_watch(self._watches.end()), **self._with_idle_offsets()}
        if offsets:
            self._commit(offsets)


def _reason(headers: dict[str, bytes | None]) -> str:
    return (headers[REASON_HEADER] or b"").decode()
