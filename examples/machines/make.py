"""Makes the example files beside it from the ASD data: `python make.py ASD.npz INTERPRETATION_LABELS`.

ASD.npz holds, for each server, the arrays `omi-K/x_train` (8640, 19), `omi-K/x_test` (4320, 19) and `omi-K/y_test`
(4320,) (the source keeps the same arrays in `data/processed`). INTERPRETATION_LABELS is the source's
folder `data/interpretation_label`. The same input (and zlib) give the same files.
"""

import csv
import gzip
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
SERVERS = ("omi-1", "omi-3", "omi-5", "omi-7", "omi-9", "omi-11")
START = datetime(2026, 1, 1, tzinfo=UTC)  # invented: the source gives the step, 5 minutes, and no dates
STEP = timedelta(minutes=5)


def main(data: str, interpretation: str) -> None:
    """Write train/, test/ and incidents.csv."""
    incidents = []
    with np.load(data) as arrays:
        for server in SERVERS:
            train, test = arrays[f"{server}/x_train"], arrays[f"{server}/x_test"]
            test_start = START + len(train) * STEP
            write_server(HERE / "train" / f"{server}.csv.gz", server, START, train)
            write_server(HERE / "test" / f"{server}.csv.gz", server, test_start, test)
            blamed = read_blamed(Path(interpretation) / f"{server}.txt")
            for first, last in incident_rows(arrays[f"{server}/y_test"]):
                metrics = sorted(set().union(*(numbers for row, numbers in blamed.items() if first <= row <= last)))
                incidents.append((server, test_start + first * STEP, test_start + last * STEP, metrics))
    write_incidents(HERE / "incidents.csv", incidents)


def write_server(path: Path, server: str, start: datetime, rows: NDArray[np.float32]) -> None:
    """One server's rows as CSV, compressed without a name or a time of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["server", "time", *(f"metric_{number:02}" for number in range(1, rows.shape[1] + 1))])
    for row, values in enumerate(rows.tolist()):
        writer.writerow([server, moment(start + row * STEP), *(f"{value:.4g}" for value in values)])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def incident_rows(labels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """First and last row of each unbroken stretch of labels."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], labels, [0]))))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def read_blamed(path: Path) -> dict[int, set[int]]:
    """For each labelled stretch, by its first row, the numbers of the metrics that the source's experts name."""
    lines = (line.partition(":") for line in path.read_text().split())
    return {int(rows.partition("-")[0]): {int(number) for number in metrics.split(",")} for rows, _, metrics in lines}


def write_incidents(path: Path, incidents: list[tuple[str, datetime, datetime, list[int]]]) -> None:
    """One line an incident: server, its first and last event, the metrics that the source's experts name."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["server", "first", "last", "metrics"])
        for server, first, last, metrics in incidents:
            names = " ".join(f"metric_{number:02}" for number in metrics)
            writer.writerow([server, moment(first), moment(last), names])


def moment(time: datetime) -> str:
    """ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main(*sys.argv[1:])
