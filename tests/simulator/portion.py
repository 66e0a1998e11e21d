"""The schedules of one seed, in whatever process: how many were judged, what was done, and the first that failed."""

import gc
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.simulator.machine import Simulation, schedules_of
from tests.simulator.trace import minimal, trace_of
from tests.simulator.world import the_model


@dataclass(frozen=True)
class Outcome:
    """What came of one portion; `failure` is what went wrong, and the steps that lead to it."""

    seed: int
    schedules: int
    executed: Counter[str]
    failure: str = ""


def run_portion(number: int, schedules: int) -> Outcome:
    """The schedules of one seed, in this process."""
    with _undisturbed():
        return _run_portion(number, schedules)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What workers say of faults is not news here; and worlds come and go too fast to look for cycles in each."""
    the_model()
    thresholds = gc.get_threshold()
    logging.disable(logging.WARNING)
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        logging.disable(logging.NOTSET)


def _run_portion(number: int, schedules: int) -> Outcome:
    portion = type("Portion", (Simulation,), {"executed": Counter(), "schedules": 0})
    failure = ""
    try:
        run_state_machine_as_test(seed(number)(portion), settings=schedules_of(schedules))
    except Exception as error:  # noqa: BLE001 - whatever it is, the steps to it are wanted
        steps = "\n".join(minimal(trace_of(error), error, Simulation))
        failure = f"seed {number}: {type(error).__name__}: {error}\n{steps}"
    return Outcome(number, portion.schedules, portion.executed, failure)
