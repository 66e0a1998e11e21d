"""`make fuzz`: one JSON line, and an exit code that tells."""

import json
import sys
from collections import Counter

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.decoding import Witness
from tests.fuzz.loading import Finding, Findings
from tests.fuzz.records import Record

SOUND = Findings(Counter({"truncated": 30}), Counter(), [])


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ["fuzz", "--inputs", "500", "--mutations", "30", "--seed", "5", "--processes", "1"]
    monkeypatch.setattr(sys, "argv", told)


@pytest.mark.usefixtures("arguments")
def test_where_every_promise_holds_the_line_says_so_and_the_exit_code_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["inputs"], told["mutations"]) == (5, 500, 30)
    assert told["refused"] == told["must_be_refused"] == 20
    may_pass = told["may_pass"]
    assert may_pass["refused"] + may_pass["harmless"] == may_pass["all"] == 10
    assert told["revision"].removesuffix("-dirty").isalnum()
    assert (told["witness"], told["wrong"]) == (None, [])


@pytest.mark.usefixtures("arguments")
def test_a_process_that_does_not_come_back_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command._decode(command._arguments(), lambda _: None) is None
    monkeypatch.setattr(command, "PATIENCE_S", 0.001)  # far less than it takes
    found = command._decode(command._arguments(), lambda _: None)
    assert found == {"broken": "a process that decoded died or hung", "seed": 5 * 1_000_003, "inputs": 500}


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    ("witness", "findings"),
    [
        (command._described(Witness("an exception", {}, [Record(b"{", None, 0)])), SOUND),
        (None, SOUND._replace(wrong=[Finding(7, "truncated", "taken")])),
    ],
)
def test_with_a_witness_or_a_finding_the_exit_code_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], witness: object, findings: Findings
) -> None:
    monkeypatch.setattr(command, "_decode", lambda *_: witness)
    monkeypatch.setattr(command, "load_mutations", lambda *_, **__: findings)
    assert command.main() == 1
    told = json.loads(capsys.readouterr().out)
    assert told["witness"] == witness
    assert len(told["wrong"]) == len(findings.wrong)
