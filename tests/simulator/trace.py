"""The trace of a failed schedule: lines of Python as Hypothesis prints them, run again, and made as short as can be.

Hypothesis makes each step simple, and leaves steps that change nothing; here they go.
"""

from collections.abc import Sequence

from hypothesis.stateful import RuleBasedStateMachine

from tests.simulator.world import Terms

Trace = Sequence[str]
_LAST = "state.teardown()"


def trace_of(failure: BaseException) -> Trace:
    """The steps that led to a failure, as its notes tell them."""
    lines = "\n".join(getattr(failure, "__notes__", [])).splitlines()
    return [line for line in lines if line.startswith("state.")]


def replayed(trace: Trace, machine: type[RuleBasedStateMachine]) -> BaseException | None:
    """What goes wrong when these steps are run; None if nothing does."""
    state = machine()
    try:
        for line in trace:
            exec(line, {"state": state, "Terms": Terms})  # noqa: S102 - a line of our own
    except BaseException as failure:  # noqa: BLE001 - a failure is what is asked for
        if line != _LAST:
            state.teardown()
        return failure
    return None


def minimal(trace: Trace, failure: BaseException, machine: type[RuleBasedStateMachine]) -> Trace:
    """The same failure with no step to spare; the first one begins the world."""
    shortest = list(trace)
    place = len(shortest)
    while place > 2:
        place = min(place, len(shortest)) - 1
        shorter = [*shortest[:place], *shortest[place + 1 :]]
        if _is_same(failure, replayed(shorter, machine)):
            shortest, place = shorter, len(shorter)
    return shortest


def _is_same(one: BaseException, other: BaseException | None) -> bool:
    kinds, others = (getattr(failure, "kinds", {type(failure)}) for failure in (one, other))
    return bool(set(kinds) & set(others))
