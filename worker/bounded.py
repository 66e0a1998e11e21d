"""Calls that may ignore time limits of their own: each runs in a thread beside, and nobody has to wait for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


def beside(call: Callable[[], Answer]) -> "Future[Answer]":
    """What `call` returns or raises, once it does. A call that is not waited for any more goes on unattended."""
    future: Future[Answer] = Future()

    def answer() -> None:
        try:
            future.set_result(call())
        except BaseException as failure:  # noqa: BLE001 - raised again in the thread that asked
            future.set_exception(failure)

    # A daemon: a call that never returns does not keep the process from ending.
    threading.Thread(target=answer, name="bounded-call", daemon=True).start()
    return future
