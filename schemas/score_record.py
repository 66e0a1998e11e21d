"""The score record: the JSON value that is published for every event that was scored.

The worker writes these bytes column by column; this model is what they are held to. `float32` numbers are meant
throughout: a share may pass 1 by rounding.
"""

from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Len
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

Offset: TypeAlias = Annotated[int, Ge(0)]
ShortDigest: TypeAlias = Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]
WindowDigest: TypeAlias = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


def _stay_open(schema: dict[str, Any]) -> None:
    """Readers that hold a record to the published schema must survive the fields of a later version."""
    schema.pop("additionalProperties", None)


class _Model(BaseModel):
    """Strict for the worker's own bytes."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra=_stay_open
    )


class Contribution(_Model):
    """One feature's part in a score."""

    feature: str
    share: Annotated[float, Ge(0)] = Field(description="The feature's share in the score, over all rows of the window.")
    value: float | None = Field(
        description="The feature's value in the row where its share is largest; null if missing."
    )
    expected: float | None = Field(description="What the model thought normal there, in the same unit.")
    rows_ago: Annotated[int, Ge(0)] = Field(description="How many rows before the scored one that row lies.")


class ScoringModel(_Model):
    """The model that gave the score."""

    name: str
    version: str
    sha256: ShortDigest = Field(description="The first 12 hexadecimal digits of the artifact's digest.")


class Window(_Model):
    """The rows that were looked at."""

    first_offset: Offset = Field(description="The oldest row's offset.")
    length: Annotated[int, Ge(1)] = Field(description="How many rows.")
    truncated: bool = Field(description="Whether older rows may be missing because the log no longer has them.")
    digest: WindowDigest = Field(
        description="The sum modulo 2^64 of splitmix64 over the rows' offsets, in hexadecimal."
    )


class Source(_Model):
    """The record that was scored."""

    topic: Annotated[str, Len(min_length=1)]
    partition: Annotated[int, Ge(0)]
    offset: Offset


class ScoreRecord(_Model):
    """The score of one event. It holds no clock of the worker's: the same input gives the same record."""

    schema_version: Literal[1]
    id: str = Field(description="TOPIC-PARTITION-OFFSET of the scored record: the same after every retry.")
    entity: Annotated[str, Len(min_length=1)]
    event_time: int = Field(description="Milliseconds since 1970.")
    score: float = Field(description="0 is as normal as can be, 1 is the model's own alarm rate.")
    p_value: Annotated[float, Gt(0), Le(1)] = Field(description="How often normal data scores at least this high.")
    threshold: float = Field(description="Scores above it are anomalies.")
    is_anomaly: bool = Field(description="score > threshold and not warming.")
    warming: bool = Field(description="Whether the window is still shorter than the model needs.")
    missing: Annotated[int, Ge(0)] = Field(description="How many features are missing in the scored row.")
    top_feature: str | None = Field(description="The first contribution's feature; null where nothing is explained.")
    contributions: list[Contribution] = Field(description="Largest share first; empty where nothing is explained.")
    context: dict[str, JsonValue] = Field(description="What the settings pass through from the event.")
    model: ScoringModel
    window: Window
    source: Source

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ScoreRecord":
        source = self.source
        if self.id != f"{source.topic}-{source.partition}-{source.offset}":
            raise ValueError("id must be the source's topic, partition and offset")
        if self.is_anomaly != (self.score > self.threshold and not self.warming):
            raise ValueError("is_anomaly must be score > threshold and not warming")
        if self.top_feature != (self.contributions[0].feature if self.contributions else None):
            raise ValueError("top_feature must be the first contribution's feature")
        return self
