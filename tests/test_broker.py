"""The broker of the tests themselves: records come back as they were written, on a broker that others may share."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests import broker as broker_module
from tests.broker import CHECKOUT, Broker, BrokerError, Cluster, free_port
from tests.log_record import LogRecord
from tests.topics import Topics


def test_records_come_back_as_they_were_written(topics: Topics) -> None:
    topic = topics.create("round-trip", partitions=2)
    full = LogRecord(topic, 1, -1, 1_700_000_000_123, b"key", b"value", (("header", b"1"), ("header", None)))
    bare = LogRecord(topic, 0, -1, 1, None, None)
    written = topics.write([full, bare])
    assert topics.read(topic) == written == [bare._replace(offset=0), full._replace(offset=0)]


def test_a_test_owns_its_topics(topics: Topics) -> None:
    assert topics.create("same") != topics.create("same")


def test_a_restarted_broker_keeps_its_address_its_records_and_what_it_printed() -> None:
    with Broker() as own:
        topics = Topics(own.bootstrap)
        topic = topics.create()
        written = topics.write([LogRecord(topic, 0, -1, 5, b"k", b"v")])
        own.kill()
        printed = own.log.read_text()
        own.start()
        assert Topics(own.bootstrap).read(topic) == written
        assert printed
        assert own.log.read_text().startswith(printed)
        with pytest.raises(BrokerError, match="was started already"):
            own.start()


def test_a_port_is_one_run_s_alone_until_its_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from tests.broker import free_port; print(free_port(), flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as other:
        port = int(other.stdout.readline())
        monkeypatch.setattr(random.SystemRandom, "sample", lambda *_: [port])
        with pytest.raises(BrokerError, match="ports is free"):
            free_port()
        other.communicate("\n")
    assert free_port() == port


def test_a_cluster_goes_on_without_one_of_its_three_brokers() -> None:
    with Cluster(3) as own:
        topics = Topics(own.bootstrap)
        topic = topics.create()
        written = topics.write([LogRecord(topic, 0, -1, 5, b"k", b"v")])
        own.nodes[0].kill()
        written += topics.write([LogRecord(topic, 0, -1, 6, b"k", b"w")])
        own.nodes[0].start()
        own.nodes[1].kill()
        assert topics.read(topic) == written


@pytest.mark.parametrize(("error", "kept"), [(None, []), (KeyboardInterrupt, []), (AssertionError, ["kafka-1.log"])])
def test_the_log_outlives_the_broker_only_where_something_failed(
    error: type[BaseException] | None, kept: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(broker_module, "DATA", tmp_path)
    own = Broker()
    own._folder = tmp_path / "kafka-1"  # as if it had run, which takes seconds
    own._folder.mkdir()
    own.log.write_text("words")
    own.__exit__(error)
    assert [path.name for path in tmp_path.iterdir()] == kept


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match="Java is missing: install Java 17"):
        broker_module.install()


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(BrokerError, match=r"There is no 0\.8\.xml"):
        broker_module.install("0.8")
