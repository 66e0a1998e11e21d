"""Features found in events before there is a model."""

from worker.discovery import numeric_fields


def test_fields_that_are_numbers_wherever_they_occur_are_features() -> None:
    values = [b'{"cpu":1,"host":"a","ok":true,"mixed":1}', b'{"cpu":null,"mem":2.5,"host":"b","mixed":"x"}']
    assert numeric_fields(values, without=()) == ("cpu", "mem")


def test_rare_fields_and_those_with_another_meaning_are_left_out() -> None:
    values = [b'{"time":1,"cpu":1,"rare":1}', b'{"time":2,"cpu":2}', b'{"time":3,"cpu":3}']
    assert numeric_fields(values, without={"time"}) == ("cpu",)


def test_what_is_no_object_tells_nothing() -> None:
    values = [None, b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"x":1}']
    assert numeric_fields(values, without=()) == ("x",)
    assert numeric_fields([], without=()) == ()
