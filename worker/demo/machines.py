"""The demo's data: six servers' rows to train on and to stream, and, apart from them, the labelled incidents."""

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from worker.batch import Bool, Float32, Int64
from worker.errors import ConfigError

ENTITY_COLUMN = "server"
TIME_COLUMN = "time"


@dataclass(frozen=True, slots=True)
class Rows:
    """One server's rows in time order."""

    time: list[str]  # n ISO 8601
    time_ms: Int64  # (n,) milliseconds since 1970
    values: Float32  # (n, feature)


@dataclass(frozen=True, slots=True)
class Incident:
    """A stretch that experts labelled: both ends belong to it, milliseconds since 1970."""

    server: str
    first_ms: int
    last_ms: int
    metrics: tuple[str, ...]  # those the experts held responsible


@dataclass(frozen=True, slots=True)
class Machines:
    """Where the example files lie, and what they hold. Servers keep one order throughout."""

    train_files: tuple[Path, ...]
    features: tuple[str, ...]
    train: Mapping[str, Rows]
    test: Mapping[str, Rows]
    incidents: tuple[Incident, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        """In the order of every table and picture."""
        return tuple(self.test)

    @property
    def test_events(self) -> int:
        """Of all servers."""
        return sum(len(rows.time_ms) for rows in self.test.values())


def example_folder() -> Path:
    """examples/machines of the checkout that this package runs from. Raises ConfigError where there is none."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "machines"
    if not (folder / "incidents.csv").is_file():
        raise ConfigError(
            f"the demo's data are not part of an installed package, and {folder} does not exist: "
            "run it from a checkout of the repository with `make demo`"
        )
    return folder


def load_machines(folder: Path) -> Machines:
    """All of the example files."""
    train_files = tuple(sorted((folder / "train").glob("*.csv.gz"), key=_server_number))
    test_files = [folder / "test" / file.name for file in train_files]
    return Machines(
        train_files=train_files,
        features=_features(train_files[0]),
        train={_server(file): read_rows(file) for file in train_files},
        test={_server(file): read_rows(file) for file in test_files},
        incidents=read_incidents(folder / "incidents.csv"),
    )


def read_rows(path: Path) -> Rows:
    """One server's file."""
    with gzip.open(path, "rt", newline="") as file:
        _, *rows = csv.reader(file)
    time = [row[1] for row in rows]
    return Rows(time, np.array([epoch_ms(moment) for moment in time]), np.array([row[2:] for row in rows], np.float32))


def read_incidents(path: Path) -> tuple[Incident, ...]:
    """The labelled incidents, in the file's order."""
    with path.open(newline="") as file:
        return tuple(
            Incident(row["server"], epoch_ms(row["first"]), epoch_ms(row["last"]), tuple(row["metrics"].split()))
            for row in csv.DictReader(file)
        )


def labels(machines: Machines, server: str) -> Bool:
    """(n,) whether each test row of the server lies in an incident."""
    time_ms = machines.test[server].time_ms
    labelled = np.zeros(len(time_ms), dtype=np.bool_)
    for incident in machines.incidents:
        if incident.server == server:
            labelled |= (time_ms >= incident.first_ms) & (time_ms <= incident.last_ms)
    return labelled


def epoch_ms(moment: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 moment in UTC."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def moment(time_ms: int) -> str:
    """The moment for people, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%d %b %H:%M")


def _features(path: Path) -> tuple[str, ...]:
    with gzip.open(path, "rt", newline="") as file:
        return tuple(next(csv.reader(file))[2:])


def _server(path: Path) -> str:
    return path.name.removesuffix(".csv.gz")


def _server_number(path: Path) -> int:
    return int(_server(path).rpartition("-")[2])
