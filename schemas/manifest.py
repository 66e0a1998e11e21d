"""The manifest: what an artifact says of itself, as JSON inside the ONNX file."""

import base64
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from schemas.artifact import ZERO_DIGEST

QUANTILE_LEVELS = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
"""The levels of `Feature.quantiles`."""

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
LONGEST_NAME = 200
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Feature(_Model):
    """One input of the detector, in the order of the window's last axis."""

    name: Name
    unit: str | None = None
    quantiles: list[float] | None = Field(
        default=None,
        min_length=len(QUANTILE_LEVELS),
        max_length=len(QUANTILE_LEVELS),
        description="Values in the training data at the levels 0, .001, .01, .05, .25, .5, .75, .95, .99, .999, 1.",
    )


class Calibration(_Model):
    """How raw scores became p-values."""

    windows: Annotated[int, Ge(1)] = Field(description="Held-back windows that the p-value was calibrated on.")
    threshold: float = Field(description="The raw score at which the p-value equals the alarm rate.")
    tail_start: float = Field(description="The raw score from which on the exponential tail holds.")
    tail_scale: Annotated[float, Gt(0)] = Field(description="The tail's mean excess, in units of the raw score.")


class Detector(_Model):
    """The family and what it was told."""

    family: Name
    hyperparameters: dict[str, JsonValue] = {}


class TrainingData(_Model):
    """What the detector was trained on."""

    sha256: Sha256
    rows: Annotated[int, Ge(1)]
    entities: Annotated[int, Ge(1)]
    start_ms: int | None = Field(
        default=None, description="The first event time, epoch milliseconds; null without timestamps."
    )
    end_ms: int | None = None


class Tensor(_Model):
    """An array, exactly: its shape and its little-endian float32 (or int64) bytes in base64."""

    shape: list[Annotated[int, Ge(0)]]
    dtype: Literal["float32", "int64"] = "float32"
    data: str

    @classmethod
    def of(cls, array: NDArray[np.float32 | np.int64]) -> "Tensor":
        """The array as it crosses the boundary."""
        dtype: Literal["float32", "int64"] = "int64" if array.dtype == np.int64 else "float32"
        little_endian = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))
        return cls(shape=list(array.shape), dtype=dtype, data=base64.b64encode(little_endian.tobytes()).decode())

    def array(self) -> NDArray[np.float32] | NDArray[np.int64]:
        """The array again. Raises ValueError where bytes and shape do not fit."""
        raw = base64.b64decode(self.data, validate=True)
        flat = np.frombuffer(raw, dtype=np.dtype(self.dtype).newbyteorder("<"))
        return flat.reshape(self.shape).astype(self.dtype)


class Tolerance(_Model):
    """How far an output may lie from its golden value: |actual - golden| <= absolute + relative * |golden|."""

    absolute: Annotated[float, Ge(0)]
    relative: Annotated[float, Ge(0)]


class Golden(_Model):
    """Inputs with the outputs that PyTorch gave for them; every provider must reproduce them."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    tolerances: dict[str, Tolerance]


class Manifest(_Model):
    """All that a worker must know of a detector beyond its graph."""

    contract_version: Literal[1] = 1
    name: Name
    version: Name = "1"
    kind: Literal["sensor", "tabular", "log", "image"]
    features: Annotated[list[Feature], Field(min_length=1)]
    entities: list[str] = Field(
        default=[], description="In the order of the `entity` input's places; empty without that input."
    )
    window: Annotated[int, Ge(1)] = Field(description="W, rows in a window.")
    min_length: Annotated[int, Ge(1)] = Field(description="Windows with fewer rows are `warming`.")
    max_gap_s: Annotated[float, Gt(0)] | None = Field(
        default=None, description="A longer step of event time cuts the window."
    )
    alarm_rate: Annotated[float, Gt(0), Lt(1)] = Field(description="The p-value at which the score is 1.")
    calibration: Calibration
    detector: Detector
    training: TrainingData
    log_templates: list[str] | None = None
    versions: dict[str, str] = Field(default={}, description="Of torch, of the exporter.")
    golden: Golden
    events_per_day: Annotated[float, Gt(0)] | None = Field(
        default=None, description="The training data's own rate, all entities together."
    )
    digest: Sha256 = Field(default=ZERO_DIGEST, description="SHA-256 of the file with these 64 digits set to zeros.")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """In the order of the window's last axis."""
        return tuple(feature.name for feature in self.features)

    @property
    def max_gap_ms(self) -> int | None:
        """`max_gap_s` as event times are counted."""
        return None if self.max_gap_s is None else round(self.max_gap_s * 1000)
