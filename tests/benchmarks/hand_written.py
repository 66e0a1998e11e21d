"""What users write by hand: an orjson parse and a deque an event, one ONNX call a poll, one produce call a score.

It is short, and it keeps none of the worker's promises: after a crash windows are lost and scores come twice, a record
that is no event ends it, nothing says which events a score is about.
"""

import contextlib
from collections import defaultdict, deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from confluent_kafka import Message, Producer
from numpy.typing import NDArray
from orjson import dumps, loads

from tests.benchmarks.clients import Job, consumer, flush, job, job_options, polls, producer
from tests.benchmarks.stream import FEATURES

AT_ONCE = 4096  # the worker's default
THRESHOLD = 1.0


class Windows:
    """The last rows of every key."""

    def __init__(self, window: int) -> None:
        empty = [[np.nan] * len(FEATURES)] * window
        self._rows: defaultdict[bytes, deque[list[float]]] = defaultdict(partial(deque, empty, maxlen=window))

    def push(self, key: bytes, row: list[float]) -> list[list[float]]:
        """The window that ends with this row."""
        rows = self._rows[key]
        rows.append(row)
        return list(rows)


def run(task: Job, model: Path) -> None:
    """Score the topic."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    windows = Windows(session.get_inputs()[0].shape[1])
    writer = producer(task, transactional=False)
    with contextlib.closing(consumer(task, auto_commit=True)) as reader:
        for messages in polls(reader, events=task.events, at_once=AT_ONCE):
            score, p_value = session.run(["score", "p_value"], {"window": _windows(windows, messages)})
            _publish(writer, task.target, messages, score.tolist(), p_value.tolist())
        flush(writer)


def _windows(windows: Windows, messages: Sequence[Message]) -> NDArray[np.float32]:
    batch = []
    for message in messages:
        event = loads(message.value())
        batch.append(windows.push(message.key(), [event[name] for name in FEATURES]))
    return np.array(batch, dtype=np.float32)  # (batch, window, feature)


def _publish(
    writer: Producer, topic: str, messages: Sequence[Message], scores: list[float], p_values: list[float]
) -> None:
    for message, score, p_value in zip(messages, scores, p_values, strict=True):
        key = message.key()
        record = {
            "entity": key.decode(),
            "event_time": message.timestamp()[1],
            "score": score,
            "p_value": p_value,
            "is_anomaly": score > THRESHOLD,
            "source": {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()},
        }
        value = dumps(record)
        while True:
            try:
                writer.produce(topic, value, key)
            except BufferError:
                writer.poll(0.01)
            else:
                break
    writer.poll(0)


def main() -> None:
    """The command line."""
    parser = job_options(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    options = parser.parse_args()
    run(job(options), options.model)


if __name__ == "__main__":
    main()
