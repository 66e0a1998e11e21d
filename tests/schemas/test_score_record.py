"""The score record, on the example of the contract."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.score_record import ScoreRecord

EXAMPLE = """
{"schema_version": 1, "id": "machine-events-0-1234", "entity": "omi-1", "event_time": 1700000000000, "score": 1.83,
 "p_value": 3.2e-6, "threshold": 1.0, "is_anomaly": true, "warming": false, "missing": 0, "top_feature": "cpu_r",
 "contributions": [{"feature": "cpu_r", "share": 0.62, "value": 97.0, "expected": 41.2, "rows_ago": 0}],
 "context": {}, "model": {"name": "machine", "version": "3", "sha256": "4be14be14be1"},
 "window": {"first_offset": 1203, "length": 32, "truncated": false, "digest": "9a0b9a0b9a0b9a0b"},
 "source": {"topic": "machine-events", "partition": 0, "offset": 1234}}
"""


def with_changes(**changes: object) -> str:
    return json.dumps(json.loads(EXAMPLE) | changes)


def test_the_example_of_the_contract_comes_through_unchanged() -> None:
    assert json.loads(ScoreRecord.model_validate_json(EXAMPLE).model_dump_json()) == json.loads(EXAMPLE)


@pytest.mark.parametrize("field", sorted(json.loads(EXAMPLE)))
def test_every_field_is_always_there(field: str) -> None:
    record = json.loads(EXAMPLE)
    del record[field]
    with pytest.raises(ValidationError, match=field):
        ScoreRecord.model_validate_json(json.dumps(record))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"extra": 1},
        {"id": "machine-events-0-1235"},
        {"p_value": 0},
        {"p_value": 1.5},
        {"score": None},
        {"score": "1.83"},
        {"is_anomaly": False},
        {"warming": True},
        {"threshold": 1.83},
        {"top_feature": None},
        {"top_feature": "cpu_w"},
        {"contributions": []},
        {"missing": -1},
        {"event_time": 1.5},
        {"context": []},
        {"model": {"name": "machine", "version": "3", "sha256": "4be1"}},
        {"window": {"first_offset": 1203, "length": 0, "truncated": False, "digest": "9a0b9a0b9a0b9a0b"}},
        {"window": {"first_offset": 1203, "length": 1, "truncated": False, "digest": "9A0B9A0B9A0B9A0B"}},
    ],
)
def test_a_record_that_breaks_the_contract_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScoreRecord.model_validate_json(with_changes(**changes))


def test_an_event_that_is_not_explained_names_no_feature() -> None:
    record = ScoreRecord.model_validate_json(
        with_changes(score=0.2, is_anomaly=False, top_feature=None, contributions=[])
    )
    assert record.top_feature is None


def test_a_missing_value_is_null() -> None:
    contribution = {"feature": "cpu_r", "share": 1.0000001, "value": None, "expected": 41.2, "rows_ago": 3}
    record = ScoreRecord.model_validate_json(with_changes(contributions=[contribution]))
    assert record.contributions[0].value is None
