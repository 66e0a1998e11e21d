"""Log segments tell whose transaction a record came in, and which are still open."""

from tests.broker import Broker
from tests.chaos.segments import batches, open_transactions, transaction_of, transactional_ids
from tests.log_record import LogRecord
from tests.topics import Topics


def test_a_record_names_its_transaction_and_where_that_ended(broker: Broker) -> None:
    topics = Topics(broker.bootstrap)
    topic = topics.create()
    records = [LogRecord(topic, 0, -1, 5, b"k", b"v") for _ in range(3)]
    topics.write(records[:1])
    topics.write_in_transaction(records, commit=True)
    still_open = topics.begin_transaction(records)
    try:
        found = transaction_of(broker.data, topic, 0, 2)
        assert (found["batch"], found["marker"]) == ([1, 3], 4)
        assert str(found["transactional_id"]).startswith("writer-")
        assert transaction_of(broker.data, topic, 0, 0) == {}
        assert [batch.first for batch in batches(broker.data / f"{topic}-0") if batch.is_control] == [4]
        (hanging,) = open_transactions(broker.data, topic)
        assert hanging["batch"] == [5, 7]
        assert hanging["transactional_id"] in transactional_ids(broker.data).values()
        assert hanging["transactional_id"] != found["transactional_id"]
    finally:
        still_open.abort_transaction(10)
        topics.delete_all()
