"""librdkafka's statistics: the real client's are read, and every figure is added up."""

import json
import time

from confluent_kafka import Producer

from worker.client_statistics import ClientFigures, figures_of


def test_every_figure_is_of_all_brokers_and_partitions() -> None:
    told = {
        "msg_size": 100,
        "tx_bytes": 7,
        "rx_bytes": 8,
        "brokers": {
            "b1": {"rtt": {"p99": 1500, "p50": 3}, "req_timeouts": 2, "disconnects": 1, "state": "UP"},
            "b2": {"rtt": {"p99": 900}, "req_timeouts": 1, "disconnects": 4},
            "coordinator": {},
        },
        "topics": {"t": {"partitions": {"0": {"fetchq_size": 10}, "1": {"fetchq_size": 20}, "-1": {}}}},
    }
    assert figures_of(json.dumps(told)) == ClientFigures(
        queue_bytes=130, round_trip_s=0.0015, sent_bytes=7, received_bytes=8, timeouts=3, disconnects=5
    )


def test_a_client_that_has_nothing_to_tell_is_read() -> None:
    assert figures_of("{}").queue_bytes == 0


def test_the_real_client_tells_them() -> None:
    told: list[ClientFigures] = []
    producer = Producer(
        {
            "test.mock.num.brokers": 1,
            "log_level": 0,
            "statistics.interval.ms": 100,
            "stats_cb": lambda statistics: told.append(figures_of(statistics)),
        }
    )
    producer.produce("topic", b"x" * 1000)
    deadline = time.monotonic() + 20
    while not (told and told[-1].sent_bytes > 1000 and told[-1].received_bytes):
        assert time.monotonic() < deadline, told[-1:]
        producer.poll(0.05)
    producer.flush(10)
