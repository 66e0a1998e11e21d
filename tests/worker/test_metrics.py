"""What the worker counts: the page's names and labels are a public contract, its numbers those that were reported."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from worker.client_statistics import ClientFigures
from worker.gpu import GpuMemory
from worker.metrics import Answered, LatencyHistogram, Metrics, missing_by_feature

CONTRACT: Mapping[str, tuple[str, set[str]]] = {
    "records_total": ("counter", {"outcome"}),
    "dead_letters_total": ("counter", {"reason"}),
    "anomalies_total": ("counter", set()),
    "warming_total": ("counter", set()),
    "unknown_entities_total": ("counter", set()),
    "missing_values_total": ("counter", {"feature"}),
    "batch_records": ("histogram", set()),
    "stage_seconds": ("histogram", {"stage"}),
    "latency_seconds": ("histogram", set()),
    "lag": ("gauge", {"topic", "partition"}),
    "refill_remaining": ("gauge", {"topic", "partition"}),
    "transactions_total": ("counter", {"outcome"}),
    "rebalances_total": ("counter", set()),
    "entities": ("gauge", set()),
    "gpu_memory_bytes": ("gauge", {"state"}),
    "kafka_queue_bytes": ("gauge", {"client"}),
    "kafka_round_trip_seconds": ("gauge", {"client"}),
    "kafka_sent_bytes_total": ("counter", {"client"}),
    "kafka_received_bytes_total": ("counter", {"client"}),
    "kafka_request_timeouts_total": ("counter", {"client"}),
    "kafka_disconnects_total": ("counter", {"client"}),
    "model_info": ("gauge", {"name", "version", "sha256"}),
    "provider_info": ("gauge", {"provider"}),
    "build_info": ("gauge", {"version"}),
}


def commit(metrics: Metrics, **report: object) -> None:
    """A committed batch with nothing in it but what is told."""
    nothing = {
        "scored": 0,
        "skipped": 0,
        "reasons": [],
        "anomalies": 0,
        "alarms": [],
        "warming": 0,
        "unknown_entities": 0,
        "missing": {},
        "timestamps_ms": np.array([], np.int64),
    }
    metrics.committed(Answered(**nothing | report), now_s=1000.0)


def figures(**about: float) -> ClientFigures:
    none = {
        "queue_bytes": 0,
        "round_trip_s": 0.0,
        "sent_bytes": 0,
        "received_bytes": 0,
        "timeouts": 0,
        "disconnects": 0,
    }
    return ClientFigures(**none | about)


def stand(metrics: Metrics, **report: object) -> None:
    metrics.position(**{"lag": {}, "refill_remaining": {}, "entities": 0, "rebalances": 0} | report)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def used(metrics: Metrics) -> Metrics:
    """Metrics of which every one has something to tell."""
    metrics.describe(model=("pump", "3", "4be1aa00bb11"), provider="cpu", version="0.1.0")
    metrics.staged(10, {"decode": 0.001, "score": 0.02})
    commit(metrics, scored=7, reasons=["empty"], missing={"x": 2}, timestamps_ms=np.array([999_000]))
    metrics.transaction("committed")
    metrics.client("consumer", figures())
    metrics.gpu_memory(GpuMemory(used=1, free=2))
    stand(metrics, lag={("events", 0): 3}, refill_remaining={("events", 0): 9}, entities=5, rebalances=1)
    return metrics


def families(metrics: Metrics) -> dict[str, Metric]:
    """What a Prometheus server makes of the page, by name; when a counter began is left out."""
    read = list(text_string_to_metric_families(metrics.render().decode()))
    return {family.name: family for family in read if not family.name.endswith("_created")}


def value(metrics: Metrics, metric: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"anomaly_worker_{metric}", labels)


# --- the contract


def test_the_page_has_every_metric_of_the_contract_and_no_other(used: Metrics) -> None:
    page = {name: family.type for name, family in families(used).items()}
    # The reader takes `_total` for the kind of a counter, not for a part of its name.
    assert page == {f"anomaly_worker_{name.removesuffix('_total')}": kind for name, (kind, _) in CONTRACT.items()}


@pytest.mark.parametrize("name", CONTRACT)
def test_a_metric_has_exactly_its_labels(used: Metrics, name: str) -> None:
    family = families(used)[f"anomaly_worker_{name.removesuffix('_total')}"]
    assert family.samples
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == CONTRACT[name][1]


def test_every_metric_explains_itself(used: Metrics) -> None:
    assert all(family.documentation.endswith(".") for family in families(used).values())


def test_two_workers_in_one_process_share_no_metrics(used: Metrics) -> None:
    assert value(Metrics(), "anomalies_total") == 0
    assert value(Metrics(), "records_total", outcome="scored") is None


def test_names_that_need_escaping_come_through(metrics: Metrics) -> None:
    awkward = 'a"b\\c\nd{e="f"} é'
    commit(metrics, missing={awkward: 1})
    samples = families(metrics)["anomaly_worker_missing_values"].samples
    assert {sample.labels["feature"] for sample in samples} == {awkward}


# --- counts


def test_what_went_in_is_scored_dead_or_skipped(metrics: Metrics) -> None:
    commit(metrics, scored=5, skipped=2, reasons=["empty", "wrong_type", "empty"], anomalies=1, warming=2)
    commit(metrics, scored=1, reasons=["empty"], anomalies=1, unknown_entities=1)
    outcomes = {name: value(metrics, "records_total", outcome=name) for name in ("scored", "dead", "skipped")}
    assert outcomes == {"scored": 6, "dead": 4, "skipped": 2}
    assert value(metrics, "dead_letters_total", reason="empty") == 3
    assert value(metrics, "dead_letters_total", reason="wrong_type") == 1
    assert value(metrics, "anomalies_total") == 2
    assert value(metrics, "warming_total") == 2
    assert value(metrics, "unknown_entities_total") == 1


def test_a_batch_is_counted_with_its_stages(metrics: Metrics) -> None:
    metrics.staged(100, {"decode": 0.25, "score": 0.5})
    metrics.staged(300, {"decode": 0.25})
    metrics.stage("commit", 2.0)
    assert value(metrics, "batch_records_count") == 2
    assert value(metrics, "batch_records_sum") == 400
    assert value(metrics, "stage_seconds_count", stage="decode") == 2
    assert value(metrics, "stage_seconds_sum", stage="decode") == 0.5
    assert value(metrics, "stage_seconds_sum", stage="commit") == 2.0


def test_rebalances_are_told_as_a_total_and_counted_once(metrics: Metrics) -> None:
    for total in (1, 1, 3):
        stand(metrics, rebalances=total)
    assert value(metrics, "rebalances_total") == 3


def test_a_partition_that_is_no_longer_ours_leaves_the_page(metrics: Metrics) -> None:
    stand(metrics, lag={("events", 0): 10, ("events", 1): 20}, refill_remaining={("events", 1): 5})
    stand(metrics, lag={("events", 0): 11})
    assert value(metrics, "lag", topic="events", partition="0") == 11
    assert value(metrics, "lag", topic="events", partition="1") is None
    assert value(metrics, "refill_remaining", topic="events", partition="1") is None


def test_what_runs_is_told_as_ones(used: Metrics) -> None:
    assert value(used, "model_info", name="pump", version="3", sha256="4be1aa00bb11") == 1
    assert value(used, "provider_info", provider="cpu") == 1
    assert value(used, "build_info", version="0.1.0") == 1


def test_transactions_are_counted_by_their_end(metrics: Metrics) -> None:
    for outcome in ("committed", "aborted", "committed"):
        metrics.transaction(outcome)
    assert value(metrics, "transactions_total", outcome="committed") == 2
    assert value(metrics, "transactions_total", outcome="aborted") == 1


# --- latency


def test_latency_runs_from_the_records_timestamp_to_the_commit(metrics: Metrics) -> None:
    commit(metrics, timestamps_ms=np.array([999_500, 998_000]))
    assert value(metrics, "latency_seconds_count") == 2
    assert value(metrics, "latency_seconds_sum") == pytest.approx(2.5)


def test_a_record_without_a_time_or_from_the_future_does_not_spoil_the_latency(metrics: Metrics) -> None:
    commit(metrics, timestamps_ms=np.array([-1, 2_000_000]))
    assert value(metrics, "latency_seconds_count") == 1
    assert value(metrics, "latency_seconds_sum") == 0


def test_a_duration_on_a_bound_belongs_below_it() -> None:
    histogram = LatencyHistogram("latency", "Latency.")
    histogram.observe(np.array([0.01, 0.0100001, 1e9]))
    counts = buckets(histogram)
    assert counts["0.01"] == 1
    assert counts["0.025"] == 2
    assert counts["3600.0"] == 2
    assert counts["+Inf"] == 3


DURATIONS = st.lists(st.floats(0, 10_000, allow_subnormal=False), max_size=30)


@given(st.lists(DURATIONS, max_size=4))
def test_a_histogram_of_columns_counts_as_one_of_values_would(columns: list[list[float]]) -> None:
    histogram = LatencyHistogram("latency", "Latency.")
    for column in columns:
        histogram.observe(np.array(column, np.float64))
    durations = [duration for column in columns for duration in column]
    for bound, count in buckets(histogram).items():
        assert count == sum(duration <= float(bound) for duration in durations)
    assert sample(histogram, "_count") == len(durations)
    assert sample(histogram, "_sum") == pytest.approx(sum(durations))


def buckets(histogram: LatencyHistogram) -> dict[str, float]:
    (family,) = histogram.collect()
    return {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}


def sample(histogram: LatencyHistogram, ending: str) -> float:
    (family,) = histogram.collect()
    (found,) = [sample.value for sample in family.samples if sample.name.endswith(ending)]
    return found


# --- missing values


def test_missing_values_are_counted_by_feature_and_complete_features_left_out() -> None:
    rows = np.array([[1, np.nan, np.nan], [2, 0, np.nan]], np.float32)
    assert missing_by_feature(("a", "b", "c"), rows) == {"b": 1, "c": 2}
    assert missing_by_feature(("a", "b", "c"), rows[:0]) == {}


# --- clients and GPU


def test_what_a_client_counts_goes_on_in_its_next_life(metrics: Metrics) -> None:
    for timeouts in (2, 5, 5, 1):  # the last is a new producer's
        metrics.client("producer", figures(timeouts=timeouts, queue_bytes=timeouts, round_trip_s=0.25))
    metrics.client("consumer", figures(timeouts=7))
    assert value(metrics, "kafka_request_timeouts_total", client="producer") == 6
    assert value(metrics, "kafka_request_timeouts_total", client="consumer") == 7
    assert value(metrics, "kafka_queue_bytes", client="producer") == 1
    assert value(metrics, "kafka_round_trip_seconds", client="producer") == 0.25


def test_the_memory_of_a_gpu_is_told_where_there_is_one(metrics: Metrics) -> None:
    assert value(metrics, "gpu_memory_bytes", state="used") is None
    metrics.gpu_memory(GpuMemory(used=10, free=90))
    assert (value(metrics, "gpu_memory_bytes", state="used"), value(metrics, "gpu_memory_bytes", state="free")) == (
        10,
        90,
    )
