"""What the user wants trained: options and a YAML file with the same names become one checked TrainingConfig."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from export.errors import UsageError


def _split_at_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


PositiveInt = Annotated[int, Ge(1)]


class TrainingConfig(BaseModel):
    """Every option of `anomaly-export train`; None = the default that the description tells."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: Annotated[list[Path], BeforeValidator(_listed), Field(min_length=1)]
    output: Path
    name: str | None = Field(default=None, min_length=1, max_length=200)
    version: str = Field(default="1", min_length=1, max_length=200)
    entity: str | None = None
    timestamp: str | None = None
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso8601"] | None = None
    features: Annotated[list[str], BeforeValidator(_split_at_commas), Field(min_length=1)] | None = None
    detector: str = "ae"
    window: Annotated[int, Ge(1), Le(4096)] = 32
    min_length: PositiveInt | None = None
    max_gap: Annotated[float, Gt(0)] | None = None
    hidden: Annotated[list[PositiveInt], BeforeValidator(_split_at_commas)] | None = None
    bottleneck: PositiveInt | None = None
    epochs: PositiveInt | None = None
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    alarm_rate: Annotated[float, Gt(1e-9), Lt(0.5)] = 0.001
    max_windows: Annotated[int, Ge(1000)] = 200_000
    threads: PositiveInt = 1

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingConfig":
        names = [*(self.features or []), *filter(None, (self.entity, self.timestamp))]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"column {repeated[0]!r} is named twice among entity, timestamp and features")
        if self.min_length is not None and self.min_length > self.window:
            raise ValueError(f"min-length {self.min_length} is more than the window's {self.window} rows")
        if self.output.suffix != ".onnx":
            raise ValueError(f"output {str(self.output)!r} must end in .onnx")
        return self

    @property
    def warm_length(self) -> int:
        """Rows from which on a window is scored in earnest: half a window unless told otherwise."""
        return self.min_length or max(1, self.window // 2)

    @property
    def artifact_name(self) -> str:
        """The detector's name: unless told otherwise the file's."""
        return self.name or self.output.stem


def load_config(path: Path | None, options: Mapping[str, object]) -> TrainingConfig:
    """The file's settings, overridden by the options that were given (not None).

    Raises:
        UsageError: the file is missing or not YAML, a name is unknown, a value is wrong.
    """
    settings = {} if path is None else _settings(path)
    settings.update({name: value for name, value in options.items() if value is not None})
    for name in settings:
        if name not in TrainingConfig.model_fields:
            raise UsageError(f"{path}: {_spelled(name)!r} is no setting of train{_nearest(name)}.")
    try:
        return TrainingConfig.model_validate(settings)
    except ValidationError as error:
        raise UsageError(_sentence(error)) from error


def _settings(path: Path) -> dict[str, object]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(document, dict):
        raise UsageError(f"--config {path} must hold settings, one `name: value` a line.")
    return {str(name).replace("-", "_"): value for name, value in document.items()}


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"{reason}."
    option = f"--{_spelled(str(first['loc'][0]))}"
    return f"{option} is required." if first["type"] == "missing" else f"{option}: {reason}."


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, TrainingConfig.model_fields, n=1)
    return f"; did you mean {_spelled(near[0])!r}?" if near else ""
