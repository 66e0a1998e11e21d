"""Settings, and where nothing says more the events themselves, in; the features to capture out.

It knows no Kafka and writes no table.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from schemas import captured
from schemas.settings import EventSettings, Settings, steps_of
from worker.batch import Records
from worker.discovery import numeric_fields
from worker.errors import ConfigError
from worker.model_store import load_artifact, local_path

_DISCOVERY_RECORDS = 2_000


class FeatureChoice(NamedTuple):
    """The features, how they were found, and all batches still (finding them may have read some)."""

    names: tuple[str, ...]
    origin: str
    batches: Iterator[Records]


def choose_features(settings: Settings, asked: Sequence[str] | None, batches: Iterator[Records]) -> FeatureChoice:
    """Those asked for, else the model's if its file exists, else those of events.features, else what the events hold.

    Raises ConfigError where there are none, or one has the name of another column of the table.
    """
    choice = _named(settings, asked, batches) or _found(settings.events, batches)
    clash = sorted(set(choice.names).intersection(captured.RESERVED))
    if clash:
        raise ConfigError(
            f"events.features: the table has a column {clash[0]!r} of its own: give the feature another name there,"
            " with this one as its path, or leave it out by --features."
        )
    return choice


def events_with(events: EventSettings, names: Sequence[str]) -> EventSettings:
    """The settings without what they say of other features."""
    mapped = {name: path for name, path in events.features.items() if name in names}
    required = [name for name in events.required if name in names]
    return events.model_copy(update={"features": mapped, "required": required})


def _named(settings: Settings, asked: Sequence[str] | None, batches: Iterator[Records]) -> FeatureChoice | None:
    if asked:
        return FeatureChoice(tuple(asked), "as asked for", batches)
    file = local_path(settings.model.uri)
    if file is not None and file.is_file():
        manifest = load_artifact(
            settings.model.uri, sha256=settings.model.sha256, public_key=settings.model.public_key
        ).manifest
        return FeatureChoice(manifest.feature_names, f"of the model {file}", batches)
    if settings.events.features:
        return FeatureChoice(tuple(settings.events.features), "of events.features", batches)
    return None


def _found(events: EventSettings, batches: Iterator[Records]) -> FeatureChoice:
    sample = _first(batches, _DISCOVERY_RECORDS)
    paths = [path for path in (events.entity, events.timestamp, *events.where) if path is not None]
    names = numeric_fields(
        chain.from_iterable(batch.value for batch in sample), without={steps_of(path)[0] for path in paths}
    )
    if not names:
        raise ConfigError(
            "The events have no numeric top-level field: name paths in events.features, or give --features."
        )
    return FeatureChoice(names, "found in the events", chain(sample, batches))


def _first(batches: Iterator[Records], records: int) -> list[Records]:
    taken: list[Records] = []
    for batch in batches:
        taken.append(batch)
        if sum(map(len, taken)) >= records:
            break
    return taken
