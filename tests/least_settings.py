"""The settings of a worker of which nothing special is asked."""

from collections.abc import Mapping

from schemas.settings import Settings


def least_settings(**sections: Mapping[str, object] | object) -> Settings:
    """What must be given, and what `sections` say beside it."""
    given: dict[str, object] = {
        "model": {"uri": "machine.onnx"},
        "kafka": {
            "bootstrap_servers": "localhost:9092",
            "group_id": "machines",
            "input_topics": ["events"],
            "output_topic": "scores",
            "dead_letter_topic": "dead-letters",
        },
        "start": "earliest",
    }
    return Settings.model_validate(given | sections)
