"""What the simulator found: the shortest trace of each defect, as it was printed."""

import logging
from collections.abc import Iterator

import pytest

from tests.simulator.machine import Simulation
from tests.simulator.world import Terms


@pytest.fixture
def state() -> Iterator[Simulation]:
    """A schedule that is judged at its end."""
    logging.disable(logging.WARNING)
    made = Simulation()
    yield made
    logging.disable(logging.NOTSET)


def test_a_partition_that_was_added_is_read_from_its_beginning_though_its_first_reader_hung(state: Simulation) -> None:
    """Its sibling's owner had raised the recorded partition count, so that it seemed to be there from the start."""
    state.begin(terms=Terms(start="latest", partitions=1), workers=2)
    state.add_partition()
    state.add_partition()
    state.join(again=False)
    state.finish_inference(worker=0)
    state.read(fate="stopped before", worker=0)
    state.add_partition()
    state.teardown()


def test_windows_that_stayed_warm_are_not_truncated_by_a_deletion_meanwhile(state: Simulation) -> None:
    state.begin(terms=Terms(start="latest", partitions=1), workers=1)
    state.expel(worker=0)
    state.delete_records(partition=0, share=0.5, unread=False)
    state.teardown()


def test_what_is_committed_does_not_go_back_where_partitions_are_given_away_while_a_commit_is_in_doubt(
    state: Simulation,
) -> None:
    """A worker that took up where another had died counted its attempt back, at the offset before the last commit."""
    state.begin(terms=Terms(eager=True), workers=2)
    state.add_partition()
    state.add_partition()
    state.ask_where_to_start(call="committed", fate="lost", worker=0)
    state.rebalance(events=0, turns=3)
    state.end_in_commit(call="commit_transaction", fate="killed before", worker=0)
    state.commit_times_out(call="commit_transaction", fate="answer lost", worker=0)
    state.teardown()


def test_two_workers_of_one_id_do_not_fence_each_other_for_ever_though_each_had_a_start_that_failed(
    state: Simulation,
) -> None:
    """Each took the other's start for its own, which it had given up and which might have come late."""
    state.begin(terms=Terms(partitions=1), workers=1)
    state.add_partition()
    state.add_partition()
    state.publish(fate="stopped before", worker=0)
    state.add_partition()
    state.replace(worker=0)
    state.begin_anew(fate="lost", worker=0)
    state.expel(worker=0)
    state.go_on(worker=0)
    state.begin_anew(fate="lost", worker=0)
    state.teardown()


def test_a_worker_that_was_not_told_in_time_where_to_start_is_ready_once_it_is_told(state: Simulation) -> None:
    """It had everything scored and committed, and never said that it had joined the group."""
    state.begin(terms=Terms(delivery="at-least-once", partitions=1, lookback_offsets=30), workers=3)
    state.ask_where_to_start(call="committed", fate="stopped before", worker=1)
    state.kill(worker=0)
    state.read(fate="killed before", worker=0)
    state.move_coordinator(away_s=50.0, coordinator="group")
    state.go_on(worker=0)
    state.teardown()
