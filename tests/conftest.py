"""The broker that a test run shares, and topics of one's own for each test."""

import os
from collections.abc import Iterator

import pytest

from tests.broker import Broker
from tests.topics import Topics


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The Apache Kafka of this run, started when the first test asks for it."""
    with Broker() as started:
        yield started
        if request.session.testsfailed:
            started.keep_log()


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Where the shared broker listens; the environment's KAFKA_BOOTSTRAP names one that is there already."""
    return os.environ.get("KAFKA_BOOTSTRAP") or request.getfixturevalue("broker").bootstrap


@pytest.fixture
def topics(bootstrap: str) -> Iterator[Topics]:
    """Creates topics under unique names, and deletes them when the test is over."""
    made = Topics(bootstrap)
    yield made
    made.delete_all()
