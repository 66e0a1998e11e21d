"""What the window store promises, one sentence at a time; the oracle test beside it holds the general case."""

import numpy as np
import pytest

from worker.batch import Events, Float32, Int64
from worker.windows import WindowStore

ROW_BYTES = 4 * 8 + 8  # of 8 features


def make_store(
    *,
    window: int = 4,
    features: int = 1,
    lookback: int = 1000,
    max_gap_ms: int | None = None,
    with_elapsed: bool = False,
    slack_bytes: int = 1 << 16,
) -> WindowStore:
    return WindowStore(
        window=window,
        features=features,
        lookback_offsets=lookback,
        max_gap_ms=max_gap_ms,
        with_elapsed=with_elapsed,
        slack_bytes=slack_bytes,
    )


def make_events(entity: list[str], *, event_time: list[int] | None = None, features: Float32 | None = None) -> Events:
    count = len(entity)
    return Events(
        row=np.arange(count),
        entity=entity,
        event_time=np.array(event_time or [0] * count, np.int64),
        features=np.arange(count, dtype=np.float32).reshape(count, 1) if features is None else features,
        context=None,
        refused=[],
        skipped=np.zeros(0, np.int64),
    )


def at(count: int, *, partition: int = 0, offset: int = 0) -> dict[str, Int64]:
    """Consecutive offsets of one partition."""
    return {"partition": np.full(count, partition), "offset": np.arange(offset, offset + count)}


@pytest.mark.parametrize(
    ("offsets", "digest"),
    [(range(1), "e220a8397b1dcdaf"), (range(3), "0a830c0420b7813e"), (range(100, 132), "dac2315820d0ed6d")],
)
def test_the_digest_is_that_of_the_published_examples(offsets: range, digest: str) -> None:
    windows = make_store(window=32).extend(make_events(["a"] * len(offsets)), **at(len(offsets), offset=offsets.start))
    assert f"{windows.digest[-1]:016x}" == digest


def test_a_window_fills_from_the_back_with_nan_in_front() -> None:
    windows = make_store(window=3).extend(make_events(["a", "b", "a"]), **at(3))
    nan = np.nan
    np.testing.assert_array_equal(windows.values[:, :, 0], [[nan, nan, 0], [nan, nan, 1], [nan, 0, 2]])
    assert windows.length.tolist() == [1, 1, 2]
    assert windows.first_offset.tolist() == [0, 1, 0]
    assert windows.elapsed is None


def test_a_missing_value_stays_missing_in_its_row() -> None:
    features = np.array([[1, np.nan], [2, 3]], np.float32)
    windows = make_store(window=2, features=2).extend(make_events(["a", "a"], features=features), **at(2))
    np.testing.assert_array_equal(windows.values[1], features)


def test_the_same_name_in_two_partitions_is_two_entities() -> None:
    store = make_store()
    windows = store.extend(make_events(["a", "a"]), partition=np.array([0, 5]), offset=np.array([7, 7]))
    assert windows.length.tolist() == [1, 1]
    assert store.entities == 2


def test_interleaved_partitions_give_what_each_gives_alone() -> None:
    rng = np.random.default_rng(1)
    partition = rng.integers(0, 7, 300)
    offset = np.arange(300) * 2
    entity = [f"e{number}" for number in rng.integers(0, 5, 300)]
    together = make_store().extend(make_events(entity), partition=partition, offset=offset)
    for number in range(7):
        rows = np.flatnonzero(partition == number)
        events = make_events([entity[row] for row in rows], features=rows.astype(np.float32)[:, np.newaxis])
        alone = make_store().extend(events, partition=partition[rows], offset=offset[rows])
        np.testing.assert_array_equal(alone.values, together.values[rows])
        np.testing.assert_array_equal(alone.digest, together.digest[rows])


def test_the_lookback_counts_offsets_and_excludes_its_far_end() -> None:
    windows = make_store(lookback=10).extend(
        make_events(["a"] * 3), partition=np.zeros(3, np.int64), offset=np.array([0, 9, 10])
    )
    assert windows.length.tolist() == [1, 2, 2]
    assert windows.first_offset.tolist() == [0, 0, 9]


def test_a_row_is_there_as_long_as_a_window_can_reach_it() -> None:
    store = make_store(lookback=10)
    store.refill(make_events(["a", *"bcdefghi"]), **at(9))
    assert store.extend(make_events(["a"]), **at(1, offset=9)).length.tolist() == [2]


def test_an_entity_that_was_swept_comes_back_whole() -> None:
    store = make_store(lookback=10)
    store.refill(make_events(["a", "b"]), partition=np.zeros(2, np.int64), offset=np.array([0, 10]))
    assert store.entities == 1
    windows = store.extend(make_events(["a", "b"]), **at(2, offset=11))
    assert windows.length.tolist() == [1, 2]


def test_a_step_longer_than_the_gap_cuts_but_one_as_long_does_not() -> None:
    times = [0, 100, 201, 301]
    windows = make_store(max_gap_ms=100).extend(make_events(["a"] * 4, event_time=times), **at(4))
    assert windows.length.tolist() == [1, 2, 1, 2]
    assert np.isnan(windows.values[2:, :2]).all()


def test_a_step_backwards_in_time_cuts_nothing() -> None:
    store = make_store(max_gap_ms=100, with_elapsed=True)
    windows = store.extend(make_events(["a"] * 3, event_time=[90_000, 0, 50]), **at(3))
    assert windows.length.tolist() == [1, 2, 3]
    assert windows.elapsed is not None
    np.testing.assert_array_equal(windows.elapsed[2], np.array([np.nan, -89.95, 0.05, 0], np.float32))


def test_elapsed_counts_seconds_back_from_the_last_row() -> None:
    store = make_store(with_elapsed=True)
    windows = store.extend(make_events(["a"] * 3, event_time=[0, 1500, 1750]), **at(3))
    assert windows.elapsed is not None
    np.testing.assert_array_equal(windows.elapsed[2], np.array([np.nan, 1.75, 0.25, 0], np.float32))


def test_a_staged_batch_is_seen_by_the_next_and_leaves_no_trace_when_dropped() -> None:
    store = make_store()
    store.refill(make_events(["a"]), **at(1))
    assert store.extend(make_events(["a", "b"]), **at(2, offset=1)).length.tolist() == [2, 1]
    assert store.extend(make_events(["b", "a"]), **at(2, offset=3)).length.tolist() == [2, 3]
    store.drop()
    assert store.entities == 1
    again = store.extend(make_events(["a", "b"]), **at(2, offset=1))
    assert again.length.tolist() == [2, 1]
    assert again.first_offset.tolist() == [0, 2]


def test_what_was_kept_survives_a_drop() -> None:
    store = make_store()
    for offset in range(3):
        store.extend(make_events(["a"]), **at(1, offset=offset))
    store.keep(2)
    store.drop()
    assert store.extend(make_events(["a"]), **at(1, offset=2)).length.tolist() == [3]


def test_more_batches_than_are_staged_cannot_be_kept() -> None:
    store = make_store()
    store.extend(make_events(["a"]), **at(1))
    with pytest.raises(ValueError, match="1 are staged"):
        store.keep(2)


def test_windows_that_were_handed_out_never_change() -> None:
    store = make_store(window=2, slack_bytes=0)
    windows = store.extend(make_events(["a", "a"]), **at(2))
    before = windows.values.copy()
    store.keep()
    for offset in range(2, 40, 2):
        store.extend(make_events(["a", "a"], features=np.full((2, 1), 9, np.float32)), **at(2, offset=offset))
        store.keep()
    np.testing.assert_array_equal(windows.values, before)


def test_an_empty_batch_is_a_batch_like_any_other() -> None:
    store = make_store(with_elapsed=True)
    windows = store.extend(make_events([]), **at(0))
    assert windows.values.shape == (0, 4, 1)
    store.refill(make_events([]), **at(0))
    store.keep()
    with pytest.raises(ValueError, match="0 are staged"):
        store.keep()


def test_a_forgotten_partition_begins_anew_and_the_others_stay() -> None:
    store = make_store()
    store.refill(make_events(["a", "a"]), partition=np.array([0, 1]), offset=np.array([0, 0]))
    store.mark_missing(0, before=500)
    store.forget(0)
    windows = store.extend(make_events(["a", "a"]), partition=np.array([0, 1]), offset=np.array([1, 1]))
    assert windows.length.tolist() == [1, 2]
    assert windows.truncated.tolist() == [False, False]


def test_a_partition_with_staged_events_cannot_be_forgotten() -> None:
    store = make_store()
    store.extend(make_events(["a"]), **at(1))
    with pytest.raises(ValueError, match="staged"):
        store.forget(0)


def test_a_window_that_reaches_below_the_mark_is_truncated_until_it_is_full() -> None:
    store = make_store(window=2)
    store.mark_missing(0, before=50)
    windows = store.extend(make_events(["a", "a", "a"]), **at(3, offset=50))
    assert windows.truncated.tolist() == [True, False, False]


def test_a_window_is_not_truncated_where_the_lookback_ends_above_the_mark() -> None:
    store = make_store(lookback=10)
    store.mark_missing(0, before=50)
    windows = store.extend(make_events(["a", "b"]), partition=np.zeros(2, np.int64), offset=np.array([58, 59]))
    assert windows.truncated.tolist() == [True, False]


def test_a_window_cut_by_a_gap_is_whole_however_much_is_missing() -> None:
    store = make_store(max_gap_ms=100)
    store.mark_missing(0, before=50)
    windows = store.extend(make_events(["a", "a"], event_time=[0, 101]), **at(2, offset=50))
    assert windows.truncated.tolist() == [True, False]


def test_a_cut_stays_known_while_the_window_behind_it_fills() -> None:
    store = make_store(max_gap_ms=100)
    store.mark_missing(0, before=10)
    store.refill(make_events(["a", "a"], event_time=[0, 500]), **at(2, offset=10))
    windows = store.extend(make_events(["a"], event_time=[501]), **at(1, offset=12))
    store.keep()
    assert windows.length.tolist() == [2]
    assert windows.truncated.tolist() == [False]
    assert store.oldest_needed(0, committed=13) == 10
    store.refill(make_events(["a"] * 3, event_time=[502, 503, 504]), **at(3, offset=13))
    assert store.oldest_needed(0, committed=16) == 12


def test_the_mark_can_be_taken_back() -> None:
    store = make_store()
    store.mark_missing(0, before=50)
    store.mark_missing(0, before=None)
    assert not store.extend(make_events(["a"]), **at(1, offset=50)).truncated.any()


def test_nothing_is_needed_of_a_partition_without_entities() -> None:
    assert make_store().oldest_needed(3, committed=77) == 77


def test_a_detector_of_single_rows_needs_nothing() -> None:
    store = make_store(window=1)
    store.refill(make_events(["a"]), **at(1))
    assert store.oldest_needed(0, committed=500) == 500


def test_the_oldest_needed_offset_follows_the_entity_that_lags_most() -> None:
    store = make_store(window=2)
    store.refill(make_events(["a", "b", "a", "a"]), **at(4))
    assert store.oldest_needed(0, committed=4) == 1
    store.refill(make_events(["b", "b"]), **at(2, offset=4))
    assert store.oldest_needed(0, committed=6) == 2


def test_the_oldest_needed_offset_never_lies_beyond_the_lookback() -> None:
    store = make_store(lookback=10)
    store.extend(make_events(["a", "b"]), partition=np.zeros(2, np.int64), offset=np.array([0, 30]))
    assert store.oldest_needed(0, committed=31) == 22
    store.keep()
    assert store.oldest_needed(0, committed=31) == 30


def test_the_oldest_needed_offset_rises_when_rows_age() -> None:
    store = make_store(lookback=8)
    store.refill(make_events(["a"] * 3), partition=np.zeros(3, np.int64), offset=np.array([0, 5, 9]))
    assert store.oldest_needed(0, committed=10) == 5


def test_the_oldest_needed_offset_knows_a_partition_that_began_just_now() -> None:
    store = make_store()
    store.refill(make_events([f"e{number}" for number in range(100)]), **at(100))
    assert store.oldest_needed(1, committed=7) == 7
    store.refill(make_events(["a"]), **at(1, partition=1, offset=7))
    assert store.oldest_needed(1, committed=9) == 7
    store.forget(1)
    assert store.oldest_needed(1, committed=9) == 9


def test_what_a_staged_batch_no_longer_needs_is_needed_until_it_is_kept() -> None:
    store = make_store(window=2)
    store.refill(make_events(["a", "a"]), **at(2))
    store.extend(make_events(["a", "a"]), **at(2, offset=2))
    assert store.oldest_needed(0, committed=2) <= 1
    store.keep()
    assert store.oldest_needed(0, committed=4) == 2


def test_a_cut_is_found_again_by_a_replay_of_a_partition_that_misses_rows() -> None:
    store = make_store(max_gap_ms=100)
    store.mark_missing(0, before=10)
    store.refill(make_events(["a", "a"], event_time=[0, 500]), **at(2, offset=10))
    assert store.oldest_needed(0, committed=12) == 10


@pytest.mark.parametrize("wrong", [{"window": 0}, {"features": 0}, {"lookback": 0}, {"lookback": 1 << 31}])
def test_a_store_without_room_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        make_store(**wrong)


def names(start: int, stop: int) -> list[str]:
    return [f"machine-{number:06}" for number in range(start, stop)]


def bound(entities: int, window: int, name_bytes: int) -> float:
    return entities * (window * ROW_BYTES * 1.1 + 200 + name_bytes)


def fill(store: WindowStore, entities: int, rounds: int, *, first: int = 0, partition: int = 0) -> int:
    """Give each of the entities one event a round; the next offset."""
    features = np.zeros((entities, 8), np.float32)
    for offset in range(first, first + entities * rounds, entities):
        store.extend(
            make_events(names(0, entities), features=features), **at(entities, partition=partition, offset=offset)
        )
        store.keep()
    return first + entities * rounds


def test_an_entity_seen_once_costs_one_row() -> None:
    store = make_store(window=200, features=8, lookback=10**6)
    fill(store, 10_000, 1)
    assert store.nbytes < bound(10_000, 1, name_bytes=14) + 2 * (1 << 16)


def test_full_windows_cost_no_more_than_a_tenth_beside_their_rows() -> None:
    store = make_store(window=16, features=8, lookback=10**6)
    fill(store, 10_000, 40)
    assert store.nbytes < bound(10_000, 16, name_bytes=14)


def test_entities_that_come_and_go_do_not_pile_up() -> None:
    store = make_store(window=4, features=8, lookback=4000)
    features = np.zeros((1000, 8), np.float32)
    held = []
    for first in range(0, 100_000, 1000):
        store.extend(make_events(names(first, first + 1000), features=features), **at(1000, offset=first))
        store.keep()
        held.append((store.entities, store.nbytes))
    assert max(entities for entities, _ in held) <= 6000
    assert max(size for _, size in held) < bound(6000, 2, name_bytes=14) + 2 * (1 << 16)


def test_offsets_that_begin_again_after_a_partition_was_forgotten_are_swept_too() -> None:
    store = make_store(lookback=100)
    store.refill(make_events(["a"]), **at(1, offset=10**9))
    store.forget(0)
    for offset in range(0, 1000, 10):
        store.refill(make_events(names(offset, offset + 10)), **at(10, offset=offset))
    assert store.entities <= 135


def test_a_partition_holds_at_most_twice_the_lookback_in_rows() -> None:
    store = make_store(window=500, features=8, lookback=2000)
    fill(store, 100, 200)
    assert store._rows.capacity - store._rows.unused <= 2 * 2000


def test_rows_older_than_the_lookback_go_even_while_batches_are_always_staged() -> None:
    store = make_store(window=500, features=8, lookback=2000)
    features = np.zeros((100, 8), np.float32)
    for offset in range(0, 60_000, 100):
        entity = names(offset % 1000, offset % 1000 + 100)
        store.extend(make_events(entity, features=features), **at(100, offset=offset))
        if offset >= 300:
            store.keep()
    assert store._rows.capacity - store._rows.unused <= 2 * 2000


def test_a_row_that_ages_under_a_staged_one_is_freed_once() -> None:
    store = make_store(lookback=10)
    store.refill(make_events(["a"]), **at(1))
    store.extend(make_events([*"bcdefghij"]), **at(9, offset=1))
    store.extend(make_events(["a"]), **at(1, offset=10))
    store.keep()  # the reach is now the offset of the first row, which the staged one follows
    store.drop()
    store.extend(make_events(["a"]), **at(1, offset=10))
    store.keep()
    store.refill(make_events([*"klma"]), **at(4, offset=11))
    windows = store.extend(make_events([*"klma"]), **at(4, offset=15))
    assert windows.length.tolist() == [2, 2, 2, 3]
    assert windows.values[:, 2, 0].tolist() == [0, 1, 2, 3]


def test_memory_is_given_back_when_partitions_are_forgotten() -> None:
    store = make_store(window=16, features=8, lookback=10**6)
    for partition in range(8):
        fill(store, 2000, 16, partition=partition)
    for partition in range(7):
        store.forget(partition)
    assert store.nbytes < bound(2000, 16, name_bytes=14)
    windows = store.extend(
        make_events(names(0, 3), features=np.zeros((3, 8), np.float32)), **at(3, partition=7, offset=32_000)
    )
    assert windows.length.tolist() == [16, 16, 16]


def test_what_is_staged_survives_the_compaction_beside_it() -> None:
    store = make_store(window=4, features=8, lookback=10**6, slack_bytes=0)
    fill(store, 50, 4, partition=0)
    end = fill(store, 3, 3, partition=1)
    staged = store.extend(
        make_events(names(0, 3), features=np.ones((3, 8), np.float32)), **at(3, partition=1, offset=end)
    )
    store.forget(0)
    store.drop()
    again = store.extend(
        make_events(names(0, 3), features=np.ones((3, 8), np.float32)), **at(3, partition=1, offset=end)
    )
    np.testing.assert_array_equal(again.values, staged.values)
    assert again.digest.tolist() == staged.digest.tolist()
