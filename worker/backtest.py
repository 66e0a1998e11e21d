"""Events from a file in, their score records as lines of a file out: the worker's own rooms without Kafka.

The file stands for one partition of a topic: the row number is the offset, so the same events give the same scores as
through Kafka.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
from pydantic import ValidationError
from rich.console import Console

from schemas.dead_letter import MESSAGE_HEADER, OFFSET_HEADER, REASON_HEADER
from schemas.settings import KafkaSettings, ModelSettings, Settings
from worker.batch import Outgoing, OutgoingRecord, Records, TopicPartition
from worker.decoder import JsonDecoder
from worker.detector import Detector, ExplainRule
from worker.encoder import Encoder
from worker.errors import ConfigError, ExitCode
from worker.event_format import EventFormat
from worker.file_mapping import Keys, cells_of, line_format, table_format
from worker.files import LINES, Chunk, columns_of, read_values, stem_of
from worker.formats import output_format, window_format
from worker.model_store import Artifact, load_artifact, local_path
from worker.new_file import new_file, refuse_overwriting
from worker.progress import progress_bar
from worker.windows import WindowStore

_EXAMPLES = """\
Each row of DATA is an event: a line of NDJSON as it stands, a row of CSV or Parquet as a JSON object of its columns.
OUTPUT gets one score record a line, as the output topic would; source.offset is the row number, from 0. What cannot be
scored goes to OUTPUT.dead.ndjson with its row and reason.

examples:
  anomaly-worker score --model machine.onnx --data events.parquet --output scores.ndjson
  anomaly-worker score --model machine.onnx --data log.csv --entity host --timestamp time --output scores.ndjson
  anomaly-worker score --config worker.yaml --data events.ndjson.gz --output scores.ndjson.gz

With --config the paths, limits and thresholds of its events, alert, explain and inference sections hold, and its model
unless --model is given. Columns that `anomaly-worker capture` wrote are known: entity, event_time. Without an entity
all rows belong to one, named after the file; without a time they count as one a millisecond.
"""

_NO_KAFKA = KafkaSettings(
    bootstrap_servers="localhost:9092",
    group_id="none",
    input_topics=["data"],
    output_topic="output",
    dead_letter_topic="dead-letters",
)
"""The settings want brokers and topics; nothing here asks for them."""


@dataclass(slots=True)
class Tally:
    """What became of the rows."""

    scored: int = 0
    anomalies: int = 0
    warming: int = 0
    skipped: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def sentence(self) -> str:
        """For people."""
        dead = ", ".join(f"{count:,} {reason}" for reason, count in self.refused.most_common())
        return (
            f"scored {self.scored:,} ({self.anomalies:,} anomalies, {self.warming:,} warming),"
            f" skipped {self.skipped:,}, refused {self.refused.total():,}{f' ({dead})' if dead else ''}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes beside `--config`, which is optional here."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument("--model", metavar="M", help="the artifact; default: model.uri of --config")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="events: .csv, .parquet, .ndjson, .jsonl; also .gz"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="score records: .ndjson, .jsonl; .gz packs them"
    )
    parser.add_argument("--entity", metavar="COL", help="the column (NDJSON: the path) of the entity's name")
    parser.add_argument("--timestamp", metavar="COL", help="the column (NDJSON: the path) of the event's time")
    parser.add_argument(
        "--timestamp-unit",
        choices=("s", "ms", "us", "ns", "iso8601"),
        help="what it is written in; default: ms, or iso8601 where it is no number",
    )
    parser.add_argument("--explain", choices=("anomalies", "all", "never"), help="which scores say why")
    parser.add_argument("--provider", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the model runs")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace, settings: Settings | None) -> int:
    """The command. Raises ConfigError, ArtifactError, InferenceError."""
    settings = _effective(arguments, settings)
    _refuse_output(arguments, settings)
    keys = Keys(entity=arguments.entity, timestamp=arguments.timestamp, timestamp_unit=arguments.timestamp_unit)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    tally = score_file(
        settings,
        data=arguments.data,
        output=arguments.output,
        keys=keys,
        console=console,
        show_progress=not arguments.no_progress,
    )
    console.print(tally.sentence())
    return ExitCode.DONE


def score_file(
    settings: Settings, *, data: Path, output: Path, keys: Keys, console: Console, show_progress: bool
) -> Tally:
    """Score every row of `data`. Both files appear only once they are whole. Raises ConfigError, ArtifactError."""
    artifact = load_artifact(settings.model.uri, sha256=settings.model.sha256, public_key=settings.model.public_key)
    form = _event_format(settings, artifact, data, keys)
    line = _Line(settings, artifact, form, data)
    if form.timestamp is None and line.needs_time:
        raise ConfigError("The model reads how much time lies between rows: name the column, --timestamp COL.")
    if form.timestamp is None and artifact.manifest.max_gap_s is not None:
        console.print("No time is known (--timestamp COL), so no gap cuts a window, as it would in a topic.")
    chunks = read_values(
        data, chunk_rows=settings.batch.max_events, max_bytes=settings.events.max_bytes, cells=cells_of(form)
    )
    with ExitStack() as stack:
        scores = stack.enter_context(new_file(output))
        dead = stack.enter_context(new_file(dead_path(output)))
        advance = stack.enter_context(progress_bar(console, "scoring", total=1.0, shown=show_progress))
        for chunk in _told(chunks, advance):
            outgoing = line.score(chunk)
            scores.writelines(value + b"\n" for value in outgoing.value)
            _write_dead(dead, outgoing.dead_letters)
    return line.tally


def dead_path(output: Path) -> Path:
    """Where refused rows go."""
    return output.with_name(f"{output.name}.dead.ndjson")


class _Line:
    """Decoder, windows, detector and encoder in a row, for one file."""

    def __init__(self, settings: Settings, artifact: Artifact, form: EventFormat, data: Path) -> None:
        self.tally = Tally()
        self._partitions = [TopicPartition(data.name, 0)]
        self._key = stem_of(data).encode()
        self._decoder = JsonDecoder(form)
        self._detector = Detector(
            artifact,
            provider=settings.inference.provider,
            threads=settings.inference.threads,
            explain=ExplainRule(when=settings.explain.when, threshold=settings.alert.threshold),
        )
        windows = window_format(settings, artifact.manifest)
        self._windows = WindowStore(
            window=windows.window,
            features=windows.features,
            lookback_offsets=windows.lookback_offsets,
            max_gap_ms=windows.max_gap_ms,
            with_elapsed=self._detector.needs_elapsed,
        )
        self._output = output_format(settings, artifact)
        self._encoder = Encoder(self._output)

    @property
    def needs_time(self) -> bool:
        """Whether scores depend on the time between rows."""
        return self._detector.needs_elapsed

    def score(self, chunk: Chunk) -> Outgoing:
        """The next rows."""
        records = self._records(chunk)
        events = self._decoder.decode(records)
        windows = self._windows.extend(
            events, partition=records.partition[events.row], offset=records.offset[events.row]
        )
        scores = self._detector.score(windows, events.entity)
        outgoing = self._encoder.encode(records, events, windows, scores, copartitioned=frozenset())
        self._windows.keep()
        warming = windows.length < self._output.min_length
        self.tally.scored += len(outgoing.value)
        self.tally.warming += int(np.count_nonzero(warming))
        self.tally.anomalies += int(np.count_nonzero(~warming & (scores.score > self._output.threshold)))
        self.tally.skipped += len(events.skipped)
        self.tally.refused.update(_header(letter, REASON_HEADER) for letter in outgoing.dead_letters)
        return outgoing

    def _records(self, chunk: Chunk) -> Records:
        rows = np.arange(chunk.first_row, chunk.first_row + len(chunk.values), dtype=np.int64)
        return Records(
            partitions=self._partitions,
            partition=np.zeros(len(rows), np.int64),
            offset=rows,
            timestamp=rows,  # a row without a time of its own: one a millisecond
            key=[self._key] * len(rows),
            value=list(chunk.values),
            headers=lambda _: (),
        )


def _refuse_output(arguments: argparse.Namespace, settings: Settings) -> None:
    """Raise ConfigError for an output that is no file of lines, or would replace what is read."""
    output: Path = arguments.output
    if not output.name.lower().endswith(LINES):
        raise ConfigError(f"--output {output}: its name must end in one of {', '.join(LINES)}.")
    read = {
        "the data": arguments.data,
        "the model": local_path(settings.model.uri),
        "the settings file": arguments.config,
    }
    refuse_overwriting([output, dead_path(output)], read)


def _effective(arguments: argparse.Namespace, settings: Settings | None) -> Settings:
    """The settings of the file, or none, with what the arguments say before them."""
    if settings is None:
        if arguments.model is None:
            raise ConfigError("Which model? Give --model machine.onnx, or --config worker.yaml.")
        settings = Settings(model=_model(arguments.model), kafka=_NO_KAFKA, start="earliest")
    elif arguments.model is not None:
        settings = settings.model_copy(update={"model": _model(arguments.model)})
    if arguments.explain is not None:
        settings = settings.model_copy(
            update={"explain": settings.explain.model_copy(update={"when": arguments.explain})}
        )
    if arguments.provider is not None:
        inference = settings.inference.model_copy(update={"provider": arguments.provider})
        settings = settings.model_copy(update={"inference": inference})
    return settings


def _model(uri: str) -> ModelSettings:
    try:
        return ModelSettings(uri=uri)
    except ValidationError as error:
        raise ConfigError(
            "--model: give a local file; a URL needs its digest beside it, in model.uri and model.sha256 of --config."
        ) from error


def _event_format(settings: Settings, artifact: Artifact, data: Path, keys: Keys) -> EventFormat:
    columns = columns_of(data)
    if columns is None:
        return line_format(settings.events, artifact.manifest.feature_names, keys)
    return table_format(columns, settings.events, artifact.manifest.feature_names, keys)


def _told(chunks: Iterator[Chunk], advance: Callable[[float], None]) -> Iterator[Chunk]:
    read = 0.0
    for chunk in chunks:
        yield chunk
        advance(chunk.read - read)
        read = chunk.read


def _write_dead(file: IO[bytes], letters: list[OutgoingRecord]) -> None:
    for letter in letters:
        line = {
            "row": int(_header(letter, OFFSET_HEADER)),
            "reason": _header(letter, REASON_HEADER),
            "message": _header(letter, MESSAGE_HEADER),
            **_readable(letter.value or b""),
        }
        file.write(msgspec.json.encode(line) + b"\n")


def _header(letter: OutgoingRecord, name: str) -> str:
    return next(value for header, value in reversed(letter.headers) if header == name and value is not None).decode()


def _readable(value: bytes) -> dict[str, str | bytes]:
    """The value as text where it is text, else in base64."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": value}
