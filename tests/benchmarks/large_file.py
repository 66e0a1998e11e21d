"""Memory of a training on a large Parquet file: what `train` takes at most, for several numbers of rows.

`python -m tests.benchmarks.large_file` writes files of 100,000 and of 10,000,000 rows of eight features, trains on each
in a process of its own, and prints the most memory that it took. It takes a few minutes and half a gigabyte of disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

FEATURES = 8
BLOCK_ROWS = 100_000


def write_rows(path: Path, rows: int, features: int = FEATURES) -> None:
    """A random walk, a block at a time, so that writing needs no memory either."""
    chance = np.random.default_rng(0)
    schema = pa.schema([(f"x{place}", pa.float32()) for place in range(features)])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for begin in range(0, rows, BLOCK_ROWS):
            count = min(BLOCK_ROWS, rows - begin)
            values = np.sin(chance.normal(0, 0.1, (count, features)).cumsum(axis=0)).astype(np.float32)
            writer.write_table(pa.table(dict(zip(schema.names, values.T, strict=True)), schema=schema))


def trained(data: Path, output: Path) -> tuple[float, float]:
    """Seconds, and MiB at most, of `anomaly-export train` with its default settings for a window of 32 rows."""
    command = [sys.executable, "-c", "import sys; from export.cli import main; sys.exit(main())", "train"]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--data", data, "--window", "32", "--detector", "ae", "--output", output])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return time.monotonic() - began, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 10_000_000])
    with tempfile.TemporaryDirectory() as folder:
        for rows in parser.parse_args().rows:
            data = Path(folder) / "rows.parquet"
            write_rows(data, rows)
            seconds, most = trained(data, Path(folder) / "model.onnx")
            print(f"{rows:>12,} rows: {seconds:.0f} s, {most:,.0f} MiB at most")  # noqa: T201  # its one purpose


if __name__ == "__main__":
    main()
