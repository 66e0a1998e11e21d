"""The bounds of the settings, held to the parts that they are handed to."""

import pytest

from schemas.settings import PRODUCER_QUEUE_KBYTES, RECORD_OVERHEAD_BYTES, known_settings
from tests.least_settings import least_settings
from worker.kafka_clients import BrokerComplaint, producer_properties
from worker.windows import WindowStore


def store(lookback_offsets: int) -> WindowStore:
    return WindowStore(window=4, features=2, lookback_offsets=lookback_offsets, max_gap_ms=None, with_elapsed=False)


def test_the_windows_take_every_lookback_that_may_be_set_and_no_other() -> None:
    bounds = known_settings()["lookback_offsets",]
    for lookback in (bounds["minimum"], bounds["maximum"]):
        assert store(lookback)
    for lookback in (bounds["minimum"] - 1, bounds["maximum"] + 1):
        with pytest.raises(ValueError, match="looks back over"):
            store(lookback)


def test_the_producers_queue_holds_two_of_the_largest_records_that_may_be_set() -> None:
    largest = known_settings()["events", "max_bytes"]["maximum"]
    properties = producer_properties(
        least_settings(events={"max_bytes": largest}), BrokerComplaint(), transactional_id=None
    )
    assert properties["message.max.bytes"] == largest + RECORD_OVERHEAD_BYTES
    assert properties["queue.buffering.max.kbytes"] == PRODUCER_QUEUE_KBYTES
    assert 2 * (largest + RECORD_OVERHEAD_BYTES) <= PRODUCER_QUEUE_KBYTES * 1024
