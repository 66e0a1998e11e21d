"""The settings of a worker, as a model: what one YAML file or the environment may say, and what is then known to hold.

It reads no file and no environment (see `worker.settings_file`). Whether features and topics exist is judged later.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from annotated_types import Ge, Gt, Le, Len
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.json_schema import json_schema_of
from schemas.setting_kinds import Alternatives, AwsRegion, Distinct, Moment, Properties, Servers, Text, Topic

Place: TypeAlias = tuple[str | int, ...]
"""Where a value stands: names of sections and keys, positions in lists."""

RECORD_OVERHEAD_BYTES = 48_000
"""Room for key, headers and framing above `events.max_bytes`; with its default, within a broker's default limit."""

PRODUCER_QUEUE_KBYTES = 65_536
"""The producer's `queue.buffering.max.kbytes` where it is not given: a larger record could never be queued."""

_MOST_VALUE_BYTES = 32_000_000
"""Two of the largest dead letters fit the producer's queue: one may be sent while the next is queued."""

_MOST_LOOKBACK_OFFSETS = 2**31 - 1
"""The windows count offsets back in 32 bits."""

_REMOTE = re.compile(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]*://")
_WAY_TO_SIGN_IN = re.compile(r"security\.protocol$|sasl\.")
_STEP = re.compile(r"(?:[^.\\]|\\[.\\])+")
_PATH = re.compile(rf"{_STEP.pattern}(?:\.{_STEP.pattern})*")


def steps_of(path: str) -> tuple[str, ...]:
    r"""A path as the names to follow, from the outside in: `a.b` is b inside a; `\.` is a dot within a name.

    Raises ValueError for an empty step or a backslash that escapes neither a dot nor a backslash.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(r"must be a path such as a.b.c (a dot within a name is written \.)")
    return tuple(re.sub(r"\\(.)", r"\1", step) for step in _STEP.findall(path))


def _path(path: str) -> str:
    steps_of(path)
    return path


Path: TypeAlias = Annotated[Text, AfterValidator(_path)]


class _Section(BaseModel):
    """Strict, so that nobody's `yes` becomes 1. Errors never show a value by themselves: it may be a secret."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class ModelSettings(_Section):
    """Which artifact scores."""

    uri: Text = Field(repr=False, description="The ONNX artifact: a local path or a URL.")
    sha256: str | None = Field(
        default=None,
        validate_default=True,
        json_schema_extra={"pattern": "^[0-9a-fA-F]{64}$"},
        description="The artifact's digest, 64 hexadecimal digits; required where uri is a URL.",
    )

    public_key: Text | None = Field(
        default=None,
        description="A PEM file with the public key of whoever must have signed the artifact; null asks for none.",
    )

    @field_validator("sha256")
    @classmethod
    def _pinned(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if sha256 is None and _REMOTE.match(info.data.get("uri", "")):
            raise ValueError(
                "is required where model.uri is a URL: give the digest that `anomaly-export inspect` prints"
            )
        if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
            raise ValueError("must be 64 hexadecimal digits: those that `anomaly-export inspect` prints")
        return sha256.lower() if sha256 else None


class KafkaSettings(_Section):
    """Brokers, group and topics; and librdkafka properties."""

    bootstrap_servers: Servers = Field(description="Brokers to ask first, host:port, separated by commas.")
    group_id: Text = Field(description="The consumer group; all workers of one job share it.")
    input_topics: Annotated[list[Topic], Len(min_length=1), Distinct] = Field(description="Topics with the events.")
    output_topic: Topic = Field(description="The topic for scores.")
    dead_letter_topic: Topic = Field(description="The topic for records that cannot be scored.")
    transactional_id: Text | None = Field(
        default=None, description="The producer's transactional.id; null is a new one for each process."
    )
    group_instance_id: Text | None = Field(
        default=None, description="The consumer's group.instance.id (static membership); null is a dynamic member."
    )
    start_timeout_s: Annotated[float, Gt(0), Le(3600)] = Field(
        default=15, description="How long to wait for brokers and topics at start."
    )
    msk_iam_region: AwsRegion | None = Field(
        default=None,
        description="Sign in to Amazon MSK of this region by the worker's identity of AWS (IAM); null does not.",
    )
    properties: Properties = Field(
        default={}, repr=False, description="librdkafka properties of both clients: security.protocol, sasl.*, ssl.*."
    )
    consumer: Properties = Field(default={}, repr=False, description="librdkafka properties of the consumer alone.")
    producer: Properties = Field(default={}, repr=False, description="librdkafka properties of the producer alone.")

    @field_validator("output_topic")
    @classmethod
    def _no_loop(cls, output_topic: str, info: ValidationInfo) -> str:
        if output_topic in info.data.get("input_topics", []):
            raise ValueError("must not be one of kafka.input_topics: the worker would read its own scores")
        return output_topic

    @field_validator("dead_letter_topic")
    @classmethod
    def _apart(cls, dead_letter_topic: str, info: ValidationInfo) -> str:
        if dead_letter_topic in info.data.get("input_topics", []):
            raise ValueError(
                "must not be one of kafka.input_topics: the worker would refuse its own dead letters for ever"
            )
        if dead_letter_topic == info.data.get("output_topic"):
            raise ValueError(
                "must not be kafka.output_topic: readers of the scores would find refused records among them"
            )
        return dead_letter_topic


class EventSettings(_Section):
    """How a record becomes an event: format, paths, filters, limits."""

    format: Literal["json", "avro", "protobuf", "float32"] = Field(
        default="json", description="How values are encoded; only json is built yet."
    )
    entity: Path | None = Field(
        default=None, description="Path of the entity's name; null takes the record's key as UTF-8."
    )
    timestamp: Path | None = Field(
        default=None, description="Path of the event's time; null takes the record's own timestamp."
    )
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso8601"] = Field(
        default="ms", description="What the time at `timestamp` is written in."
    )
    features: dict[Text, Path] = Field(
        default={}, description="Feature name to path, where the name itself, taken literally, is not the path."
    )
    where: dict[Path, Alternatives] = Field(
        default={}, description="Path to a value or a list of values; other events are skipped and counted."
    )
    passthrough: Annotated[list[Path], Distinct] = Field(
        default=[], description="Paths copied into the score's `context`."
    )
    forward_headers: Annotated[list[Text], Distinct] = Field(
        default=[], description="Names of record headers copied to the score's record."
    )
    tombstone: Literal["dead-letter", "skip"] = Field(
        default="dead-letter", description="What becomes of a record whose value is null."
    )
    required: Annotated[list[Text], Distinct] = Field(default=[], description="Features that may not be missing.")
    max_missing: Annotated[float, Ge(0), Le(1)] = Field(
        default=0.5, description="The largest share of features that may be missing."
    )
    max_bytes: Annotated[int, Ge(1), Le(_MOST_VALUE_BYTES)] = Field(
        default=1_000_000, description="The largest value in bytes; longer ones are refused."
    )

    @field_validator("format")
    @classmethod
    def _built(cls, form: str) -> str:
        if form != "json":
            raise ValueError(f"{form} is not built yet: use json")
        return form

    def feature_path(self, feature: str) -> tuple[str, ...]:
        """The names to follow to a feature's value; one that is not mapped is the name itself, dots and all."""
        path = self.features.get(feature)
        return (feature,) if path is None else steps_of(path)


class BatchSettings(_Section):
    """How much is scored at once."""

    max_events: Annotated[int, Ge(1), Le(100_000)] = Field(default=4096, description="The most records in a batch.")
    max_wait_ms: Annotated[int, Ge(1), Le(1000)] = Field(
        default=50, description="How long a batch waits to fill, in milliseconds."
    )


class AlertSettings(_Section):
    """When a score is an anomaly."""

    threshold: Annotated[float, Gt(0)] = Field(
        default=1.0, description="Scores above it are anomalies; 1 is the model's own alarm rate."
    )


class ExplainSettings(_Section):
    """Which scores say why."""

    when: Literal["anomalies", "all", "never"] = Field(default="anomalies", description="Which scores are explained.")
    top: Annotated[int, Ge(1), Le(1000)] = Field(default=3, description="How many features an explanation names.")


class InferenceSettings(_Section):
    """What runs the model."""

    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        default="auto", description="Where the model runs; auto is CUDA where usable, else the CPU."
    )
    threads: Annotated[int, Ge(1), Le(1024)] = Field(default=1, description="Threads of the CPU provider.")


class HttpSettings(_Section):
    """The pages /livez, /readyz and /metrics; and / where it is wanted."""

    host: Text = Field(default="127.0.0.1", description="The address to listen on.")
    port: Annotated[int, Ge(0), Le(65_535)] | None = Field(
        default=8080, description="The port to listen on; 0 is any free one, null turns the pages off."
    )
    page: bool = Field(
        default=False,
        description="Whether / shows people what the worker does, with its latest alarms and their entities.",
    )


class LogSettings(_Section):
    """What the worker tells on standard error."""

    format: Literal["json", "text"] = Field(default="json", description="One JSON object a line, or text for people.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is told."
    )


class TraceSettings(_Section):
    """Traces by OpenTelemetry, whose own variables say where they go and how many: OTEL_EXPORTER_OTLP_ENDPOINT, ..."""

    enabled: bool = Field(default=False, description="Whether each batch is a span; needs the extra `otel`.")


class Settings(_Section):
    """Everything that a worker is told."""

    model: ModelSettings
    kafka: KafkaSettings
    events: EventSettings = EventSettings()
    delivery: Literal["exactly-once", "at-least-once"] = Field(
        default="exactly-once", description="What is promised of each record's score."
    )
    start: Moment = Field(
        description="Where the very first start begins: earliest, latest or an ISO 8601 time (UTC if it names no zone)."
    )
    on_gap: Literal["fail", "continue"] = Field(
        default="fail", description="What to do where records were deleted before they were scored."
    )
    lookback_offsets: Annotated[int, Ge(1), Le(_MOST_LOOKBACK_OFFSETS)] = Field(
        default=1_000_000, description="How many offsets a window may reach back."
    )
    batch: BatchSettings = BatchSettings()
    commit_interval_ms: Annotated[int, Ge(1), Le(5000)] = Field(
        default=100, description="How long a transaction gathers batches before it commits, in milliseconds."
    )
    alert: AlertSettings = AlertSettings()
    explain: ExplainSettings = ExplainSettings()
    inference: InferenceSettings = InferenceSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

    _from_elsewhere: frozenset[Place] = PrivateAttr(default=frozenset())

    @model_validator(mode="after")
    def _messages_fit(self) -> "Settings":
        least = self.events.max_bytes + RECORD_OVERHEAD_BYTES
        for name in ("properties", "producer"):
            given = getattr(self.kafka, name).get("message.max.bytes")
            if given is not None and not _at_least(given, least):
                raise _fault(
                    ("kafka", name, "message.max.bytes"),
                    f"must be a whole number of at least {least}, so that a record of events.max_bytes fits with its"
                    " headers: raise it, or lower events.max_bytes",
                )
        return self

    @model_validator(mode="after")
    def _messages_fit_the_queue(self) -> "Settings":
        size = self._producers("message.max.bytes", self.events.max_bytes + RECORD_OVERHEAD_BYTES)
        queue = self._producers("queue.buffering.max.kbytes", PRODUCER_QUEUE_KBYTES)
        least_kbytes = -(-int(size.value) // 1024)
        if _at_least(queue.value, least_kbytes):
            return self
        if queue.place:
            raise _fault(
                queue.place,
                f"must be a whole number of at least {least_kbytes}, so that the producer's queue holds a record of"
                f" {size.value} bytes: raise it, or lower message.max.bytes or events.max_bytes",
            )
        raise _fault(
            size.place,
            f"must be at most {PRODUCER_QUEUE_KBYTES * 1024}, the producer's whole queue: lower it, or raise"
            " queue.buffering.max.kbytes of kafka.producer with it",
        )

    @model_validator(mode="after")
    def _sign_in_one_way(self) -> "Settings":
        if self.kafka.msk_iam_region is not None:
            for section in ("properties", "consumer", "producer"):
                for name in filter(_WAY_TO_SIGN_IN.match, getattr(self.kafka, section)):
                    raise _fault(
                        ("kafka", section, name),
                        "contradicts kafka.msk_iam_region, which says how to sign in: drop one of them",
                    )
        return self

    def _producers(self, name: str, default: int) -> "_Property":
        """What the producer is told, and where; the place is empty where nobody has said it."""
        for section in ("producer", "properties"):
            given = getattr(self.kafka, section).get(name)
            if given is not None:
                return _Property(given, ("kafka", section, name))
        return _Property(default, ())

    @property
    def start_time_ms(self) -> int | None:
        """The time of `start` in milliseconds since 1970; None where it is earliest or latest."""
        return round(self.start.timestamp() * 1000) if isinstance(self.start, datetime) else None

    @property
    def from_elsewhere(self) -> frozenset[Place]:
        """Places of values that came from a file or a variable named in the settings: they are never printed."""
        return self._from_elsewhere

    def remembering(self, from_elsewhere: frozenset[Place]) -> "Settings":
        """The same settings, with the places of values that came from elsewhere."""
        copy = self.model_copy()
        copy._from_elsewhere = from_elsewhere  # noqa: SLF001 - a copy of its own
        return copy


class _Property(NamedTuple):
    """A librdkafka property's value, and the place where it was given."""

    value: str | float | bool
    place: Place


def _fault(place: Place, sentence: str) -> PydanticCustomError:
    """An error of a model-wide rule at one place; `sentence` goes on after the place's name."""
    return PydanticCustomError("fault", "{sentence}", {"place": place, "sentence": sentence})


def _at_least(value: str | float | bool, least: int) -> bool:  # noqa: FBT001 - one of the kinds a property may have
    return not isinstance(value, bool) and re.fullmatch(r"\d+", str(value)) is not None and int(value) >= least


@cache
def known_settings() -> Mapping[tuple[str, ...], Mapping[str, Any]]:
    """Every setting by its place, sections left out, with its JSON Schema, in the order of the model."""
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, schema in json_schema_of(Settings)["properties"].items():
        inner = schema.get("properties")
        known |= {(name, key): below for key, below in inner.items()} if inner else {(name,): schema}
    return MappingProxyType(known)
