"""The node that a run of the checks shares, a broker that its pods reach, and jobs for releases to work on."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.chaos.traffic import ANY_TIME
from tests.end_to_end.job import QUICK_CLASSIC, Job
from tests.kubernetes.machine import ADDRESS, FOLDER, PROGRAMS, furnish
from tests.kubernetes.node import Node, node
from tests.kubernetes.prepared import PASSWORD, USER
from tests.topics import Topics

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
    topics = Topics(guarded.bootstrap)
    made = Job(topics, tmp_path, consumer=QUICK_CLASSIC, topic_config=ANY_TIME)
    made.set({"kafka": {"bootstrap_servers": guarded.sasl_bootstrap}, "alert": {"threshold": 0.7}})
    tmp_path.chmod(0o755)  # pods that are not root read the model there
    yield made
    topics.delete_all()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tells a figure to whoever watches."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")  # noqa: T201 - the checks' output

    return line
