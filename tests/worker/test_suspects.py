"""Records that kill the process that scores them: who is suspected, who is convicted, and what becomes of the others.

A process that dies is a detector that raises what nothing catches; the trial is the real one, with a real model that
ends (or never leaves) the runtime for large values.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition
from hypothesis import given
from hypothesis import strategies as st

from schemas.checkpoint import MOST_SKIPPED, Checkpoint, skipping
from tests.artifacts import make_artifact
from tests.bus_worker import BusWorker, detector_of
from tests.least_settings import least_settings
from tests.log_record import LogRecord
from tests.oracle import Report
from tests.worker.test_pipeline import GROUP, Model, Site, timed_out, told
from worker import pipeline as pipeline_module
from worker.batch import Events, Int64, Records, Scores, TopicPartition, Windows
from worker.detector import Detector
from worker.errors import TransactionAbortedError
from worker.model_store import load_artifact
from worker.suspects import first_culprit, without
from worker.trial import Trial, TrialError

DEADLY = b'{"x":99999,"y":0}'
HARMLESS = b'{"x":1.5,"y":0}'


class ProcessDiedError(BaseException):
    """Passes through everything, as the end of a process does."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = make_artifact(tmp_path_factory.mktemp("model") / "m.onnx", window=4, min_length=2, crash_above=1e6)
    artifact = load_artifact(str(path), sha256=None)
    return Model(path.read_bytes(), artifact, detector_of(least_settings(), artifact))


@pytest.fixture
def site(model: Model) -> Iterator[Site]:
    with closing(Site(model)) as made:
        yield made


def write(site: Site, *values: bytes, partition: int = 0) -> None:
    """One entity's events."""
    site.bus.write(LogRecord("events", partition, -1, 1_000, b"m", value) for value in values)


def mortal(worker: BusWorker, *, kills: Callable[[Windows], bool]) -> BusWorker:
    """A worker whose process dies of some windows."""
    detector = worker.pipeline._rooms.detector

    class Mortal:
        def __getattr__(self, name: str) -> object:
            return getattr(detector, name)

        def score(self, windows: Windows, entity: list[str]) -> Scores:
            if kills(windows):
                raise ProcessDiedError
            return detector.score(windows, entity)

    worker.pipeline._rooms = pipeline_module.Rooms(
        decoder=worker.pipeline._rooms.decoder,
        windows=worker.pipeline._rooms.windows,
        detector=Mortal(),
        encoder=worker.pipeline._rooms.encoder,
    )
    return worker


def of_deadly_values(windows: Windows) -> bool:
    return bool((np.nan_to_num(windows.values) > 50_000).any())


def always(windows: Windows) -> bool:
    return len(windows.length) > 0


class ToldTrial:
    """In place of the child process: it knows which values kill. Some tests have the real one, which takes seconds."""

    def __init__(self, detector: Detector) -> None:
        pass

    def close(self) -> None:
        pass

    def kills(self, windows: Windows, entity: list[str]) -> bool:
        return of_deadly_values(windows)


@pytest.fixture
def told_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "Trial", ToldTrial)


def die(site: Site, *, kills: Callable[[Windows], bool]) -> None:
    """A worker starts, works, and dies."""
    worker = mortal(site.worker(), kills=kills)
    with pytest.raises(ProcessDiedError):
        site.work(worker)
    site.kill(worker)


def die_until_done(site: Site, *workers: BusWorker) -> None:
    """Workers die of deadly values, and are followed by others, until one can do all that is left."""
    for _ in range(12):
        workers = workers or (mortal(site.worker(), kills=of_deadly_values),)
        try:
            site.work(*workers)
        except ProcessDiedError:
            for worker in workers:
                site.kill(worker)
            workers = ()
        else:
            return
    raise AssertionError(f"workers go on dying at {site.bus.committed(GROUP, 'events')}")


def attempts(site: Site, partition: int = 0) -> int:
    return site.checkpoint(partition).attempts


# ---- from deaths to a conviction -------------------------------------------------------------------------------------


def test_after_three_deaths_at_one_place_the_record_is_a_dead_letter_and_its_neighbours_are_scored(site: Site) -> None:
    write(site, HARMLESS, HARMLESS, DEADLY, HARMLESS, HARMLESS, HARMLESS)
    for death in range(3):
        die(site, kills=of_deadly_values)
        assert (attempts(site), site.committed(), site.out()) == (death + 1, 0, 0)
    last = mortal(site.worker(), kills=of_deadly_values)
    site.work(last)
    assert site.right(crashed={("events", 0, 2)}) == Report(scored=5, dead=1, skipped=0, repeated=0)
    site.turns(50, last)
    assert attempts(site) == 0


@pytest.mark.usefixtures("told_trial")
def test_a_record_further_on_is_found_where_it_lies(site: Site) -> None:
    """Deaths of several batches in flight convict nobody else: what can be committed before is."""
    write(site, *[HARMLESS] * 25, DEADLY, *[HARMLESS] * 9)
    die_until_done(site)
    assert site.right(crashed={("events", 0, 25)}) == Report(scored=34, dead=1, skipped=0, repeated=0)


@pytest.mark.usefixtures("told_trial")
def test_several_culprits_in_a_batch_are_all_found(site: Site) -> None:
    write(site, DEADLY, HARMLESS, DEADLY, DEADLY)
    for _ in range(3):
        die(site, kills=of_deadly_values)
    site.work(mortal(site.worker(), kills=of_deadly_values))
    culprits = {("events", 0, offset) for offset in (0, 2, 3)}
    assert site.right(crashed=culprits) == Report(scored=1, dead=3, skipped=0, repeated=0)


def test_a_record_that_the_runtime_never_comes_back_from_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_artifact(tmp_path / "m.onnx", window=4, min_length=2, hang_above=1e6)
    artifact = load_artifact(str(path), sha256=None)
    with closing(Site(Model(path.read_bytes(), artifact, detector_of(least_settings(), artifact)))) as site:
        write(site, HARMLESS, DEADLY, HARMLESS)
        for _ in range(3):
            die(site, kills=of_deadly_values)
        monkeypatch.setattr(pipeline_module, "Trial", partial(Trial, patience_s=1.0))
        site.work(mortal(site.worker(), kills=of_deadly_values))
        assert site.right(crashed={("events", 0, 1)}) == Report(scored=2, dead=1, skipped=0, repeated=0)


def test_one_process_tries_all_batches_and_ends_with_the_watch(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ToldTrial] = []

    class Counted(ToldTrial):
        closed = False

        def __init__(self, detector: Detector) -> None:
            started.append(self)

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(pipeline_module, "Trial", Counted)
    write(site, *[HARMLESS] * 3 * site.settings.batch.max_events)
    for _ in range(3):
        die(site, kills=always)
    worker = site.worker()
    site.work(worker)
    assert len(started) == 1
    site.turns(60, worker)  # beyond the next report, which sees that all was read
    assert [trial.closed for trial in started] == [True]


def test_workers_killed_from_outside_convict_nobody(site: Site) -> None:
    write(site, *[HARMLESS] * 6)
    for _ in range(5):
        die(site, kills=always)
    assert attempts(site) == 5
    site.work(site.worker())
    assert site.right() == Report(scored=6, dead=0, skipped=0, repeated=0)


def test_a_successor_keeps_the_record_out_of_its_windows(site: Site) -> None:
    write(site, HARMLESS, DEADLY, HARMLESS)
    for _ in range(3):
        die(site, kills=of_deadly_values)
    last = site.worker()
    site.work(last)
    assert site.checkpoint().skipped == (1,)
    last.end()
    write(site, HARMLESS, HARMLESS)
    successor = mortal(site.worker(), kills=of_deadly_values)
    site.work(successor)
    assert site.right(crashed={("events", 0, 1)}) == Report(scored=4, dead=1, skipped=0, repeated=0)


@pytest.mark.usefixtures("told_trial")
def test_one_partition_s_deaths_convict_nobody_in_another(model: Model) -> None:
    site = Site(model, partitions=2)
    write(site, HARMLESS, DEADLY)
    write(site, HARMLESS, HARMLESS, partition=1)
    die_until_done(site)
    assert site.right(crashed={("events", 0, 1)}) == Report(scored=3, dead=1, skipped=0, repeated=0)


@pytest.mark.usefixtures("told_trial")
def test_at_least_once_finds_it_too(model: Model) -> None:
    site = Site(model, settings=told(delivery="at-least-once"))
    write(site, HARMLESS, DEADLY, HARMLESS)
    for _ in range(3):
        die(site, kills=of_deadly_values)
    site.work(mortal(site.worker(), kills=of_deadly_values))
    assert site.right(crashed={("events", 0, 1)}) == Report(scored=2, dead=1, skipped=0, repeated=0)


# ---- what is no attempt, and what is not in its way ------------------------------------------------------------------


def test_a_healthy_start_is_recorded_once_and_cleared_by_the_first_commit(site: Site) -> None:
    site.write(40)
    seen: list[int] = []
    worker = site.worker()
    for _ in range(40):
        site.turns(1, worker)
        if site.committed() >= 0:
            seen.append(attempts(site))
    assert sorted(set(seen)) == [0, 1]
    assert seen == sorted(seen, reverse=True)


def test_a_start_that_is_ended_in_time_is_none(site: Site) -> None:
    site.write(8)
    for _ in range(5):
        worker = site.worker()
        site.turns(3, worker)
        worker.end()
    site.write(8)
    assert attempts(site) == 0
    site.work(site.worker())
    assert site.right().scored == 16


def test_an_aborted_commit_and_a_lost_producer_are_no_attempts(site: Site) -> None:
    site.write(8)
    die(site, kills=always)
    site.bus.fail_next("commit_transaction", *[timed_out] * 3)
    worker = site.worker()
    site.turns(3, worker)
    assert attempts(site) <= 2
    site.work(worker)
    assert site.right().scored == 8


@pytest.mark.usefixtures("told_trial")
def test_partitions_that_go_during_a_trial_are_left_to_their_new_owner(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(model, partitions=2)
    for partition in range(2):
        write(site, HARMLESS, DEADLY, HARMLESS, partition=partition)
    for _ in range(3):
        die(site, kills=of_deadly_values)
    first = mortal(site.worker("first"), kills=of_deadly_values)
    second: list[BusWorker] = []
    culprit = pipeline_module.first_culprit

    def joined_meanwhile(suspects: Int64, kill: Callable[[Int64], bool]) -> int | None:
        found = culprit(suspects, kill)
        if not second:
            second.append(mortal(site.worker("second"), kills=of_deadly_values))
        return found

    monkeypatch.setattr(pipeline_module, "first_culprit", joined_meanwhile)
    while not second:
        site.turns(1, first)
    die_until_done(site, first, *second)
    culprits = {("events", partition, 1) for partition in range(2)}
    assert site.right(crashed=culprits) == Report(scored=4, dead=2, skipped=0, repeated=0)


def test_staying_a_member_reads_nothing_on(model: Model) -> None:
    site = Site(model, partitions=2)
    first = site.worker("first")
    site.turns(2, first)
    site.write(8)
    site.write(8, partition=1)
    for _ in range(5):
        first.source.stay()
    second = site.worker("second")
    site.turns(1, second)
    with pytest.raises(TransactionAbortedError, match="came or went"):
        first.source.stay()
    site.work(first, second)
    assert site.right().scored == 16


def test_a_worker_that_is_asked_to_end_during_a_trial_commits_nothing_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site, HARMLESS, DEADLY)
    for _ in range(3):
        die(site, kills=of_deadly_values)
    worker = site.worker()

    def asked_to_end(suspects: Int64, kill: Callable[[Int64], bool]) -> int | None:
        worker.stopping = True
        return first_culprit(suspects, kill)

    monkeypatch.setattr(pipeline_module, "first_culprit", asked_to_end)
    for _ in range(9):
        if not worker.stopping:
            worker.turn()
    worker.end()
    assert (site.committed(), site.out()) == (0, 0)
    assert attempts(site) == 3
    monkeypatch.undo()
    site.work(site.worker())
    assert site.right(crashed={("events", 0, 1)}).dead == 1


def test_a_trial_without_a_verdict_convicts_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(trial: Trial, windows: Windows, entity: list[str]) -> bool:
        raise TrialError("it did not start")

    write(site, *[HARMLESS] * 3)
    for _ in range(3):
        die(site, kills=always)
    monkeypatch.setattr(Trial, "kills", fails)
    site.work(site.worker())
    assert site.right().scored == 3


def test_an_operators_reset_forgets_attempts(site: Site) -> None:
    write(site, *[HARMLESS] * 3)
    for _ in range(3):
        die(site, kills=always)
    site.bus.offsets[(GROUP, ("events", 0))] = KafkaTopicPartition("events", 0, 0)
    die(site, kills=always)
    assert attempts(site) == 1


# ---- halving ---------------------------------------------------------------------------------------------------------


@given(rows=st.integers(0, 200), deadly=st.sets(st.integers(0, 200)))
def test_the_first_culprit_is_found_in_few_trials(rows: int, deadly: set[int]) -> None:
    tried: list[int] = []

    def kill(part: Int64) -> bool:
        tried.append(len(part))
        return bool(deadly & set(part.tolist()))

    found = first_culprit(np.arange(rows), kill)
    assert found == min((row for row in deadly if row < rows), default=None)
    assert len(tried) <= 2 + np.ceil(np.log2(max(rows, 1))) + 1


def test_what_kills_but_once_or_only_in_company_is_no_culprit() -> None:
    once = iter([True, True, True, False])
    assert first_culprit(np.arange(2), lambda _: next(once)) is None
    assert first_culprit(np.arange(8), lambda rows: len(rows) > 1) is None


def records(offsets: Sequence[int]) -> Records:
    count = len(offsets)
    return Records(
        partitions=[TopicPartition("events", 0), TopicPartition("events", 1)],
        partition=np.arange(count) % 2,
        offset=np.array(offsets, np.int64),
        timestamp=np.zeros(count, np.int64),
        key=[b"m"] * count,
        value=[b"{}"] * count,
        headers=lambda row: (),
    )


def test_what_is_passed_over_is_refused_and_the_rest_untouched() -> None:
    events = Events(
        row=np.array([0, 1, 3]),
        entity=["a", "b", "d"],
        event_time=np.array([1, 2, 4]),
        features=np.array([[1], [2], [4]], np.float32),
        context=[b"1", b"2", b"4"],
        refused=[],
        skipped=np.array([2]),
    )
    batch = records([7, 7, 8, 9])
    assert without(events, batch, {}) is events
    assert without(events, batch, {0: frozenset({9})}) is events
    left = without(events, batch, {0: frozenset({7}), 1: frozenset({9, 5})})
    assert (left.row.tolist(), left.entity, left.event_time.tolist()) == ([1], ["b"], [2])
    assert (left.features.tolist(), left.context, left.skipped.tolist()) == ([[2]], [b"2"], [2])
    assert [(refused.row, refused.reason) for refused in left.refused] == [(0, "crash"), (3, "crash")]
    assert all(refused.message.endswith(".") for refused in left.refused)


# ---- the checkpoint --------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 2**63 - 1), max_size=100))
def test_the_newest_offsets_that_are_passed_over_fit_the_checkpoint(offsets: set[int]) -> None:
    checkpoint = Checkpoint(lo=2**63 - 1, spec="f" * 16, np=10**6, att="999", skip=skipping(offsets), tr=2**63 - 1)
    read = Checkpoint.decode(checkpoint.encode())
    assert read is not None
    assert read.skipped == tuple(sorted(offsets)[-MOST_SKIPPED:])
    assert read.attempts == 999


@pytest.mark.parametrize("foreign", ["x", "-1", "1.5", "12-15x2", "9" * 30])
def test_what_others_wrote_there_is_no_attempt_and_no_offset(foreign: str) -> None:
    read = Checkpoint(lo=1, spec="a", np=1, att=foreign, skip=f"7,{foreign}")
    assert (read.attempts, read.skipped) == (0, (7,))
