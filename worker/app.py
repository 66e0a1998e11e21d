"""The composition root: settings in, a running worker out. Things meet here and nowhere else."""

import gc
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from typing import cast

from confluent_kafka import Consumer, Producer

from schemas.settings import Settings
from worker import rows
from worker.assignment import Planner, ReadRules
from worker.client_statistics import INTERVAL_MS, figures_of
from worker.decoder import JsonDecoder
from worker.detector import Detector, ExplainRule
from worker.encoder import Encoder
from worker.formats import event_format, output_format, spec, window_format
from worker.gpu import read_gpu_memory
from worker.kafka_clients import (
    BrokerComplaint,
    Properties,
    brokers_assign,
    client,
    consumer_properties,
    producer_properties,
    transaction_timeout_ms,
)
from worker.metrics import Metrics
from worker.model_store import Artifact, load_artifact
from worker.overview import About, Overview
from worker.pipeline import Pace, Pipeline, Rooms
from worker.probes import Health, Probes
from worker.recently import Recently
from worker.sink import IdempotentSink, Sink, TransactionalSink
from worker.source import Source
from worker.topics import Topics
from worker.traces import OpenTelemetry, Traces, Untraced
from worker.windows import WindowStore

log = logging.getLogger(__name__)

END_WITHIN_S = 16.0
"""Kubernetes and the contract give 20 s between SIGTERM and the end."""

_LOOK_EVERY_S = 0.2


class Worker:
    """One worker: built from settings, run in a thread of its own, stopped by an event."""

    def __init__(self, settings: Settings) -> None:
        """Load and check what can be judged without a broker. Raises ConfigError, ArtifactError."""
        self._settings = settings
        self._artifact = load_artifact(
            settings.model.uri, sha256=settings.model.sha256, public_key=settings.model.public_key
        )
        self._detector = _detector(settings, self._artifact)
        self._rooms = _rooms(settings, self._artifact, self._detector)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._metrics = Metrics()
        self._recently = Recently()
        self._traces = _traces(settings)
        self._health = Health()
        self._thread = threading.Thread(target=self._work, name="pipeline", daemon=True)
        manifest = self._artifact.manifest
        self._metrics.describe(
            model=(manifest.name, manifest.version, self._artifact.sha256[:12]),
            provider=self._detector.provider,
            version=version("anomaly-worker"),
        )

    def stop(self) -> None:
        """Ask it to end."""
        self._health.end()
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped. Raises WorkerError where it cannot go on."""
        probes = self._probes()
        try:
            self._thread.start()
            self._wait()
        finally:
            if probes is not None:
                probes.close()
        if self._failure is not None:
            raise self._failure

    def _wait(self) -> None:
        """Signals are handled in this thread, so that a blocked call to a broker delays none.

        It never waits for the event itself: a handler that runs while this thread holds the event's lock would wait
        for that lock, to set the event, for ever.
        """
        while self._thread.is_alive() and not self._stopping.is_set():
            self._thread.join(_LOOK_EVERY_S)
        self._thread.join(END_WITHIN_S)
        if self._thread.is_alive():
            log.warning("the brokers did not let go in time; they end what is open by themselves")
            logging.shutdown()
            os._exit(0)

    def _probes(self) -> Probes | None:
        http = self._settings.http
        if http.port is None:
            return None
        overview = Overview(self._about(), self._health, lambda: self._recently.lately) if http.page else None
        probes = Probes(self._health, self._render_metrics, render_page=overview, host=http.host, port=http.port)
        probes.start()
        pages = "/ /livez /readyz /metrics" if http.page else "/livez /readyz /metrics"
        log.info("pages at http://%s:%d: %s", http.host, probes.port, pages)
        return probes

    def _render_metrics(self) -> bytes:
        memory = None if self._detector.provider == "cpu" else read_gpu_memory()
        if memory is not None:
            self._metrics.gpu_memory(memory)
        return self._metrics.render()

    def _about(self) -> About:
        settings, manifest = self._settings, self._artifact.manifest
        return About(
            version=version("anomaly-worker"),
            model=f"{manifest.name} version {manifest.version} ({self._artifact.sha256[:12]})",
            detector=f"{manifest.detector.family}, {len(manifest.features)} features, windows of {manifest.window}",
            alarm_rate=manifest.alarm_rate,
            threshold=settings.alert.threshold,
            provider=f"{self._detector.provider}: {self._detector.provider_reason}",
            group=settings.kafka.group_id,
            inputs=settings.kafka.input_topics,
            output=settings.kafka.output_topic,
            dead_letters=settings.kafka.dead_letter_topic,
            delivery=settings.delivery,
        )

    def _work(self) -> None:
        try:
            pipeline = self._pipeline()
            if pipeline is not None:
                pipeline.run()
        except Exception as failure:  # noqa: BLE001 - raised again by run
            self._failure = failure

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond a signal."""
        self._stopping.wait(seconds)

    def _stopped_while_waiting(self) -> bool:
        """Whoever waits for brokers lives, however long `kafka.start_timeout_s` is."""
        self._health.turned(ready=False)
        return self._stopping.is_set()

    def _pipeline(self) -> Pipeline | None:
        """The parts, joined; None where it was stopped before the topics were found."""
        settings = self._settings
        complaint = BrokerComplaint()
        topics = Topics(settings, complaint)
        output_partitions = topics.wait_for(stopping=self._stopped_while_waiting)
        if output_partitions is None:
            return None
        manifest = self._artifact.manifest
        log.info(
            "scoring %s with %s version %s (%s) on %s: %s",
            ", ".join(settings.kafka.input_topics),
            manifest.name,
            manifest.version,
            self._artifact.sha256[:12],
            self._detector.provider,
            self._detector.provider_reason,
        )
        if not rows.COMPILED:
            log.info("records are rendered in Python: no C compiler was at hand when this was installed")
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.disable()
        return Pipeline(
            source=_source(settings, self._artifact, topics, complaint, self._stopping.is_set, self._metrics),
            sink=_sink(settings, complaint, self._metrics),
            rooms=self._rooms,
            pace=Pace(
                max_events=settings.batch.max_events,
                max_wait_s=settings.batch.max_wait_ms / 1000,
                commit_interval_s=settings.commit_interval_ms / 1000,
            ),
            output_partitions=output_partitions,
            metrics=self._metrics,
            recently=self._recently,
            traces=self._traces,
            health=self._health,
            stopping=self._stopping.is_set,
            pause=self._pause,
        )


def _traces(settings: Settings) -> Traces:
    if not settings.traces.enabled:
        return Untraced()
    return OpenTelemetry(group_id=settings.kafka.group_id, version=version("anomaly-worker"))


def _detector(settings: Settings, artifact: Artifact) -> Detector:
    return Detector(
        artifact,
        provider=settings.inference.provider,
        threads=settings.inference.threads,
        explain=ExplainRule(when=settings.explain.when, threshold=settings.alert.threshold),
    )


def _rooms(settings: Settings, artifact: Artifact, detector: Detector) -> Rooms:
    form = window_format(settings, artifact.manifest)
    return Rooms(
        decoder=JsonDecoder(event_format(settings.events, artifact.manifest.feature_names)),
        windows=WindowStore(
            window=form.window,
            features=form.features,
            lookback_offsets=form.lookback_offsets,
            max_gap_ms=form.max_gap_ms,
            with_elapsed=detector.needs_elapsed,
        ),
        detector=detector,
        encoder=Encoder(output_format(settings, artifact)),
    )


def _source(
    settings: Settings,
    artifact: Artifact,
    topics: Topics,
    complaint: BrokerComplaint,
    stopping: Callable[[], bool],
    metrics: Metrics,
) -> Source:
    start_ms = settings.start_time_ms
    rules = ReadRules(
        start=str(settings.start) if start_ms is None else start_ms,
        continue_on_gap=settings.on_gap == "continue",
        spec=spec(settings, artifact.manifest),
        lookback_offsets=settings.lookback_offsets,
    )
    properties = consumer_properties(settings, complaint)
    inputs = settings.kafka.input_topics
    kip_848 = brokers_assign(settings)

    def make_consumer(note_statistics: Callable[[str], None]) -> Consumer:
        def note(statistics: str) -> None:
            note_statistics(statistics)
            metrics.client("consumer", figures_of(statistics))

        # Under KIP-848 they also tell that the group was joined, which is to be known soon.
        told: Properties = {"statistics.interval.ms": 1000 if kip_848 else INTERVAL_MS, "stats_cb": note}
        return cast("Consumer", client(Consumer, {**told, **properties}))

    strategy = str(properties.get("partition.assignment.strategy", ""))
    return Source(
        make_consumer,
        topics=inputs,
        group_id=settings.kafka.group_id,
        planner=Planner(rules, topics=inputs, group_id=settings.kafka.group_id, outlook=topics, stopping=stopping),
        incremental=kip_848 or "cooperative" in strategy,
    )


def _sink(settings: Settings, complaint: BrokerComplaint, metrics: Metrics) -> Sink:
    output_topic = settings.kafka.output_topic
    told: Properties = {
        "statistics.interval.ms": INTERVAL_MS,
        "stats_cb": lambda statistics: metrics.client("producer", figures_of(statistics)),
    }
    if settings.delivery == "at-least-once":
        properties = producer_properties(settings, complaint, transactional_id=None)
        return IdempotentSink(lambda: client(Producer, {**told, **properties}), output_topic=output_topic)
    transactional_id = settings.kafka.transactional_id or _unique_transactional_id(settings.kafka.group_id)
    properties = producer_properties(settings, complaint, transactional_id=transactional_id)
    return TransactionalSink(
        lambda: client(Producer, {**told, **properties}),
        output_topic=output_topic,
        group_id=settings.kafka.group_id,
        transactional_id=transactional_id,
        transaction_timeout_s=transaction_timeout_ms(settings) / 1000,
    )


def _unique_transactional_id(group_id: str) -> str:
    """One a process (R7); it begins with the group, so that one prefixed right covers all workers of a job."""
    return f"{group_id}-{socket.gethostname()}-{uuid.uuid4().hex[:12]}"


def run(settings: Settings, *, on_start: Callable[[Callable[[], None]], None]) -> None:
    """Run one worker to its end; `on_start` is handed what stops it, before it begins (for signals)."""
    worker = Worker(settings)
    on_start(worker.stop)
    began_s = time.monotonic()
    worker.run()
    log.info("ended after %.0f s", time.monotonic() - began_s)
