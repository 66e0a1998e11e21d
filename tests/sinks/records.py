"""Score records for sinks to take: an alarm, a score that is none, and the alarm again as a later version may be."""

import json

from schemas.score_record import ScoreRecord

ALARM = {
    "schema_version": 1,
    "id": "machine-events-0-1234",
    "entity": "press-7 \u00fc",
    "event_time": 1_700_000_000_123,
    "score": 1.83,
    "p_value": 3.2e-6,
    "threshold": 1.0,
    "is_anomaly": True,
    "warming": False,
    "missing": 1,
    "top_feature": "temperature",
    "contributions": [
        {"feature": "temperature", "share": 0.62, "value": 97.0, "expected": 71.2, "rows_ago": 0},
        {"feature": "pressure", "share": 0.3, "value": None, "expected": 2.9, "rows_ago": 3},
    ],
    "context": {"hall": "12", "shift": {"lead": None}},
    "model": {"name": "machine", "version": "3", "sha256": "4be1d0a97c35"},
    "window": {"first_offset": 1203, "length": 32, "truncated": False, "digest": "9a0b1c2d3e4f5061"},
    "source": {"topic": "machine-events", "partition": 0, "offset": 1234},
}
NORMAL = ALARM | {
    "id": "machine-events-0-1235",
    "score": 0.4,
    "is_anomaly": False,
    "top_feature": None,
    "contributions": [],
    "context": {},
    "source": {"topic": "machine-events", "partition": 0, "offset": 1235},
}
LINES = [
    ScoreRecord.model_validate_json(json.dumps(ALARM)).model_dump_json(),
    ScoreRecord.model_validate_json(json.dumps(NORMAL)).model_dump_json(),
    json.dumps(ALARM | {"id": "later", "added_by_a_later_version": {"deep": [1]}}),
]
"""As they lie in the topic; the third is the first again, by a later version."""
