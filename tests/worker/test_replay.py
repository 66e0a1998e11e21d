"""Where a partition is taken up (R2-R4): the plans, for every state of group and log."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from schemas.checkpoint import Checkpoint
from worker.replay import Committed, Plan, first_start, resume

SPEC = "0123456789abcdef"
L = 100

offsets = st.integers(0, 300)
checkpoints = st.none() | st.builds(
    Checkpoint, lo=offsets, spec=st.sampled_from([SPEC, "other"]), np=st.integers(1, 9), tr=st.none() | offsets
)
groups = st.builds(Committed, offset=offsets, checkpoint=checkpoints)


def committed(offset: int, *, lo: int = 0, spec: str = SPEC, tr: int | None = None) -> Committed:
    return Committed(offset=offset, checkpoint=Checkpoint(lo=lo, spec=spec, np=1, tr=tr))


def plan(of: Committed, *, log_start: int = 0) -> Plan:
    return resume(of, log_start=log_start, spec=SPEC, lookback_offsets=L)


# ---- a group that committed before


def test_windows_are_refilled_from_the_oldest_offset_still_needed() -> None:
    assert plan(committed(500, lo=450)) == Plan(position=450, committed=500, np=1)


def test_nothing_is_refilled_where_nothing_is_needed() -> None:
    assert plan(committed(500, lo=500)) == Plan(position=500, committed=500, np=1)


def test_a_checkpoint_of_another_spec_is_replayed_from_the_lookback() -> None:
    assert plan(committed(500, lo=450, spec="other")).position == 400


def test_an_operators_reset_is_replayed_from_the_lookback() -> None:
    assert plan(Committed(offset=500, checkpoint=None)).position == 400
    assert plan(Committed(offset=30, checkpoint=None)).position == 0


def test_rows_that_were_needed_and_are_deleted_are_missing() -> None:
    assert plan(committed(500, lo=450), log_start=470) == Plan(position=470, committed=500, missing_before=470, np=1)


def test_rows_that_were_deleted_but_not_needed_are_not_missed() -> None:
    assert plan(committed(500, lo=450), log_start=450).missing_before is None


def test_what_an_earlier_worker_missed_is_missed_as_long_as_a_window_may_reach_it() -> None:
    assert plan(committed(500, lo=450, tr=401)).missing_before == 401
    assert plan(committed(500, lo=450, tr=400)).missing_before is None


def test_records_deleted_before_they_were_scored_are_a_gap() -> None:
    taken_up = plan(committed(500, lo=450), log_start=520)
    assert taken_up == Plan(position=520, committed=520, missing_before=520, gap=20, np=1)


def test_the_recorded_partition_count_is_handed_on() -> None:
    assert plan(committed(500)).np == 1
    assert plan(Committed(offset=500, checkpoint=None)).np is None


@given(groups, offsets)
def test_a_plan_reads_no_deleted_record_and_scores_from_where_the_group_stood(group: Committed, log_start: int) -> None:
    taken_up = plan(group, log_start=log_start)
    assert log_start <= taken_up.position <= taken_up.committed
    assert taken_up.committed - taken_up.gap == group.offset
    assert (taken_up.gap > 0) == (log_start > group.offset)
    assert not taken_up.first_start


@given(groups, offsets)
def test_a_plan_reaches_back_to_all_that_is_needed_or_says_what_is_missing(group: Committed, log_start: int) -> None:
    taken_up = plan(group, log_start=log_start)
    ours = group.checkpoint if group.checkpoint and group.checkpoint.spec == SPEC else None
    needed = max(0, group.offset - L) if ours is None else min(ours.lo, group.offset)
    needed = max(needed, group.offset - L)
    assert taken_up.position <= needed or taken_up.missing_before == log_start


@given(groups, offsets)
def test_a_checkpoint_never_makes_a_plan_reach_further_than_the_lookback(group: Committed, log_start: int) -> None:
    with_it = plan(group, log_start=log_start)
    without = plan(replace(group, checkpoint=None), log_start=log_start)
    assert with_it.position >= without.position
    assert with_it.committed == without.committed


# ---- a group that never did


def test_the_first_start_fills_windows_from_the_lookback_and_is_to_be_committed() -> None:
    assert first_start(500, log_start=0, lookback_offsets=L) == Plan(position=400, committed=500, first_start=True)


def test_the_first_start_at_the_logs_start_refills_nothing() -> None:
    assert first_start(0, log_start=0, lookback_offsets=L) == Plan(position=0, committed=0, first_start=True)


def test_a_first_start_behind_deleted_rows_says_that_they_are_missing() -> None:
    assert first_start(500, log_start=450, lookback_offsets=L) == Plan(
        position=450, committed=500, missing_before=450, first_start=True
    )


@given(offsets, offsets)
def test_a_first_start_is_never_below_the_logs_start_and_no_gap(start: int, log_start: int) -> None:
    taken_up = first_start(start, log_start=log_start, lookback_offsets=L)
    assert log_start <= taken_up.position <= taken_up.committed == max(start, log_start)
    assert taken_up.gap == 0
