"""A budget of records spread over partitions."""

from hypothesis import given
from hypothesis import strategies as st

from worker.batch import TopicPartition
from worker.log_slice import Slice, newest


@given(sizes=st.lists(st.integers(0, 1000), max_size=8), budget=st.integers(1, 2000))
def test_the_newest_are_taken_in_proportion_and_no_more_than_asked_for(sizes: list[int], budget: int) -> None:
    slices = [Slice(TopicPartition("t", place), 100, 100 + size) for place, size in enumerate(sizes)]
    taken = newest(slices, budget)
    assert sum(map(len, taken)) == min(budget, sum(sizes))
    for before, after in zip(slices, taken, strict=True):
        assert after.partition == before.partition
        assert after.end == before.end
        assert after.start >= before.start
        assert abs(len(after) - len(before) * min(1.0, budget / max(1, sum(sizes)))) <= 1


def test_an_empty_slice_has_no_length() -> None:
    assert len(Slice(TopicPartition("t", 0), 5, 3)) == 0
