"""The short forms of what runs for an hour: overload, many entities, churn, a soak; and the scales that weigh them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.mutants import Change, Mutant, mutated
from tests.end_to_end.job import Job
from tests.load.__main__ import churn, count_out, entities, overload, place, soak, wrong_counts
from tests.load.watch import MIB, Sample, Watch, settled, slope_mib_an_hour
from tests.log_record import LogRecord
from tests.topics import Topics


@pytest.fixture
def job(topics: Topics) -> Iterator[Job]:
    with place(topics) as made:
        yield made


def test_a_worker_that_is_given_more_than_it_can_do_keeps_its_bounds(job: Job) -> None:
    told = overload(job, minutes=0.1, entities=500)
    assert told["broken"] == []
    assert told["answered"] == told["written"] > 10_000


COUNT = 30_000


def test_many_entities_cost_a_row_each_and_the_next_worker_has_them_all(job: Job) -> None:
    told = entities(job, count=COUNT)
    assert told["broken"] == []
    assert told["answered"] == 2 * COUNT
    assert told["held_again"] > COUNT


def planted(folder: Path, change: Change) -> dict[str, str]:
    """What a worker's environment says, so that it is one with this change."""
    mutated(Mutant("planted", [], [change]), folder)
    return {"PYTHONPATH": str(folder)}


def test_a_store_that_holds_all_rows_of_a_window_for_an_entity_seen_once_passes_the_bound(
    job: Job, tmp_path: Path
) -> None:
    take = "        taken = self._rows.take(len(events))\n"
    greedy = Change("windows.py", take, f"{take}        self._rows.take(len(made) * (self._window - 1))\n")
    told = entities(job, count=COUNT, environment=planted(tmp_path / "greedy", greedy))
    assert told["broken"] == ["memory passed its bound"]


def test_entities_that_come_and_go_leave_nothing_behind(job: Job) -> None:
    told = churn(job, lookback=1_000, times=5)
    assert told["broken"] == []
    assert told["entities"] == 5 * told["fit"] > 10_000
    assert told["most_held"] > told["fit"] // 4


def test_a_store_that_forgets_nobody_is_found_out(job: Job, tmp_path: Path) -> None:
    sweep = "        for partition in due.tolist():\n"
    faithful = Change("windows.py", sweep, "        for partition in ():\n")
    told = churn(job, lookback=1_000, times=3, environment=planted(tmp_path / "faithful", faithful))
    assert told["broken"] == ["more entities are held than fit"]


def test_what_the_topics_hold_is_counted_by_partition(job: Job) -> None:
    job.topics.write([LogRecord(job.inputs[0], number % 2, -1, 5, b"k", b"v") for number in range(10)])
    scores = [LogRecord(job.scores, 0, -1, 5, b"k", b"v")] * 5 + [LogRecord(job.scores, 1, -1, 5, b"k", b"v")] * 4
    job.topics.write_in_transaction(scores, commit=True)
    job.topics.write_in_transaction(scores, commit=False)
    job.topics.write([LogRecord(job.dead, 0, -1, 5, b"k", b"v")])
    with count_out(job) as tally:
        assert wrong_counts(job, tally) == {
            f"{job.scores}-1": "4 where 5 are to be",
            f"{job.dead}-0": "1 where 0 are to be",
        }


def test_steady_load_leaves_descriptors_and_threads_as_they_are(job: Job) -> None:
    told = soak(job, minutes=0.1, a_second=None, entities=100)
    assert told["broken"] == []
    assert told["answered"] == told["written"] > 5_000
    assert told["a_second"] > 500


def grown(mib_an_hour: float, *, hours: float) -> list[Sample]:
    steps = range(int(hours * 60) + 1)
    return [Sample(60.0 * step, int((100 + mib_an_hour * step / 60) * MIB), 10, 5) for step in steps]


def test_growth_is_told_by_the_hour_and_not_before_the_caches_are_full() -> None:
    samples = [*grown(400, hours=0.4), *(each._replace(at_s=each.at_s + 1_800) for each in grown(2, hours=1.5))]
    assert slope_mib_an_hour(settled(samples, warm_up=0.25)) == pytest.approx(2, abs=0.2)
    assert slope_mib_an_hour(samples[:1]) == 0


def test_a_process_is_looked_at_until_it_ends() -> None:
    with Watch(os.getpid(), every_s=0.01) as watch:
        pass
    assert watch.most_mib > 10
    assert watch.samples[0].descriptors > 2
    assert watch.samples[0].threads >= 2
    with Watch(2**22 + 1) as nobody:  # no process has such a number
        pass
    assert nobody.samples == []
