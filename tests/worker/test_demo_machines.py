import numpy as np
import pytest

from worker.demo.machines import Machines, epoch_ms, example_folder, load_machines, moment


@pytest.fixture(scope="module")
def machines() -> Machines:
    return load_machines(example_folder())


def test_six_servers_come_in_the_order_of_their_numbers(machines: Machines) -> None:
    assert machines.servers == ("omi-1", "omi-3", "omi-5", "omi-7", "omi-9", "omi-11")


def test_the_test_part_follows_the_training_part_at_the_same_step(machines: Machines) -> None:
    for server in machines.servers:
        time_ms = np.concatenate([machines.train[server].time_ms, machines.test[server].time_ms])
        assert len(time_ms) == 45 * 288
        assert set(np.diff(time_ms).tolist()) == {300_000}


def test_every_row_holds_nineteen_numbers_between_0_and_1(machines: Machines) -> None:
    assert len(machines.features) == 19
    for rows in (*machines.train.values(), *machines.test.values()):
        assert rows.values.shape == (len(rows.time), 19)
        assert np.all((rows.values >= 0) & (rows.values <= 1))


def test_there_are_39_incidents_all_within_the_test_part(machines: Machines) -> None:
    assert len(machines.incidents) == 39
    for incident in machines.incidents:
        time_ms = machines.test[incident.server].time_ms
        assert time_ms[0] <= incident.first_ms <= incident.last_ms <= time_ms[-1]
        assert set(incident.metrics) <= set(machines.features)
        assert incident.metrics


def test_the_rows_that_a_worker_sees_hold_no_label() -> None:
    for part in ("train", "test"):
        for file in (example_folder() / part).iterdir():
            assert file.name.endswith(".csv.gz")
    assert not any("label" in name for name in load_machines(example_folder()).features)


def test_a_moment_is_read_and_shown_in_utc() -> None:
    assert epoch_ms("1970-01-02T00:00:00Z") == 86_400_000
    assert moment(86_400_000) == "02 Jan 00:00"
