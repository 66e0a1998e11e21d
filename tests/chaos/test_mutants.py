"""Mutants can be made, are caught only as what they are, and the page says as what."""

import json
from pathlib import Path

import pytest

from tests.chaos.mutants import (
    CHECKOUT,
    CONTROL,
    MUTANTS,
    Catch,
    Trial,
    catch,
    is_right,
    mutated,
    on_a_broker,
    simulated,
    told_by_chaos,
    told_by_simulator,
)

PAGE = (CHECKOUT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_mutant_can_be_made(tmp_path: Path) -> None:
    for number, mutant in enumerate((CONTROL, *MUTANTS)):
        mutated(mutant, tmp_path / str(number))
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 10


def test_every_mutant_is_a_fault_of_some_kind_and_the_control_of_none() -> None:
    assert all(trial.kinds for mutant in MUTANTS for trial in mutant.trials)
    assert not any(trial.kinds for trial in CONTROL.trials)
    tried = {trial.where for mutant in MUTANTS for trial in mutant.trials}
    assert {trial.where for trial in CONTROL.trials} == tried, "each verifier must pass what has no fault"


def test_each_of_the_verifiers_promises_is_broken_by_some_mutant_on_a_broker() -> None:
    kinds = {
        kind for mutant in MUTANTS for trial in mutant.trials if trial.where == "on a broker" for kind in trial.kinds
    }
    assert kinds >= {"lost", "doubled", "wrong window", "out of order"}


def test_only_a_fault_of_an_expected_kind_is_a_catch() -> None:
    assert is_right(simulated("lost", "doubled"), Catch({"doubled", "unlawful end"}, ""))
    assert not is_right(simulated("lost", "doubled"), Catch({"unlawful end"}, ""))
    assert not is_right(simulated("lost"), Catch(set(), ""))
    assert is_right(simulated(), Catch(set(), ""))
    assert not is_right(simulated(), Catch({"unlawful end"}, ""))


def test_a_run_in_which_too_few_were_struck_shows_nothing() -> None:
    told = {"witnesses": [], "asked": {"kills": 3}, "aimed": {"kill": 2, "stop": 0}, "kills": {"staged": 2}}
    assert not is_right(on_a_broker(aims=["staged"], kills=3), told_by_chaos(told))
    assert is_right(on_a_broker(aims=["staged"], kills=2), told_by_chaos(told | {"asked": {"kills": 2}}))
    seen = told | {"witnesses": [{"kind": "lost"}]}
    assert is_right(on_a_broker("lost", aims=["staged"], kills=3), told_by_chaos(seen))


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ("", set()),
        (
            "seed 3: FaultsFound: lost: 2, first e-0-1: so\nwrong window: 1, first e-1-1: so\nstate.begin(x=1)\n",
            {"lost", "wrong window"},
        ),
        ("seed 3: Broken: no progress: after all faults\nstate.begin(terms=None)\n", {"no progress"}),
        ("seed 3: ProducerLostError: Local: Erroneous state: 1, first of all\n", {"it ended by itself"}),
        ("seed 3: AttributeError: it is the simulator's own mistake\n", {"AttributeError"}),
    ],
)
def test_what_the_simulator_says_is_understood(said: str, kinds: set[str]) -> None:
    assert told_by_simulator(said).kinds == kinds


def test_a_verifier_that_cannot_be_understood_has_passed_nobody() -> None:
    """Else a worker without a fault would pass for want of words."""
    mute = Trial("simulated", ("-c", """print('{"failures": 1}')"""), [])
    with pytest.raises(RuntimeError, match="not understood"):
        catch(CONTROL, mute)


def test_the_steps_of_a_simulated_failure_are_told_without_the_peaceful_ones() -> None:
    steps = "state.begin(terms=None)\nstate.kill(worker=0)\nstate.wait(seconds=1.0)\nstate.join(again=True)\n"
    assert told_by_simulator(f"seed 3: Broken: no progress: for long\n{steps}").after == "kill, join"


def test_the_page_tells_as_what_each_mutant_must_be_caught() -> None:
    for mutant in (CONTROL, *MUTANTS):
        for trial in mutant.trials:
            row = f"| {mutant.name} | {trial.where} | {' or '.join(trial.kinds) or 'nothing'} |"
            assert row in PAGE, json.dumps(row)
