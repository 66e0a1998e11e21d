"""A worker on a bus: the real source, sink, rooms and corridor, one turn at a time.

It knows no test: clients, clock and pause are handed in, and everything else is as `worker.app` joins it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, Producer

from schemas.settings import Settings
from tests.memory_bus import MemoryBus
from tests.simulator.process import Process
from worker.assignment import Outlook, Planner, ReadRules
from worker.bounded import beside
from worker.decoder import JsonDecoder
from worker.detector import Detector, ExplainRule
from worker.encoder import Encoder
from worker.formats import event_format, output_format, spec, window_format
from worker.metrics import Metrics
from worker.model_store import Artifact
from worker.pipeline import Pace, Pipeline, Rooms
from worker.probes import Health
from worker.recently import Recently
from worker.sink import IdempotentSink, Sink, TransactionalSink
from worker.source import Source
from worker.traces import Untraced
from worker.windows import WindowStore

TRANSACTION_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where workers run: how they get their clients, and whose clock they live by."""

    make_consumer: Callable[[], Consumer]
    make_producer: Callable[[str | None], Producer]
    clock: Callable[[], float]
    pause: Callable[[float], None]
    outlook: Outlook
    run: Callable[[Callable[[], None]], Future[None]] = beside
    incremental: bool = True
    metrics: Metrics = field(default_factory=Metrics)


def in_memory(
    bus: MemoryBus,
    group: str,
    *,
    process: Process | None = None,
    late_commits: bool = False,
    eager: bool = False,
    linger_ms: int = 5,
    metrics: Metrics | None = None,
) -> Place:
    """On the bus in memory, where a pause moves the bus's clock.

    A commit is done as soon as it is begun, or not before it is waited for: whatever is between lies between the two.
    An eager consumer gives away all its partitions in each rebalance.
    """
    life = process or Process(bus)
    assignor = "range" if eager else "cooperative-sticky"
    membership = {"group.id": group, "enable.partition.eof": True, "partition.assignment.strategy": assignor}

    def pause(seconds: float) -> None:
        bus.now_s += seconds

    def make_producer(transactional_id: str | None) -> Producer:
        named = {"transactional.id": transactional_id} if transactional_id else {}
        times = {"transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1000, "linger.ms": linger_ms}
        return bus.producer({**times, **named}, life)

    return Place(
        make_consumer=lambda: bus.consumer(membership, life),
        make_producer=make_producer,
        clock=bus.clock,
        pause=pause,
        outlook=bus,
        run=_Late if late_commits else _at_once,
        incremental=not eager,
        metrics=metrics or Metrics(),
    )


def _at_once(call: Callable[[], None]) -> Future[None]:
    """The bus in memory has one thread: what is begun there is done, and what went wrong is told when it is asked."""
    done: Future[None] = Future()
    try:
        done.set_result(call())
    except Exception as failure:  # noqa: BLE001 - raised again where it is asked
        done.set_exception(failure)
    return done


class _Late(Future[Any]):
    """A call that is not made before it is waited for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - as the base class
        if not self.done():
            self.set_result(self._call())
        return super().result(timeout)


class _LateInference:
    """In place of the thread: batches stay in flight for as long as they may, the same in every run."""

    def __init__(self) -> None:
        self._begun: list[_Late] = []

    def submit(self, call: Callable[..., Any], *arguments: object) -> Future[Any]:
        self._begun.append(_Late(lambda: call(*arguments)))
        return self._begun[-1]

    def finish(self) -> None:
        """All that has begun."""
        while self._begun:
            begun = self._begun.pop()
            if not begun.cancelled():
                begun.result()

    def shutdown(self, **_: object) -> None:
        pass


class BusWorker:
    """One worker. `turn` is one turn of its loop with all that a fault in it leads to; WorkerErrors come through."""

    def __init__(
        self,
        place: Place,
        settings: Settings,
        artifact: Artifact,
        detector: Detector,
        *,
        output_partitions: int,
        transactional_id: str = "worker",
        late: bool = True,
    ) -> None:
        self.stopping = False
        self.metrics = place.metrics
        self.health = Health(place.clock)
        self.windows = _windows(settings, artifact, detector)
        self.consumer: Any = None
        self.source = self._source(place, settings, artifact)
        self.sink = _sink(place, settings, transactional_id)
        self.pipeline = Pipeline(
            source=self.source,
            sink=self.sink,
            rooms=Rooms(
                decoder=JsonDecoder(event_format(settings.events, artifact.manifest.feature_names)),
                windows=self.windows,
                detector=detector,
                encoder=Encoder(output_format(settings, artifact)),
            ),
            pace=Pace(
                max_events=settings.batch.max_events,
                max_wait_s=settings.batch.max_wait_ms / 1000,
                commit_interval_s=settings.commit_interval_ms / 1000,
            ),
            output_partitions=output_partitions,
            metrics=self.metrics,
            recently=Recently(),
            traces=Untraced(),
            health=self.health,
            stopping=lambda: self.stopping,
            clock=place.clock,
            pause=place.pause,
        )
        self._late_inference = _LateInference()
        if late:
            self.pipeline._inference = self._late_inference

    def _source(self, place: Place, settings: Settings, artifact: Artifact) -> Source:
        def make_consumer(_: Callable[[str], None]) -> Consumer:
            self.consumer = place.make_consumer()
            return self.consumer

        rules = ReadRules(
            start=str(settings.start) if settings.start_time_ms is None else settings.start_time_ms,
            continue_on_gap=settings.on_gap == "continue",
            spec=spec(settings, artifact.manifest),
            lookback_offsets=settings.lookback_offsets,
        )
        topics = settings.kafka.input_topics
        return Source(
            make_consumer,
            topics=topics,
            group_id=settings.kafka.group_id,
            planner=Planner(
                rules,
                group_id=settings.kafka.group_id,
                topics=topics,
                outlook=place.outlook,
                stopping=lambda: self.stopping,
                clock=place.clock,
                pause=place.pause,
            ),
            incremental=place.incremental,
            clock=place.clock,
            pause=place.pause,
        )

    def begin(self) -> None:
        """Join the group."""
        self.pipeline._begin()

    def turn(self) -> None:
        """One turn of the loop."""
        self.pipeline._turn_or_recover()

    def end(self) -> None:
        """What SIGTERM leads to."""
        self.stopping = True
        self.pipeline._end()

    def finish_inference(self) -> None:
        """Let all that is in flight be computed, so that the next turn publishes it."""
        self._late_inference.finish()

    def fail(self) -> None:
        """What an error that ends the worker leads to."""
        self.pipeline._abandon()

    def forget_trial(self) -> None:
        """End the process that tries records, as it ends with its parent."""
        self.pipeline._end_trial()

    @property
    def ready(self) -> bool:
        """What the page /readyz would say."""
        return self.health.ready


def detector_of(settings: Settings, artifact: Artifact) -> Detector:
    """The detector as the settings ask for it; it may serve several workers one after the other."""
    return Detector(
        artifact,
        provider="cpu",
        threads=1,
        explain=ExplainRule(when=settings.explain.when, threshold=settings.alert.threshold),
    )


def _windows(settings: Settings, artifact: Artifact, detector: Detector) -> WindowStore:
    form = window_format(settings, artifact.manifest)
    return WindowStore(
        window=form.window,
        features=form.features,
        lookback_offsets=form.lookback_offsets,
        max_gap_ms=form.max_gap_ms,
        with_elapsed=detector.needs_elapsed,
    )


def _sink(place: Place, settings: Settings, transactional_id: str) -> Sink:
    output_topic = settings.kafka.output_topic
    if settings.delivery == "at-least-once":
        return IdempotentSink(lambda: place.make_producer(None), output_topic=output_topic)
    return TransactionalSink(
        lambda: place.make_producer(transactional_id),
        output_topic=output_topic,
        group_id=settings.kafka.group_id,
        transactional_id=transactional_id,
        transaction_timeout_s=TRANSACTION_TIMEOUT_S,
        clock=place.clock,
        run=place.run,
    )
