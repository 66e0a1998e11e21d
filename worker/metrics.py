"""What the worker counts, as Prometheus metrics: the corridor reports once a batch, `/metrics` renders.

Bounded labels only: never an entity, never a record's content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from worker.batch import Float32, Int64, TopicPartition
from worker.client_statistics import ClientFigures
from worker.gpu import GpuMemory

_LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_STAGE_BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_BATCH_BUCKETS = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536)


class LatencyHistogram(Collector):
    """A histogram that takes a whole column at once; the client library's own takes one value a call."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._counts = np.zeros(len(_LATENCY_BUCKETS_S) + 1, np.int64)
        self._sum_s = 0.0

    def observe(self, seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        """Add a column of durations."""
        places = np.searchsorted(_LATENCY_BUCKETS_S, seconds)
        self._counts = self._counts + np.bincount(places, minlength=len(self._counts))
        self._sum_s += float(seconds.sum())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The histogram as Prometheus takes it: cumulative counts."""
        cumulative = np.cumsum(self._counts).tolist()
        bounds = [*map(str, _LATENCY_BUCKETS_S), "+Inf"]
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], list(zip(bounds, cumulative, strict=True)), self._sum_s)
        yield family


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a batch's records became: all that is told of it once it is committed."""

    scored: int
    skipped: int
    reasons: Sequence[str]  # one a dead letter
    anomalies: int
    alarms: Sequence[bytes]  # the last few of these, as they were sent
    warming: int
    unknown_entities: int
    missing: Mapping[str, int]  # feature -> values
    timestamps_ms: Int64  # of the records, -1 where there is none


class Metrics:
    """Every metric of the worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"anomaly_worker_{name}", documentation, labels, registry=self.registry)

        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(f"anomaly_worker_{name}", documentation, labels, registry=self.registry)

        self._records = counter("records_total", "Input records answered, by outcome.", "outcome")
        self._dead_letters = counter("dead_letters_total", "Dead letters, by reason.", "reason")
        self._anomalies = counter("anomalies_total", "Scores above the threshold, warming windows aside.")
        self._warming = counter("warming_total", "Scores of windows that were still filling.")
        self._unknown_entities = counter(
            "unknown_entities_total", "Scores of entities that the model was not trained on, where it tells them apart."
        )
        self._missing = counter("missing_values_total", "Missing values in scored rows, by feature.", "feature")
        self._batch_records = Histogram(
            "anomaly_worker_batch_records",
            "Records in a batch.",
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "anomaly_worker_stage_seconds",
            "Time that a batch spent in a stage.",
            ("stage",),
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._latency = LatencyHistogram("anomaly_worker_latency_seconds", "From a record's timestamp to its commit.")
        self.registry.register(self._latency)
        self._lag = gauge("lag", "Records between the committed offset and the end.", "topic", "partition")
        self._refill = gauge("refill_remaining", "Offsets to read again before ready.", "topic", "partition")
        self._transactions = counter("transactions_total", "Transactions, by outcome.", "outcome")
        self._rebalances = counter("rebalances_total", "Assignments, revocations and losses of partitions.")
        self._entities = gauge("entities", "Entities with a window.")
        self._model = gauge("model_info", "The model at work; always 1.", "name", "version", "sha256")
        self._provider = gauge("provider_info", "Where the model runs; always 1.", "provider")
        self._build = gauge("build_info", "The worker's version; always 1.", "version")
        self._gpu_memory = gauge(
            "gpu_memory_bytes", "Memory of the GPU that the model runs on, whoever uses it.", "state"
        )
        self._queue_bytes = gauge("kafka_queue_bytes", "Fetched and not read yet, or to be sent, by client.", "client")
        self._round_trip = gauge("kafka_round_trip_seconds", "99 in 100 requests to the slowest broker.", "client")
        self._sent = counter("kafka_sent_bytes_total", "Bytes sent to brokers.", "client")
        self._received = counter("kafka_received_bytes_total", "Bytes received from brokers.", "client")
        self._timeouts = counter("kafka_request_timeouts_total", "Requests not answered in time.", "client")
        self._disconnects = counter("kafka_disconnects_total", "Connections to brokers that ended.", "client")
        self._seen_rebalances = 0
        self._seen_figures: dict[str, ClientFigures] = {}

    def describe(self, *, model: tuple[str, str, str], provider: str, version: str) -> None:
        """What runs: the model's name, version and digest, the provider, the worker's version."""
        self._model.labels(*model).set(1)
        self._provider.labels(provider).set(1)
        self._build.labels(version).set(1)

    def staged(self, records: int, seconds: Mapping[str, float]) -> None:
        """A batch went through its stages."""
        self._batch_records.observe(records)
        for stage, duration_s in seconds.items():
            self.stage(stage, duration_s)

    def stage(self, stage: str, duration_s: float) -> None:
        """One stage took so long."""
        self._stage_seconds.labels(stage).observe(duration_s)

    def committed(self, answered: Answered, *, now_s: float) -> None:
        """A batch is committed: its answers are out for good."""
        for reason in answered.reasons:
            self._dead_letters.labels(reason).inc()
        outcomes = (("scored", answered.scored), ("dead", len(answered.reasons)), ("skipped", answered.skipped))
        for outcome, count in outcomes:
            self._records.labels(outcome).inc(count)
        self._anomalies.inc(answered.anomalies)
        self._warming.inc(answered.warming)
        self._unknown_entities.inc(answered.unknown_entities)
        for feature, count in answered.missing.items():
            self._missing.labels(feature).inc(count)
        self._latency.observe(np.maximum(0.0, now_s - answered.timestamps_ms[answered.timestamps_ms >= 0] / 1000))

    def client(self, name: Literal["consumer", "producer"], figures: ClientFigures) -> None:
        """What a client tells of itself, every few seconds. Of another life of it, all is new."""
        self._queue_bytes.labels(name).set(figures.queue_bytes)
        self._round_trip.labels(name).set(figures.round_trip_s)
        before = self._seen_figures.get(name)
        self._seen_figures[name] = figures
        for counter, count in (
            (self._sent, _more(before, figures, "sent_bytes")),
            (self._received, _more(before, figures, "received_bytes")),
            (self._timeouts, _more(before, figures, "timeouts")),
            (self._disconnects, _more(before, figures, "disconnects")),
        ):
            counter.labels(name).inc(count)

    def gpu_memory(self, memory: GpuMemory) -> None:
        """How much of the GPU's memory is taken now."""
        self._gpu_memory.labels("used").set(memory.used)
        self._gpu_memory.labels("free").set(memory.free)

    def transaction(self, outcome: str) -> None:
        """A transaction ended: committed, aborted or lost."""
        self._transactions.labels(outcome).inc()

    def position(
        self,
        *,
        lag: Mapping[TopicPartition, int],
        refill_remaining: Mapping[TopicPartition, int],
        entities: int,
        rebalances: int,
    ) -> None:
        """Where the worker stands, about once a second. Partitions that are no longer ours leave the page."""
        for gauge, values in ((self._lag, lag), (self._refill, refill_remaining)):
            gauge.clear()
            for (topic, partition), value in values.items():
                gauge.labels(topic, str(partition)).set(value)
        self._entities.set(entities)
        self._rebalances.inc(rebalances - self._seen_rebalances)
        self._seen_rebalances = rebalances

    def render(self) -> bytes:
        """The page as Prometheus reads it."""
        return generate_latest(self.registry)


def _more(before: ClientFigures | None, now: ClientFigures, name: str) -> int:
    """How much a count has grown; one that fell was begun anew."""
    count, counted = getattr(now, name), 0 if before is None else getattr(before, name)
    return int(count - counted if count >= counted else count)


def missing_by_feature(names: Iterable[str], features: Float32) -> dict[str, int]:
    """How often each feature is missing in these rows; features that are never missing are left out."""
    counts = np.isnan(features).sum(axis=0).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}
