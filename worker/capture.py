"""A part of the input topics in, a table for training out, read through the worker's own decoder.

So nobody trains on other data than the worker sees. It knows no detector; the model, if there is one, only tells its
features' names.
"""

import argparse
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from schemas import captured
from schemas.settings import Settings
from worker.batch import Events, Records
from worker.decoder import JsonDecoder
from worker.errors import ConfigError, ExitCode, WorkerError
from worker.extent import Extent, slices_of
from worker.feature_choice import choose_features, events_with
from worker.formats import event_format
from worker.kafka_log import KafkaLog, Piece
from worker.model_store import local_path
from worker.new_file import refuse_overwriting
from worker.progress import progress_bar
from worker.tables import Column, Kind, Table, new_table, refuse_unwritable
from worker.times import epoch_ms, span_ms

_PIECE_RECORDS = 10_000

_EXAMPLES = """\
The file has one row per valid event, in the order of each partition: entity, event_time (milliseconds since 1970), the
features, and source_topic, source_partition, source_offset. No group is joined and nothing is committed.

example: a week of events, then a detector trained on them
  anomaly-worker capture --config worker.yaml --last 7d --output events.parquet
  anomaly-export train --data events.parquet --entity entity --timestamp event_time --output machine.onnx

more:
  anomaly-worker capture --config worker.yaml --from 2024-05-01 --to 2024-05-08T12:00 --output may.csv.gz
  anomaly-worker capture --config worker.yaml --max-events 100000 --features cpu,memory --output newest.csv
"""


@dataclass(slots=True)
class Tally:
    """What became of the records."""

    rows: int = 0
    skipped: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)  # reason -> the first sentence

    def add(self, events: Events) -> None:
        """Count one batch."""
        self.rows += len(events)
        self.skipped += len(events.skipped)
        self.refused.update(refused.reason for refused in events.refused)
        for refused in events.refused:
            self.example.setdefault(refused.reason, refused.message.rstrip("."))

    def sentences(self) -> Iterator[str]:
        """For people, one a line."""
        if self.skipped:
            yield f"skipped {self.skipped:,} by events.where"
        for reason, count in self.refused.most_common():
            yield f"refused {count:,} as {reason}, for instance: {self.example[reason]}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes beside `--config`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the table to write: .parquet, .csv or .csv.gz"
    )
    parser.add_argument(
        "--last", type=_argument(span_ms), metavar="SPAN", help="records of the last 90s, 15m, 12h, 7d, 2w"
    )
    parser.add_argument(
        "--from", dest="from_ms", type=_argument(epoch_ms), metavar="TIME", help="from here on: ISO 8601 or epoch"
    )
    parser.add_argument("--to", dest="to_ms", type=_argument(epoch_ms), metavar="TIME", help="until before here")
    parser.add_argument(
        "--max-events", type=_argument(_positive), metavar="N", help="the newest N of these, spread over the partitions"
    )
    parser.add_argument(
        "--features",
        type=lambda text: tuple(name.strip() for name in text.split(",") if name.strip()),
        metavar="A,B,...",
        help="default: the model's, where its file exists; else those of events.features; else every numeric field",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The command. Raises ConfigError, BrokerError."""
    read = {"the settings file": arguments.config, "the model": local_path(settings.model.uri)}
    refuse_overwriting([arguments.output], read)
    return capture(
        settings,
        extent=extent_of(arguments, now_ms=time.time_ns() // 1_000_000),
        output=arguments.output,
        features=arguments.features,
        console=Console(stderr=True, highlight=False, markup=False, soft_wrap=True),
        show_progress=not arguments.no_progress,
    )


def capture(
    settings: Settings,
    *,
    extent: Extent,
    output: Path,
    features: Sequence[str] | None,
    console: Console,
    show_progress: bool,
) -> int:
    """Write the events of that extent to `output`. Raises ConfigError, BrokerError, WorkerError (no events)."""
    refuse_unwritable(output)
    topics = settings.kafka.input_topics
    with KafkaLog(settings) as log:
        slices = slices_of(log, topics, extent)
        total = sum(map(len, slices))
        if not total:
            raise WorkerError(
                f"There are no records in {', '.join(topics)}{extent}: widen the range, or take --max-events N."
            )
        with progress_bar(console, "reading", total=total, shown=show_progress) as advance:
            batches = _told(log.read(slices, max_records=_PIECE_RECORDS), advance)
            names, origin, batches = choose_features(settings, features, batches)
            decoder = JsonDecoder(event_format(events_with(settings.events, names), names))
            tally = _write(batches, decoder, names, output)
    console.print(f"{len(names)} features {origin}: {', '.join(names)}")
    console.print(f"wrote {tally.rows:,} rows to {output}")
    for sentence in tally.sentences():
        console.print(sentence)
    console.print(
        f"next: anomaly-export train --data {shlex.quote(str(output))} --entity {captured.ENTITY}"
        f" --timestamp {captured.EVENT_TIME} --output {shlex.quote(Path(settings.model.uri).name)}"
    )
    return ExitCode.DONE


def _told(pieces: Iterable[Piece], advance: Callable[[int], None]) -> Iterator[Records]:
    for piece in pieces:
        advance(piece.offsets)
        yield piece.records


# --- the table


def _write(batches: Iterable[Records], decoder: JsonDecoder, names: Sequence[str], output: Path) -> Tally:
    tally = Tally()
    with new_table(output, _kinds(names)) as table:
        for records in batches:
            events = decoder.decode(records)
            tally.add(events)
            _append(table, records, events, names)
        if not tally.rows:
            raise WorkerError(f"No record is a valid event: {'; '.join(tally.sentences()) or 'none came'}.")
    return tally


def _append(table: Table, records: Records, events: Events, names: Sequence[str]) -> None:
    if not len(events):
        return
    places = records.partition[events.row]
    columns: dict[str, Column] = {
        captured.ENTITY: events.entity,
        captured.EVENT_TIME: events.event_time,
        **{name: events.features[:, place] for place, name in enumerate(names)},
        captured.SOURCE_TOPIC: [records.partitions[place].topic for place in places.tolist()],
        captured.SOURCE_PARTITION: np.array([p.partition for p in records.partitions], np.int64)[places],
        captured.SOURCE_OFFSET: records.offset[events.row],
    }
    table.write(columns)


def _kinds(names: Sequence[str]) -> dict[str, Kind]:
    features: dict[str, Kind] = dict.fromkeys(names, "float32")
    return {
        captured.ENTITY: "text",
        captured.EVENT_TIME: "int64",
        **features,
        captured.SOURCE_TOPIC: "text",
        captured.SOURCE_PARTITION: "int64",
        captured.SOURCE_OFFSET: "int64",
    }


# --- arguments


def extent_of(arguments: argparse.Namespace, *, now_ms: int) -> Extent:
    """What to read. Raises ConfigError where the arguments say nothing, or two things, of it."""
    from_ms = arguments.from_ms
    if arguments.last is not None:
        if from_ms is not None:
            raise ConfigError("--last and --from both say where to begin: give one of them.")
        from_ms = now_ms - arguments.last
    if from_ms is None and arguments.to_ms is None and arguments.max_events is None:
        raise ConfigError("How much? Give --last 7d, or --from TIME (and --to TIME), or --max-events N.")
    return Extent(from_ms=from_ms, to_ms=arguments.to_ms, max_events=arguments.max_events)


def _argument(convert: Callable[[str], int]) -> Callable[[str], int]:
    """The same, complaining as argparse wants it."""

    def converted(text: str) -> int:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return converted


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)
