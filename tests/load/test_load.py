"""The short forms of what runs for an hour: overload, many entities, a soak; and the scales that weigh them."""

import os
from collections.abc import Iterator

import pytest

from tests.end_to_end.job import Job
from tests.load.__main__ import entities, overload, place, soak
from tests.load.watch import MIB, Sample, Watch, settled, slope_mib_an_hour
from tests.topics import Topics


@pytest.fixture
def job(topics: Topics) -> Iterator[Job]:
    with place(topics) as made:
        yield made


def test_a_worker_that_is_given_more_than_it_can_do_keeps_its_bounds(job: Job) -> None:
    told = overload(job, minutes=0.1, entities=500)
    assert told["broken"] == []
    assert told["answered"] == told["written"] > 10_000


def test_many_entities_cost_a_row_each(job: Job) -> None:
    assert entities(job, count=30_000)["broken"] == []


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
