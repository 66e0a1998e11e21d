"""The parts of a chaos run, each alone: a verifier that cannot fail proves nothing."""

import contextlib
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.settings import EventSettings
from tests.chaos import evidence
from tests.chaos.deployment import PROBABILITIES, RECOVERED, deck
from tests.chaos.ground import Ground
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy
from tests.chaos.traffic import BREAKS_THE_MODEL, Ledger, traffic
from tests.end_to_end.stream import MAX_BYTES
from tests.log_record import LogRecord
from tests.oracle import Dead, verdict
from worker import pipeline
from worker.failpoints import NAMES


def test_a_deck_aims_at_every_failpoint_in_turn_and_has_zombies() -> None:
    aims = deck(random.Random(1), NAMES, kills=2 * len(NAMES), zombies=2, zombie_s=(5, 8))
    assert Counter(aim.name for aim in aims if aim.action == "kill") == Counter(dict.fromkeys(NAMES, 2))
    zombies = [aim for aim in aims if aim.action.startswith("stop=")]
    assert len(zombies) >= 2
    assert "offsets_sent" in {aim.name for aim in zombies}
    assert PROBABILITIES.keys() < set(NAMES)


def test_the_traffic_has_bad_events_of_every_kind_and_few_entities_have_most() -> None:
    events = list(islice(traffic(1), 40_000))
    verdicts = (verdict(event.to("events"), EventSettings(max_bytes=MAX_BYTES), ("x", "y")) for event in events)
    reasons = Counter(found.reason for found in verdicts if isinstance(found, Dead))
    decoders = "empty too_large undecodable wrong_type no_entity bad_timestamp not_finite missing_features"
    assert set(reasons) == set(decoders.split())
    assert 0.01 < reasons.total() / len(events) < 0.04
    assert any(event.value == BREAKS_THE_MODEL for event in events)
    by_key = sorted(Counter(event.key for event in events).values(), reverse=True)
    assert len(by_key) > 500
    assert sum(by_key[:20]) > len(events) / 2


def test_what_explains_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evidence, "KEPT", tmp_path / "kept")
    job, node = tmp_path / "job", SimpleNamespace(log=tmp_path / "printed", data=tmp_path / "data")
    for path in (job / "worker-0.log", node.data / "scores-0" / "00.log", node.data / "scores-0" / "00.index"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words")
    node.log.write_text("words")
    stage = SimpleNamespace(job=SimpleNamespace(folder=job), cluster=SimpleNamespace(nodes=[node]))
    ledger = Ledger()
    ledger.add(LogRecord("events", 0, 7, 5, b"k", b"v"))
    plan = Plan(seed=1, minutes=1, kills=1)
    kept = evidence.keep(plan, stage, happened=["a kill"], ledger=ledger, faults=[{"kind": "lost"}])
    found = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    assert found == [
        *("broker-1.log", "broker-1/scores-0/00.log", "faults.jsonl", "happened.txt", "ledger.jsonl", "worker-0.log"),
    ]
    assert '["events", 0, 7]' in (kept / "ledger.jsonl").read_text()
    assert (kept / "happened.txt").read_text() == "a kill\n"


def test_a_fault_that_strikes_nobody_is_not_counted() -> None:
    faults = ("kill at random", "SIGTERM", "SIGSTOP")
    job = SimpleNamespace(group="g", inputs=["events"])
    nemesis = Nemesis(Plan(seed=1, minutes=1, kills=1, faults=faults), Ground(job, None, []))  # type: ignore[arg-type]
    for _ in faults:
        nemesis._strike_once()
    assert nemesis.faults == dict.fromkeys(faults, 0)
    signals: list[object] = []
    for replica in nemesis._replicas[2:]:
        replica.worker = SimpleNamespace(ended=None, signal=signals.append, kill=lambda: signals.append("kill"))
    for _ in faults:
        nemesis._strike_once()
    assert nemesis.faults == dict.fromkeys(faults, 1)
    assert set(signals) == {"kill", signal.SIGTERM, signal.SIGSTOP}


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that says everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy() as made:
        made.upstream_port = server.getsockname()[1]
        threading.Thread(target=echo, args=[server], daemon=True).start()
        yield made


def echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=echo_one, args=[connection], daemon=True).start()


def echo_one(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while chunk := connection.recv(1000):
            connection.sendall(chunk)


def test_answers_come_late_are_withheld_and_come_after_all(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"a")
        assert client.recv(10) == b"a"
        proxy.delay(0.3)
        began = time.monotonic()
        client.sendall(b"b")
        assert client.recv(10) == b"b"
        assert time.monotonic() - began >= 0.3
        proxy.delay(0)
        proxy.withhold_answers()
        client.sendall(b"c")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(5)
        proxy.heal()
        assert client.recv(10) == b"c"


def test_what_is_dropped_never_arrives_and_ends_with_the_connection(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"a")
        assert client.recv(10) == b"a"
        proxy.drop()
        client.sendall(b"b")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(5)
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"c")
        assert client.recv(10) == b"c"


def test_connections_are_cut(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"a")
        assert client.recv(10) == b"a"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_recoveries_are_counted_by_what_a_worker_logs() -> None:
    code = Path(pipeline.__file__).read_text(encoding="utf-8")
    assert [words for words in RECOVERED.values() if f'"{words}"' not in code] == []
