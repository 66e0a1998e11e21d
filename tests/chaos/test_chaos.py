"""A short chaos run: two kills at every failpoint, zombies, and every kind of fault that befalls a lone broker."""

import pytest

from tests.chaos.plan import BRISK, Plan, usual_faults
from tests.chaos.run import run
from worker.failpoints import NAMES

AT_MOST_MINUTES = 12
"""Two are enough, but for a machine that is busy with other things: the run ends with the last strike."""


@pytest.mark.timeout(2_000)
@pytest.mark.parametrize(("seed", "protocol", "kills"), [(1, "classic", 2 * len(NAMES)), (2, "consumer", len(NAMES))])
def test_nothing_is_lost_doubled_wrong_or_reordered_wherever_workers_are_struck(
    seed: int, protocol: str, kills: int
) -> None:
    told = run(
        Plan(seed=seed, minutes=AT_MOST_MINUTES, kills=kills, protocol=protocol, pace=BRISK, faults=usual_faults(1))
    )
    assert told["witnesses"] == []
    assert min(told["kills"].values()) >= kills // len(NAMES), told
    assert told["aimed"]["stop"] >= 2, told
    assert min(told["faults"].values()) >= 1, told
    assert sum(told["recovered"].values()) >= 1, "zombies and answers withheld must have cost somebody a transaction"
    assert told["scored"] > 5_000
    assert told["dead"] > 100
