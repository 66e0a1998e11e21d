"""A hundred thousand records by chance keep every promise of the decoder; and the search would see one that did not."""

from collections.abc import Sequence
from random import Random

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.decoding import Outcome, Target, over_budget, search
from tests.fuzz.records import FORMATS, NOW_MS, Record, RecordMaker, giants

GOOD = Record(b'{"x":1,"y":2,"z":3}', b"m", NOW_MS)


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_thousand_records_keep_every_promise(seed: int) -> None:
    assert search(seed, 20_000) is None


@hypothesis.settings(max_examples=100, deadline=None)
@given(settings=st.sampled_from(FORMATS), chance=st.randoms(use_true_random=False), size=st.integers(1, 8))
def test_records_that_shrink_keep_every_promise(settings: dict[str, object], chance: Random, size: int) -> None:
    batch = RecordMaker(chance).batch(size)
    assert Target(settings).broken_promise(batch, Random(1), alone=size) is None


@hypothesis.settings(max_examples=100, deadline=None)
@given(settings=st.sampled_from(FORMATS), values=st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_any_bytes_keep_every_promise(settings: dict[str, object], values: list[bytes]) -> None:
    batch = [Record(value, b"m", NOW_MS) for value in values]
    assert Target(settings).broken_promise(batch, Random(1), alone=len(values)) is None


@pytest.mark.parametrize("name", giants(100))
def test_a_costly_record_takes_time_and_memory_in_proportion(name: str) -> None:
    batch = [GOOD, Record(giants(900_000)[name], b"m", NOW_MS), GOOD]
    for settings in FORMATS[:2]:
        target = Target(settings)
        assert over_budget(target, batch) is None
        assert target.broken_promise(batch, Random(1)) is None


def test_the_same_seed_gives_the_same_records() -> None:
    assert RecordMaker(Random(3)).batch(500) == RecordMaker(Random(3)).batch(500)


def test_every_reason_and_every_kind_of_outcome_occurs() -> None:
    maker = RecordMaker(Random(1))
    reasons = {
        outcome for settings in FORMATS for outcome in map(_reason, Target(settings).outcomes(maker.batch(2000)))
    }
    assert reasons == {
        "valid",
        "skipped",
        "empty",
        "too_large",
        "undecodable",
        "wrong_type",
        "no_entity",
        "bad_timestamp",
        "not_finite",
        "missing_features",
    }


def _reason(outcome: Outcome) -> str:
    return str(outcome[1] if outcome[0] == "refused" else outcome[0])


# The search itself ----------------------------------------------------------------------------------------------------


class _Loser(Target):
    """Forgets a record."""

    def outcomes(self, batch: Sequence[Record]) -> list[Outcome]:
        assert not any(b"\\ud83d" in (record.value or b"") for record in batch), "not every record is in one place"
        return super().outcomes(batch)


class _Gossip(Target):
    """What stands in one record changes the one in front of it."""

    def outcomes(self, batch: Sequence[Record]) -> list[Outcome]:
        found = super().outcomes(batch)
        for row, record in enumerate(batch[1:]):
            if record.value and record.value.startswith(b"\xef\xbb\xbf"):
                found[row] = ("refused", "undecodable")
        return found


class _Crasher(Target):
    """Raises an exception for deep records."""

    def outcomes(self, batch: Sequence[Record]) -> list[Outcome]:
        if any((record.value or b"").count(b"[") > 100 for record in batch):
            raise RecursionError
        return super().outcomes(batch)


class _Lenient(Target):
    """Takes numbers in quotes."""

    def outcomes(self, batch: Sequence[Record]) -> list[Outcome]:
        return [("skipped",) if record.value and b'"1.5"' in record.value else found
                for record, found in zip(batch, super().outcomes(batch), strict=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("mutant", "broken", "length"),
    [
        (_Loser, "not every record is in one place", 6),
        (_Gossip, "other", 80),
        (_Crasher, "an exception: RecursionError", 101),
        (_Lenient, "the verdict is not the one of the contract", 5),
    ],
)
def test_a_broken_promise_is_found_and_its_witness_is_small(mutant: type[Target], broken: str, length: int) -> None:
    witness = search(1, 20_000, targets=[mutant({})])
    assert witness is not None
    assert broken in witness.broken
    assert len(witness.records) <= 2
    assert sum(len(record.value or b"") for record in witness.records) <= length


def test_what_takes_too_long_or_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target({})
    assert over_budget(target, [GOOD] * 100) is None
    monkeypatch.setattr("tests.fuzz.decoding.CPU_SECONDS", -1.0)
    assert "took" in (over_budget(target, [GOOD] * 100) or "")
    monkeypatch.setattr("tests.fuzz.decoding.CPU_SECONDS", 9.0)
    monkeypatch.setattr("tests.fuzz.decoding.PEAK_BYTES", -(1 << 20))
    assert "at once" in (over_budget(target, [GOOD] * 100) or "")
