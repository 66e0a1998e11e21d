"""Artifacts that went wrong are refused with a sentence; and a loader that took one, or died of it, would be seen."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from schemas.artifact import METADATA_KEY
from tests.fuzz import loading
from tests.fuzz.artifact_mutations import _DAMAGES, _FORGERIES, _RESEALED, Mutation, may_pass, mutation, originals
from tests.fuzz.loading import Finding, load_mutations, outcome_of

GOOD = originals()[0]


def test_a_thousand_mutations_are_refused_or_where_they_may_pass_harmless() -> None:
    findings = load_mutations(1, 1000)
    assert findings.wrong == []
    assert findings.refused.total() == 1000 - may_pass(1000) == 667
    assert findings.may_pass.total() == may_pass(1000)
    assert findings.may_pass["harmless"] < 20
    assert findings.refused.keys() == _DAMAGES.keys() | _FORGERIES.keys()
    sealed_again = [made.kind for made in map(partial(mutation, 1), range(1000)) if made.may_pass]
    assert len(sealed_again) == may_pass(1000)
    assert len(set(sealed_again)) == len(_RESEALED)


def test_the_same_seed_gives_the_same_mutations() -> None:
    assert [mutation(3, number) for number in range(50)] == [mutation(3, number) for number in range(50)]


def test_every_original_is_good(tmp_path: Path) -> None:
    for file in originals():
        assert METADATA_KEY.encode() in file
        assert outcome_of(Mutation("none", file, GOOD), tmp_path / "model.onnx").startswith("taken")


def test_what_must_be_refused_and_is_harmless_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [["one", False, "harmless"], ["two", True, "harmless"], ["three", True, "taken"]]
    printing = "\n".join(f"print({json.dumps(each)!r}, flush=True)" for each in told)
    monkeypatch.setattr(loading, "_CHILD", (sys.executable, "-c", printing))
    findings = load_mutations(1, 3)
    assert findings.wrong == [Finding(0, "one", "harmless"), Finding(2, "three", "taken")]
    assert (findings.refused.total(), findings.may_pass) == (0, {"harmless": 1})


def test_a_mutation_that_is_taken_is_a_finding(tmp_path: Path) -> None:
    assert outcome_of(Mutation("none", originals()[1], GOOD), tmp_path / "model.onnx") == "taken"
    assert outcome_of(Mutation("none", GOOD, GOOD), tmp_path / "model.onnx") == "taken, though another was pinned"
    assert outcome_of(Mutation("none", originals()[1], GOOD, may_pass=True), tmp_path / "model.onnx") == "harmless"


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "time.sleep(60)"])
def test_a_process_that_dies_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    line = """'["bits flipped", false, "refused"]'"""
    dying = f"import os, time\nprint({line}, flush=True)\n{end}"
    monkeypatch.setattr(loading, "_CHILD", (sys.executable, "-c", dying))
    monkeypatch.setattr(loading, "PATIENCE_S", 2.0)
    findings = load_mutations(1, 3)
    assert findings.wrong == [Finding(1, mutation(1, 1).kind, "the process died or hung")]
    assert findings.refused["bits flipped"] == 2
