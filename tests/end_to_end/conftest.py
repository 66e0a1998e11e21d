"""Jobs for the tests of whole worker processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.job import Job
from tests.topics import Topics

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[MakeJob]:
    """Makes jobs on a cluster; their processes and topics are gone when the test is over."""
    jobs: list[Job] = []

    def make(bootstrap: str, **about: object) -> Job:
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        jobs.append(Job(Topics(bootstrap), folder, **about))
        return jobs[-1]

    yield make
    for job in jobs:
        job.end()
    for job in jobs:
        job.topics.delete_all()


@pytest.fixture
def job(make_job: MakeJob, bootstrap: str) -> Job:
    """A job with four input and four output partitions on the shared broker."""
    return make_job(bootstrap)
