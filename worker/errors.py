"""Everything that can end or interrupt the worker, drawn as a tree: the class says what to do, the text says why.

A record that cannot be scored is not an error: it is a dead letter (see `worker.batch.Refused`).
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells the shell."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    ARTIFACT_REFUSED = 3


class WorkerError(Exception):
    """Ends the process with one sentence on standard error; `exit_code` tells the shell which kind it was."""

    exit_code = ExitCode.FAILED


class ConfigError(WorkerError):
    """Settings or arguments are wrong: nothing was consumed; the sentence names the setting and the remedy."""

    exit_code = ExitCode.WRONG_USE


class ArtifactError(WorkerError):
    """The model file is refused: nothing was consumed; the sentence says what does not hold."""

    exit_code = ExitCode.ARTIFACT_REFUSED


class InferenceError(WorkerError):
    """The provider failed on a batch although smaller ones were tried: stop without committing."""


class BrokerError(WorkerError):
    """Brokers out of reach, a topic missing, a right missing: the sentence says which and what to do."""


class GapError(WorkerError):
    """Records that were to be scored are gone from the log, and `on_gap` says to fail (rule R3)."""


class FencedError(WorkerError):
    """Another process uses the same transactional.id (rule R6)."""


class DeliveryError(Exception):
    """A transaction could not be completed; what was staged is dropped and read again. Does not end the process."""


class TransactionAbortedError(DeliveryError):
    """The transaction was aborted cleanly: the producer lives on, the batch is read again."""


class ProducerLostError(DeliveryError):
    """The outcome is unknown or the producer is fenced: producer and windows are thrown away and rebuilt (rule R6)."""


def clause(error: object) -> str:
    """Another library's message as a part of one of our sentences: no line breaks, 300 characters at most."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
