"""The node that a run of the checks shares, a broker that its pods reach, and jobs for releases to work on."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.chaos.traffic import ANY_TIME, traffic
from tests.end_to_end.job import QUICK_CLASSIC, Job
from tests.kubernetes.machine import ADDRESS, FOLDER, PROGRAMS, furnish
from tests.kubernetes.node import Node, node
from tests.kubernetes.prepared import PASSWORD, USER, prepared
from tests.topics import Topics

CPU = "250m"
"""What a worker under load may have, so that its speed does not hang on what else the machine does."""

BACKLOG = 60_000
DRAINED_S = 300

BROKER = {"super.users": f"User:ANONYMOUS;User:{USER}"}


@pytest.fixture(scope="session")
def the_node() -> Iterator[Node]:
    if os.getpid() != 1 or not {FOLDER, PROGRAMS} <= os.environ.keys():
        raise RuntimeError("These checks need a machine of their own: `make test-kubernetes` makes it, and runs them.")
    folder = Path(os.environ[FOLDER])
    furnish(folder)
    with node(Path(os.environ[PROGRAMS]), folder) as started:
        yield started


@pytest.fixture(scope="session")
def guarded(the_node: Node) -> Iterator[Broker]:
    """Pods reach it, and sign in there."""
    with Broker(users={USER: PASSWORD}, properties=BROKER, host=ADDRESS) as broker:
        yield broker


@pytest.fixture
def job(guarded: Broker, tmp_path: Path) -> Iterator[Job]:
    with job_on(guarded, tmp_path) as made:
        yield made


@contextmanager
def job_on(broker: Broker, folder: Path) -> Iterator[Job]:
    """A job whose workers are pods."""
    topics = Topics(broker.bootstrap)
    made = Job(topics, folder, consumer=QUICK_CLASSIC, topic_config=ANY_TIME)
    made.set({"kafka": {"bootstrap_servers": broker.sasl_bootstrap}, "alert": {"threshold": 0.7}})
    folder.chmod(0o755)  # pods that are not root read the model there
    try:
        yield made
    finally:
        topics.delete_all()


@pytest.fixture(scope="session")
def half_speed(the_node: Node, guarded: Broker, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Events a second: half of what one worker answers that has enough to do."""
    with (
        job_on(guarded, tmp_path_factory.mktemp("speed")) as job,
        prepared(the_node, job, "speed", cpu=CPU) as release,
    ):
        job.write(list(islice(traffic(seed=1), BACKLOG)))
        release.install(wait=False)
        the_node.api.wait_until(lambda: answered(job) > BACKLOG // 6, release.told)
        before, began_s = answered(job), time.monotonic()
        job.wait_until_done(DRAINED_S)
        return int((answered(job) - before) / (time.monotonic() - began_s) / 2)


def answered(job: Job) -> int:
    """How far its group has come, in all."""
    return sum(job.committed().values())


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tells a figure to whoever watches."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")  # noqa: T201 - the checks' output

    return line
