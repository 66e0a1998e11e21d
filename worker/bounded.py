"""A call and a time limit in, the call's answer out, or TimeoutError: for calls that may ignore limits of their own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


def within(timeout_s: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns or raises. Raises TimeoutError once the time is over; the call then goes on unattended."""
    future: Future[Answer] = Future()

    def answer() -> None:
        try:
            future.set_result(call())
        except BaseException as failure:  # noqa: BLE001 - raised again in the thread that asked
            future.set_exception(failure)

    # A daemon: a call that never returns does not keep the process from ending.
    threading.Thread(target=answer, name="bounded-call", daemon=True).start()
    return future.result(timeout_s)
