"""Pieces of work beside each other, each in one of a few processes. Knows nothing of what the work is."""

import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import TypeVar

from export.errors import ExportError

Given = TypeVar("Given")
Made = TypeVar("Made")


def beside_each_other(
    work: Callable[[Given], Made], pieces: Sequence[Given], *, processes: int
) -> Generator[Made, None, None]:
    """What was made of each piece, as soon as it is done, in no order.

    Args:
        work: A function of a module: the processes are started anew and import it.
        pieces: What it is called with; may be pickled.
        processes: How many at most.

    Raises:
        ExportError: a process ended before its work was done. What `work` raises is raised here.
    """
    before = set(active_children())
    # Started anew: a fork of a process that has threads, as torch's and ONNX Runtime's, may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        try:
            for future in as_completed([pool.submit(work, piece) for piece in pieces]):
                yield future.result()
        except BrokenProcessPool as error:
            raise ExportError(
                "One of the processes ended before its work was done, most likely killed for want of memory: "
                "give fewer --jobs."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children = set(active_children()) - before
            for child in children:
                child.terminate()  # what it is at may take minutes
            for child in children:
                child.join()
            raise


def _prepare() -> None:
    """In each process: Ctrl-C is the parent's to hear, and where the parent is no more, so is its child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
