"""One scoring job on a broker: its topics, its settings file, its model, and its workers as processes.

A worker is what a user starts: `anomaly-worker run --config FILE`, watched through its pages, signals and exit code.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from schemas.settings import Settings
from tests.artifacts import make_artifact
from tests.broker import free_port
from tests.end_to_end.stream import MAX_BYTES, Event
from tests.log_record import LogRecord
from tests.oracle import Case, Report, verify
from tests.topics import Topics

COMMAND = str(Path(sys.executable).parent / "anomaly-worker")
READY_TIMEOUT_S = 90.0
DRAIN_TIMEOUT_S = 20.0  # what the contract allows between SIGTERM and exit
DONE_TIMEOUT_S = 60.0

Tree = Mapping[str, object]

QUICK_CLASSIC: Tree = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}  # a killed member is noticed in 3 s


def wait_until(condition: Callable[[], bool], what: Callable[[], str] | str, timeout_s: float) -> None:
    """Return once the condition holds. Raises AssertionError that tells what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


class Worker:
    """One worker process."""

    def __init__(self, config: Path, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self.port = free_port()
        pages = {"ANOMALY_WORKER_HTTP__PORT": str(self.port)}
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [COMMAND, "run", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **pages, **environment},
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def log_name(self) -> str:
        """The file in the job's folder that holds its log."""
        return self._log.name

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self._log.read_text(errors="replace")

    @property
    def ended(self) -> int | None:
        """Its exit code, minus a signal's number, once it has ended."""
        return self._process.poll()

    @property
    def last_words(self) -> str:
        """The last line on standard error: where it failed, one sentence."""
        return self.log.rstrip("\n").rpartition("\n")[2]

    def page(self, path: str) -> tuple[int, str]:
        """A page's status and text; 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 where there is none."""
        families = text_string_to_metric_families(self.page("/metrics")[1])
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def wait_until_ready(self) -> "Worker":
        """Return once it says that it is. Raises AssertionError, with its log, where it ends or takes too long."""
        self.wait_until(lambda: self.page("/readyz")[0] == 200, "it is ready", READY_TIMEOUT_S)
        return self

    def wait_until_scored(self, count: int) -> None:
        """Return once this process has published so many scores."""
        scored = lambda: self.metric("anomaly_worker_records_total", outcome="scored") >= count  # noqa: E731
        self.wait_until(scored, f"it has scored {count}", DONE_TIMEOUT_S)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Return once the condition holds; a worker that ended meanwhile is a failure."""

        def holds() -> bool:
            if self._process.poll() is not None:
                raise AssertionError(f"it ended with {self._process.returncode} before {what}:\n{self.log[-3000:]}")
            return condition()

        wait_until(holds, lambda: f"not seen that {what}:\n{self.log[-3000:]}", timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def exit_code(self, timeout_s: float = DRAIN_TIMEOUT_S) -> int:
        """Wait for its end."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {timeout_s:g} s:\n{self.log[-3000:]}") from None

    def stop(self) -> None:
        """Ask it to end, and see that it ends well within the time allowed."""
        self.signal(signal.SIGTERM)
        code = self.exit_code()
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.log[-3000:]}"

    def kill(self) -> None:
        """End it as a lost machine would."""
        self._process.kill()
        self._process.wait()


class Job:
    """Topics, settings and workers that belong together, under names that nobody else has."""

    def __init__(
        self,
        topics: Topics,
        folder: Path,
        *,
        partitions: Sequence[int] = (4,),
        out: int = 4,
        consumer: Tree = QUICK_CLASSIC,
        topic_config: Mapping[str, str] | None = None,
    ) -> None:
        self.topics = topics
        self.folder = folder
        self.group = f"group-{uuid.uuid4().hex[:10]}"
        self.inputs = [topics.create("events", partitions=count, config=topic_config) for count in partitions]
        self.scores = topics.create("scores", partitions=out, config=topic_config)
        self.dead = topics.create("dead", partitions=1, config=topic_config)
        self.partitions = {**dict(zip(self.inputs, partitions, strict=True)), self.scores: out, self.dead: 1}
        self.model = make_artifact(folder / "model.onnx", features=("x", "y"), window=6, min_length=3)
        self._workers: list[Worker] = []
        self._settings: dict[str, object] = {
            "model": {"uri": str(self.model)},
            "kafka": {
                "bootstrap_servers": topics.bootstrap,
                "group_id": self.group,
                "input_topics": self.inputs,
                "output_topic": self.scores,
                "dead_letter_topic": self.dead,
                "consumer": consumer,
            },
            "events": {"max_bytes": MAX_BYTES, "forward_headers": ["trace"]},
            "start": "earliest",
            "lookback_offsets": 2000,
            "batch": {"max_events": 300, "max_wait_ms": 20},
            "commit_interval_ms": 50,
            "inference": {"provider": "cpu"},
        }

    @property
    def settings(self) -> Settings:
        """What the next worker is told."""
        return Settings.model_validate(self._settings)

    @property
    def settings_file(self) -> str:
        """The same, as it is written: JSON is YAML."""
        return json.dumps(self._settings, indent=1)

    def set(self, changes: Tree) -> None:
        """Change settings for the workers to come; sections are merged, lists and values replaced."""
        self._settings = _merged(self._settings, changes)

    def start(self, **environment: str) -> Worker:
        """Another worker; not waited for."""
        number = len(self._workers)
        config = self.folder / f"worker-{number}.yaml"
        config.write_text(self.settings_file)
        worker = Worker(config, self.folder / f"worker-{number}.log", environment)
        self._workers.append(worker)
        return worker

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self._workers:
            worker.kill()

    def write(self, events: Sequence[Event], *, topic: str | None = None, partition: int = -1) -> list[LogRecord]:
        """Write events to an input topic; the records as they lie there."""
        return self.topics.write([event.to(topic or self.inputs[0], partition) for event in events])

    def committed(self) -> dict[tuple[str, int], int]:
        """What the group has committed in the input topics."""
        return {
            (topic, partition): place.offset
            for topic in self.inputs
            for partition, place in self.topics.committed(self.group, topic).items()
        }

    def wait_until_done(self, timeout_s: float = DONE_TIMEOUT_S) -> None:
        """Return once everything in the input topics is answered: the group stands at their ends, markers included."""

        def behind() -> dict[tuple[str, int], str]:
            committed = self.committed()
            return {
                (topic, partition): f"{committed.get((topic, partition))} of {end}"
                for topic in self.inputs
                for partition, (_, end) in self.topics.ends(topic).items()
                if end > max(0, committed.get((topic, partition), 0))
            }

        logs = lambda: "\n".join(worker.log[-2000:] for worker in self._workers)  # noqa: E731
        wait_until(lambda: not behind(), lambda: f"committed {behind()}\n{logs()}", timeout_s)

    def case(self, **about: object) -> Case:
        """What outputs are held against."""
        case = Case(settings=self.settings, model=self.model.read_bytes(), partitions=self.partitions)
        return replace(case, **about)

    def published(self) -> dict[tuple[str, int], int]:
        """Where the output topics end now."""
        return {
            (topic, partition): end
            for topic in (self.scores, self.dead)
            for partition, (_, end) in self.topics.ends(topic).items()
        }

    def verify(
        self,
        *,
        inputs: Sequence[LogRecord] | None = None,
        since: Mapping[tuple[str, int], int] | None = None,
        **about: object,
    ) -> Report:
        """Hold everything that came out against everything that lies in the input topics.

        `inputs` stands for the input topics where they no longer hold every record; with `since`, only what was
        published from there on is looked at.
        """
        begin = since or {}
        self.topics.wait_until_stable(self.scores, self.dead)
        outputs = [
            record
            for record in self.topics.read(self.scores, self.dead)
            if record.offset >= begin.get((record.topic, record.partition), 0)
        ]
        return verify(
            self.case(committed=self.committed(), **about),
            inputs=self.topics.read(*self.inputs) if inputs is None else inputs,
            scores=[record for record in outputs if record.topic == self.scores],
            dead_letters=[record for record in outputs if record.topic == self.dead],
        )


def _merged(base: Tree, changes: Tree) -> dict[str, object]:
    merged = dict(base)
    for name, value in changes.items():
        inner = base.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
