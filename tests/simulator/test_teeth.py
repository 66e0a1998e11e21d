"""Workers with a defect put in: the simulator finds each of them within a few hundred schedules."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaException, TopicPartition
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

import worker.assignment
from tests.simulator.machine import Simulation, schedules_of
from worker.errors import ProducerLostError
from worker.pipeline import Pipeline
from worker.replay import Committed, Plan, resume
from worker.sink import Committer, Settle, TransactionalSink
from worker.source import Source
from worker.windows import WindowStore

Patches = Sequence[AbstractContextManager[object]]


def windows_kept_before_the_commit() -> Patches:
    extend, keep = WindowStore.extend, WindowStore.keep

    def extend_for_good(self: WindowStore, *arguments: object, **named: object) -> object:
        windows = extend(self, *arguments, **named)  # type: ignore[arg-type]
        keep(self)
        return windows

    return [
        patch.object(WindowStore, "extend", extend_for_good),
        patch.object(WindowStore, "keep", lambda self, batches=1: None),
    ]


def no_rewind_after_an_abort() -> Patches:
    return [patch.object(Source, "rewind", lambda self: None)]


def offsets_committed_after_the_transaction() -> Patches:
    start_commit = TransactionalSink.start_commit

    def start(self: TransactionalSink, offsets: list[TopicPartition], group: Committer, *, timeout_s: float) -> Settle:
        settle = start_commit(self, [], group, timeout_s=timeout_s)

        def settle_and_commit() -> None:
            settle()
            try:
                group.commit(offsets)
            except KafkaException as failure:
                raise ProducerLostError("the offsets") from failure

        return settle_and_commit

    return [patch.object(TransactionalSink, "start_commit", start)]


def no_replay_on_assignment() -> Patches:
    def go_on(committed: Committed, **named: object) -> Plan:
        plan = resume(committed, **named)  # type: ignore[arg-type]
        return replace(plan, position=plan.committed)

    return [patch.object(worker.assignment, "resume", go_on)]


def the_oldest_needed_offset_from_what_was_read_ahead() -> Patches:
    return [patch.object(WindowStore, "_oldest_now", lambda self: self._entities.oldest())]


def a_time_out_taken_for_a_commit() -> Patches:
    settle = Pipeline._settle

    def believe(self: Pipeline) -> None:
        committing = self._committing
        try:
            settle(self)
        except ProducerLostError:
            if committing is not None:
                self._source.note_committed(committing.offsets)
                self._rooms.windows.keep(len(committing.batches))
            self._sink.renew(10.0)

    return [patch.object(Pipeline, "_settle", believe)]


def group_metadata_taken_once() -> Patches:
    taken: dict[Source, object] = {}
    metadata = Source.group_metadata

    def remember(self: Source) -> object:
        return taken.setdefault(self, metadata(self))

    return [patch.object(Source, "group_metadata", remember)]


def warm_windows_taken_as_they_are() -> Patches:
    return [patch.object(Source, "_fits", lambda self, place, warm, plan: True)]


DEFECTS: Sequence[Callable[[], Patches]] = (
    windows_kept_before_the_commit,
    no_rewind_after_an_abort,
    offsets_committed_after_the_transaction,
    no_replay_on_assignment,
    the_oldest_needed_offset_from_what_was_read_ahead,
    a_time_out_taken_for_a_commit,
    group_metadata_taken_once,
    warm_windows_taken_as_they_are,
)
WITHIN = 1_500
"""Schedules."""


@contextmanager
def built_with(defect: Callable[[], Patches]) -> Iterator[None]:
    """Every worker has it."""
    with ExitStack() as patches:
        for each in defect():
            patches.enter_context(each)
        yield


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(defect: Callable[[], Patches]) -> None:
    machine = seed(1)(type("Schedules", (Simulation,), {}))
    logging.disable(logging.WARNING)
    try:
        with built_with(defect), pytest.raises(AssertionError) as found:
            run_state_machine_as_test(machine, settings=schedules_of(WITHIN, shrink=False))
    finally:
        logging.disable(logging.NOTSET)
    assert found.value.kinds  # type: ignore[attr-defined]  # a broken promise, and no mistake of the simulator's own
