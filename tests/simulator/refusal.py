"""Errors as the client hands them over."""

from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException


def kafka_error(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> KafkaError:
    """The error as the client would hand it over."""
    return KafkaError(code, KafkaError(code).str(), fatal, retriable, abortable)


def refuse(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> NoReturn:
    """Raise it."""
    raise KafkaException(kafka_error(code, fatal=fatal, retriable=retriable, abortable=abortable))


def time_out() -> NoReturn:
    """Raise what a call raises that was not answered in time."""
    refuse(KafkaError._TIMED_OUT, retriable=True)
