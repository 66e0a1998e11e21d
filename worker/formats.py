"""Settings and a manifest in, what the rooms are told out: the event format, the output format, the spec of rule R4.

It knows no Kafka and reads nothing; whatever needs both the settings and the model to be judged is judged here.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from schemas.checkpoint import spec_of
from schemas.manifest import Manifest
from schemas.settings import RECORD_OVERHEAD_BYTES, EventSettings, Settings, steps_of
from worker.decoder import DECODER_VERSION
from worker.encoder import OutputFormat
from worker.errors import ConfigError
from worker.event_format import EventFormat, JsonScalar, Path
from worker.model_store import Artifact


def event_format(events: EventSettings, feature_names: Sequence[str]) -> EventFormat:
    """What the decoder looks for, features in the model's order.

    Raises ConfigError where the settings name a feature that the model does not have.
    """
    _refuse_unknown("events.features", events.features, feature_names)
    _refuse_unknown("events.required", events.required, feature_names)
    return EventFormat(
        features=tuple((name, events.feature_path(name)) for name in feature_names),
        entity=None if events.entity is None else steps_of(events.entity),
        timestamp=None if events.timestamp is None else steps_of(events.timestamp),
        timestamp_unit=events.timestamp_unit,
        where={steps_of(path): tuple(values) for path, values in events.where.items()},
        passthrough=tuple(steps_of(path) for path in events.passthrough),
        tombstone=events.tombstone,
        required=frozenset(events.required),
        max_missing=events.max_missing,
        max_bytes=events.max_bytes,
    )


def output_format(settings: Settings, artifact: Artifact) -> OutputFormat:
    """What the encoder writes: the model's name on every record, the alert threshold, the dead-letter topic."""
    manifest = artifact.manifest
    return OutputFormat(
        features=manifest.feature_names,
        min_length=manifest.min_length,
        threshold=settings.alert.threshold,
        explain=settings.explain.when,
        top=settings.explain.top,
        model_name=manifest.name,
        model_version=manifest.version,
        model_sha256=artifact.sha256,
        dead_letter_topic=settings.kafka.dead_letter_topic,
        forward_headers=tuple(settings.events.forward_headers),
        max_dead_letter_bytes=message_max_bytes(settings),
    )


def message_max_bytes(settings: Settings) -> int:
    """The producer's `message.max.bytes`: the user's where given, else room for a refused value and its headers."""
    for properties in (settings.kafka.producer, settings.kafka.properties):
        if "message.max.bytes" in properties:
            return int(properties["message.max.bytes"])
    return settings.events.max_bytes + RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFormat:
    """What the window store is told."""

    window: int  # W, rows
    features: int
    lookback_offsets: int
    max_gap_ms: int | None


def window_format(settings: Settings, manifest: Manifest) -> WindowFormat:
    """W and the gap from the model, L from the settings."""
    return WindowFormat(
        window=manifest.window,
        features=len(manifest.features),
        lookback_offsets=settings.lookback_offsets,
        max_gap_ms=manifest.max_gap_ms,
    )


def spec(settings: Settings, manifest: Manifest) -> str:
    """16 hexadecimal digits over all that decides which records are valid and what a window holds (rule R4).

    Equal specs mean that windows built under one are right under the other. Thresholds, names of topics and what is
    passed through change no window, so they are left out; so is the order in which mappings are written.
    """
    form = event_format(settings.events, manifest.feature_names)
    return spec_of(
        {
            "decoder": DECODER_VERSION,
            "format": settings.events.format,
            "features": [[name, list(path)] for name, path in form.features],
            "entity": _steps(form.entity),
            "timestamp": _steps(form.timestamp),
            "timestamp_unit": form.timestamp_unit,
            "where": {json.dumps(path): _in_order(values) for path, values in form.where.items()},
            "required": [*sorted(form.required)],
            "max_missing": form.max_missing,
            "max_bytes": form.max_bytes,
            "tombstone": form.tombstone,
            "window": manifest.window,
            "max_gap_s": manifest.max_gap_s,
            "lookback_offsets": settings.lookback_offsets,
        }
    )


def _steps(path: Path | None) -> list[JsonValue] | None:
    return None if path is None else list(path)


def _in_order(values: Iterable[JsonScalar]) -> list[JsonValue]:
    return [*sorted(map(json.dumps, values))]


def _refuse_unknown(setting: str, named: Iterable[str], known: Sequence[str]) -> None:
    for name in named:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known[:8])}{', ...' * (len(known) > 8)}"
        raise ConfigError(f"{setting}: the model has no feature {name!r}; {remedy}")
