"""What the user wants trained: options and a YAML file with the same names become one checked TrainingConfig."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from export.artifact import refuse_overwriting
from export.errors import UsageError


def split_at_commas(value: object) -> object:
    """What stands between commas in a text; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


PositiveInt = Annotated[int, Ge(1)]
LOWEST_ALARM_RATE, HIGHEST_ALARM_RATE = 1e-9, 0.5

KNOBS = ("hidden", "depth", "bottleneck", "noise", "sparsity", "dropout", "weight_decay", "epochs")
"""Options that mean something to some families; None = as the family thinks best."""


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
    label: Annotated[str, Field(min_length=1)] | None = None
    features: Annotated[list[str], BeforeValidator(split_at_commas), Field(min_length=1)] | None = None
    kind: Literal["sensor", "tabular", "log", "image"] | None = None
    image_shape: Annotated[list[PositiveInt], BeforeValidator(split_at_commas)] | None = None
    log_ids: Annotated[str, Field(min_length=1)] | None = None
    derive: (
        Annotated[
            list[Literal["differences", "ratios", "rolling", "velocities", "none"]],
            BeforeValidator(split_at_commas),
            Field(min_length=1),
        ]
        | None
    ) = None
    levels: Literal["own", "pooled"] | None = None
    thresholds: Literal["own", "pooled"] = "own"
    exclude_ranges: Annotated[list[str], BeforeValidator(split_at_commas), Field(min_length=1)] | None = None
    detector: str = "auto"
    window: Annotated[int, Ge(1), Le(4096)] | None = None
    min_length: Annotated[int, Ge(1), Le(4096)] | None = None
    max_gap: Annotated[float, Gt(0)] | None = None
    hidden: Annotated[list[PositiveInt], BeforeValidator(split_at_commas)] | None = None
    bottleneck: PositiveInt | None = None
    depth: Annotated[int, Ge(1), Le(8)] | None = None
    noise: Annotated[float, Ge(0), Le(10)] | None = None
    sparsity: Annotated[float, Gt(0), Le(1)] | None = None
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    weight_decay: Annotated[float, Ge(0), Le(1)] | None = None
    epochs: PositiveInt | None = None
    search: Annotated[int, Ge(1), Le(10_000)] | None = None
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    alarm_rate: Annotated[float, Gt(LOWEST_ALARM_RATE), Lt(HIGHEST_ALARM_RATE)] = 0.001
    alerts_per_day: Annotated[float, Gt(0)] | None = None
    events_per_day: Annotated[float, Gt(0)] | None = None
    max_windows: Annotated[int, Ge(1000)] = 200_000
    threads: PositiveInt = 1

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingConfig":
        names = [*(self.features or []), *filter(None, (self.entity, self.timestamp, self.label, self.log_ids))]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"The column {repeated[0]!r} is named twice among --entity, --timestamp, --label, --features and "
                "--log-ids: name it once"
            )
        if self.min_length is not None and self.window is not None and self.min_length > self.window:
            raise ValueError(
                f"--min-length {self.min_length} is more than the window's {self.window} rows:"
                " lower it, or raise --window"
            )
        if self.kind in {"tabular", "image"} and self.window not in {None, 1} and not self.derivations:
            raise ValueError(f"--kind {self.kind} judges each event by itself: leave --window {self.window} out")
        if self.kind == "sensor" and self.window == 1:
            raise ValueError("--window 1 judges each event by itself: that is --kind tabular")
        if self.derivations and self.kind != "tabular":
            raise ValueError("--derive is for events that are judged by their entity's past: give --kind tabular too")
        if self.derivations and self.window == 1:
            raise ValueError("--derive compares an event with those before it: --window 1 leaves none")
        if self.derive is not None and "none" in self.derive and len(self.derive) > 1:
            raise ValueError("--derive none stands alone")
        if "velocities" in self.derivations and self.timestamp is None:
            raise ValueError("--derive velocities needs --timestamp: without times there is no last hour")
        if self.output.suffix != ".onnx":
            raise ValueError(f"--output {self.output}: its name must end in .onnx")
        return self

    @model_validator(mode="after")
    def _levels_of_entities(self) -> "TrainingConfig":
        if self.levels is not None and self.kind not in {None, "sensor"}:
            raise ValueError(f"--levels is for --kind sensor: leave it out with --kind {self.kind}")
        if self.levels is not None and self.window == 1:
            raise ValueError("--levels is for windows of several events: leave it out, or raise --window")
        if self.levels == "own" and self.entity is None:
            raise ValueError("--levels own needs --entity: without it all rows are of one")
        return self

    @model_validator(mode="after")
    def _shape_of_pictures(self) -> "TrainingConfig":
        if self.image_shape is not None and self.kind != "image":
            raise ValueError("--image-shape tells the size of pictures: give --kind image too")
        if self.image_shape is not None and len(self.image_shape) not in {2, 3}:
            raise ValueError(
                "--image-shape must be height and width, and channels where there are several: H,W or H,W,C"
            )
        return self

    @model_validator(mode="after")
    def _log_ids_of_logs(self) -> "TrainingConfig":
        if self.kind == "log" and self.log_ids is None:
            raise ValueError("--kind log needs --log-ids: the column of template numbers")
        if self.log_ids is not None and self.kind != "log":
            raise ValueError("--log-ids names the templates of log lines: give --kind log too")
        if self.log_ids is not None and self.features is not None:
            raise ValueError("--log-ids and --features: an event of a log is its template alone; leave --features out")
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainingConfig":
        if self.alerts_per_day is not None and "alarm_rate" in self.model_fields_set:
            raise ValueError(
                "--alarm-rate and --alerts-per-day both say how many alarms there may be: give one of them"
            )
        if self.events_per_day is not None and self.alerts_per_day is None:
            raise ValueError("--events-per-day says what --alerts-per-day is out of: give that too, or leave it out")
        return self

    @property
    def window_rows(self) -> int:
        """W, once it is chosen."""
        if self.window is None:
            raise ValueError("the window has not been chosen yet")
        return self.window

    @property
    def event_kind(self) -> Literal["sensor", "tabular", "log", "image"]:
        """What was said of the events, or what the window says of them."""
        return self.kind or ("tabular" if self.window == 1 else "sensor")

    @property
    def channels(self) -> int | None:
        """Values of a pixel; None where events are no pictures."""
        if self.kind != "image":
            return None
        return self.image_shape[2] if self.image_shape is not None and len(self.image_shape) == 3 else 1

    @property
    def columns(self) -> list[str] | None:
        """The columns to learn; None = every other numeric one."""
        return self.features if self.log_ids is None else [self.log_ids]

    @property
    def derivations(self) -> tuple[str, ...]:
        """What is derived of an event's past."""
        return tuple(name for name in self.derive or () if name != "none")

    @property
    def warm_length(self) -> int:
        """Rows from which on a window is scored in earnest: half a window unless told otherwise.

        An event beside its past, or a line of a log, is one from the first on.
        """
        at_once = self.kind == "log" or self.derivations
        return self.min_length or (1 if at_once else max(1, self.window_rows // 2))

    def with_alarm_rate(self, events_per_day: float | None) -> "TrainingConfig":
        """With the alarm rate that keeps to the budget of alerts a day; as it is where none was given.

        Args:
            events_per_day: Of the data, all entities together; what the user said of it counts more.

        Raises:
            UsageError: nobody knows how many events a day there are, or the rate would be beyond all use.
        """
        if self.alerts_per_day is None:
            return self
        events = self.events_per_day or events_per_day
        if events is None:
            raise UsageError(
                "--alerts-per-day needs --events-per-day, since the data have no times to count them by, or all are "
                "the same."
            )
        rate = self.alerts_per_day / events
        if not LOWEST_ALARM_RATE < rate < HIGHEST_ALARM_RATE:
            raise UsageError(
                f"--alerts-per-day {self.alerts_per_day:g} of {events:,.0f} events a day would be an alarm rate of "
                f"{rate:.2g}; it must lie between {LOWEST_ALARM_RATE:g} and {HIGHEST_ALARM_RATE:g}."
            )
        return self.model_copy(update={"alarm_rate": rate})

    @property
    def artifact_name(self) -> str:
        """The detector's name: unless told otherwise the file's."""
        return self.name or self.output.stem


def load_config(path: Path | None, options: Mapping[str, object]) -> TrainingConfig:
    """The file's settings, overridden by the options that were given (not None).

    Raises:
        UsageError: the file is missing or not YAML, a name is unknown, a value is wrong, or the output would
            overwrite what is read.
    """
    settings = {} if path is None else _settings(path)
    settings.update({name: value for name, value in options.items() if value is not None})
    for name in settings:
        if name not in TrainingConfig.model_fields:
            raise UsageError(f"--config {path}: {_spelled(name)!r} is no setting of train{_nearest(name)}")
    try:
        config = TrainingConfig.model_validate(settings)
    except ValidationError as error:
        raise UsageError(_sentence(error)) from error
    refuse_overwriting("--output", config.output, [*config.data, *([path] if path else [])])
    return config


def _settings(path: Path) -> dict[str, object]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} cannot be read: {_reason(error)}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(document, dict):
        raise UsageError(f"--config {path} must hold settings, one `name: value` a line.")
    return {str(name).replace("-", "_"): value for name, value in document.items()}


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8 text"


_PHRASES: Mapping[str, str] = {
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "path_type": "must be the name of a file",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le}",
    "too_short": "is empty: give at least {min_length}",
    "string_too_short": "is empty: give it a value, or leave it out",
    "string_too_long": "must have at most {max_length} characters",
}
"""What pydantic finds, in the words of this command."""
_SHOWN = (str, int, float)
_LONGEST_SHOWN = 60


def _sentence(error: ValidationError) -> str:
    """The first fault: the option, what it must be, what it is."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return f"{first['msg'].removeprefix('Value error, ')}."
    phrase = _PHRASES.get(first["type"], first["msg"])
    shown = f", not {first['input']!r}" if phrase.startswith("must") and _may_be_shown(first["input"]) else ""
    return f"--{_spelled(str(first['loc'][0]))} {phrase.format(**first.get('ctx', {}))}{shown}."


def _may_be_shown(value: object) -> bool:
    return isinstance(value, _SHOWN) and len(repr(value)) <= _LONGEST_SHOWN


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, TrainingConfig.model_fields, n=1)
    return f"; did you mean {_spelled(near[0])!r}?" if near else "; `anomaly-export train --help` lists them."
