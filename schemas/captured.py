"""The columns of captured events: what `anomaly-worker capture` writes and `anomaly-export train` reads."""

ENTITY = "entity"
EVENT_TIME = "event_time"
"""Milliseconds since 1970."""
SOURCE_TOPIC = "source_topic"
SOURCE_PARTITION = "source_partition"
SOURCE_OFFSET = "source_offset"

KEYS = (ENTITY, EVENT_TIME)
SOURCE = (SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET)
RESERVED = (*KEYS, *SOURCE)
"""Everything that is not a feature. The features stand between keys and source, as float32, empty where missing."""
