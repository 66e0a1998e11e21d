"""The producer as the worker sees it: what is produced waits in the client, and goes out when there is time."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tests.log_record import LogRecord
from tests.simulator.coordinators import Membership
from tests.simulator.log import Transaction
from tests.simulator.process import Process
from tests.simulator.refusal import refuse

if TYPE_CHECKING:
    from tests.memory_bus import MemoryBus

Answer = TypeVar("Answer")
Report = Callable[[KafkaError | None, Message], None]


class MemoryProducer:
    """The methods of confluent_kafka.Producer.

    Where `linger.ms` is over 1,000, records go out at a flush or a commit alone, else with the next `poll` too.
    """

    def __init__(self, bus: "MemoryBus", properties: Mapping[str, object], process: Process) -> None:
        self._bus = bus
        self._process = process
        self._name = str(properties["transactional.id"]) if "transactional.id" in properties else None
        self._timeout_s = float(str(properties.get("transaction.timeout.ms", 60_000))) / 1000
        self._largest = int(str(properties.get("message.max.bytes", 1_000_000)))
        self._lingers = int(str(properties.get("linger.ms", 5))) > 1_000
        self._epoch = 0
        self._queue: list[tuple[LogRecord, Report | None]] = []
        self._in_transaction = False
        self._is_known = False  # whether the transaction's coordinator was told of anything in it
        self._fatal: KafkaError | None = None
        self._abortable: KafkaError | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def _ask(self, call: str, request: Callable[[], Answer], timeout_s: float) -> Answer:
        """Ask the transaction's coordinator."""
        self._bus.expire()
        try:
            return self._process.call(call, lambda: self._reach(request, timeout_s), timeout_s)
        except KafkaException as failure:
            self._note(failure.args[0])
            raise

    def _reach(self, request: Callable[[], Answer], timeout_s: float) -> Answer:
        self._bus.reach("transactions", timeout_s)
        return request()

    def _check(self, *, for_abort: bool = False) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._abortable is not None and not for_abort:
            raise KafkaException(self._abortable)

    # ---- transactions

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence whoever had this transactional.id before, and abort what it left open."""
        self._epoch = self._ask("init_transactions", self._register, timeout)

    def _register(self) -> int:
        return self._bus.transactions.init(str(self._name), self._timeout_s)

    def begin_transaction(self) -> None:
        """Everything produced from here on stands or falls together."""
        self._check()
        if self._in_transaction:
            refuse(KafkaError._STATE)
        self._in_transaction, self._is_known = True, False

    def _ongoing(self) -> Transaction:
        return self._bus.transactions.ongoing(str(self._name), self._epoch, self._bus.now_s)

    def send_offsets_to_transaction(
        self, offsets: Sequence[TopicPartition], group_metadata: Membership, timeout: float = -1
    ) -> None:
        """The offsets count once the transaction is committed; only a member of now may send them."""
        self._check()
        if not self._in_transaction:
            refuse(KafkaError._STATE)
        self._is_known = True
        self._ask("send_offsets_to_transaction", lambda: self._send_offsets(offsets, group_metadata), timeout)

    def _send_offsets(self, offsets: Sequence[TopicPartition], membership: Membership) -> None:
        transaction = self._ongoing()
        self._bus.groups[membership.group].check(membership, transactional=True)
        for each in offsets:
            transaction.offsets[membership.group, (each.topic, each.partition)] = each

    def commit_transaction(self, timeout: float = -1) -> None:
        """Everything becomes visible, offsets too."""
        self.flush(timeout)
        self._check()
        self._end("commit_transaction", timeout, commit=True)

    def abort_transaction(self, timeout: float = -1) -> None:
        """Nothing ever becomes visible; what had not gone out never does."""
        self._check(for_abort=True)
        self._queue.clear()
        self._end("abort_transaction", timeout, commit=False)
        self._abortable = None

    def _end(self, call: str, timeout: float, *, commit: bool) -> None:
        if not self._in_transaction:
            refuse(KafkaError._STATE)
        self._ask(call, lambda: self._tell_end(commit=commit), timeout)
        self._in_transaction = False

    def _tell_end(self, *, commit: bool) -> None:
        if self._is_known:
            self._bus.transactions.end(str(self._name), self._epoch, commit=commit)

    # ---- records

    def produce(  # noqa: PLR0917 - the client's own order
        self,
        topic: str,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        partition: int = -1,
        callback: Report | None = None,
        on_delivery: Report | None = None,
        timestamp: int = -1,
        headers: Sequence[tuple[str, bytes | None]] | Mapping[str, bytes | None] | None = None,
    ) -> None:
        """Queue one record."""
        self._process.call("produce", self._check)
        if self._name is not None and not self._in_transaction:
            refuse(KafkaError._STATE)
        value, key = (each.encode() if isinstance(each, str) else each for each in (value, key))
        if len(value or b"") > self._largest:
            refuse(KafkaError.MSG_SIZE_TOO_LARGE)
        pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers or ())
        stamp = timestamp if timestamp > 0 else int(self._bus.now_s * 1000)
        self._queue.append((LogRecord(topic, partition, -1, stamp, key, value, pairs), callback or on_delivery))

    def poll(self, timeout: float = -1) -> int:
        """Some of what is queued goes out meanwhile."""
        if not self._lingers and not self._must_wait:
            self._deliver()
        return 0

    def flush(self, timeout: float = -1) -> int:
        """All of it goes out, in time or not at all. What cannot be delivered is reported; a fatal error is raised."""
        if self._must_wait:
            self._bus.reach("transactions", timeout)
        self._deliver()
        self._check(for_abort=True)
        return 0

    @property
    def _must_wait(self) -> bool:
        """Whether nothing can go out now, as nobody would take the transaction's partitions down."""
        return self._name is not None and bool(self._queue) and self._bus.is_away("transactions")

    def _deliver(self) -> None:
        if not self._queue:
            return
        queue, self._queue = self._queue, []
        self._is_known = True
        try:
            self._bus.expire()
            self._process.call("deliver", lambda: self._append(queue))
        except KafkaException as failure:
            self._note(failure.args[0])
            for record, report in queue:
                if report is not None:
                    report(failure.args[0], Message(topic=record.topic))

    def _note(self, error: KafkaError) -> None:
        """What is refused for good, or until an abort, is refused by the client from then on."""
        if error.fatal():
            self._fatal = error
        elif error.txn_requires_abort() and self._name is not None:
            self._abortable = error

    def _append(self, queue: Sequence[tuple[LogRecord, Report | None]]) -> None:
        transaction = None if self._name is None else self._ongoing()
        for record, _ in queue:
            self._bus.append(record, transaction)
