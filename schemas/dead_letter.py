"""The dead letter: a record that could not be scored, as it was, with headers that say where it came from and why."""

from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

TOPIC_HEADER = "__streams.errors.topic"
PARTITION_HEADER = "__streams.errors.partition"
OFFSET_HEADER = "__streams.errors.offset"
"""The three names of KIP-1034, which tools for dead letters know. Numbers are written in decimal digits."""
REASON_HEADER = "anomaly-worker.reason"
MESSAGE_HEADER = "anomaly-worker.message"
VALUE_SHA256_HEADER = "anomaly-worker.value.sha256"
VALUE_SIZE_HEADER = "anomaly-worker.value.size"
"""Only on a value that was shortened: the whole value's SHA-256 in hexadecimal and its size in bytes."""

Reason: TypeAlias = Literal[
    "empty",
    "too_large",
    "undecodable",
    "wrong_type",
    "no_entity",
    "bad_timestamp",
    "not_finite",
    "missing_features",
    "model_not_finite",
    "crash",
    "unknown_schema",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Every reason there is."""


class DeadLetter(BaseModel):
    """A record of the dead-letter topic. In JSON its bytes are written in base64."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64"
    )

    key: bytes | None = Field(description="The refused record's key, unchanged.")
    value: bytes | None = Field(description="Its value, unchanged; or its first bytes, where a header tells the size.")
    timestamp: int = Field(description="Its timestamp, milliseconds since 1970; -1 where it had none.")
    headers: list[tuple[str, bytes | None]] = Field(description="Its headers, unchanged, and the worker's after them.")

    @model_validator(mode="after")
    def _tells_source_and_reason(self) -> "DeadLetter":
        _ = self.source, self.message
        if self.reason not in REASONS:
            raise ValueError(f"header {REASON_HEADER} must be one of {', '.join(REASONS)}")
        if (self.header(VALUE_SIZE_HEADER) is None) != (self.header(VALUE_SHA256_HEADER) is None):
            raise ValueError("a shortened value needs both its size and its SHA-256")
        return self

    def header(self, name: str) -> str | None:
        """The last header of that name, as text: a record that was refused twice carries the first refusal's too."""
        values = [value for header, value in self.headers if header == name]
        return None if not values or values[-1] is None else values[-1].decode()

    @property
    def reason(self) -> str:
        """Why the record was refused: one of `REASONS`."""
        return self._present(REASON_HEADER)

    @property
    def message(self) -> str:
        """The sentence that names the field."""
        return self._present(MESSAGE_HEADER)

    @property
    def source(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the refused record."""
        return self._present(TOPIC_HEADER), self._number(PARTITION_HEADER), self._number(OFFSET_HEADER)

    def _present(self, name: str) -> str:
        text = self.header(name)
        if text is None:
            raise ValueError(f"header {name} is missing")
        return text

    def _number(self, name: str) -> int:
        text = self._present(name)
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"header {name} must be decimal digits")
        return int(text)
