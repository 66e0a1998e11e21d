"""How many anomalous sessions of HDFS are, line for line, how a normal session begins.

Of two equal windows a detector says the same, and a normal session's highest score is at least that of its beginning:
so no score that is published with a line can tell these sessions from normal ones.

    python -m tests.benchmarks.session_beginnings DIR/log_hdfs_sequences.csv.gz
"""

import sys
from pathlib import Path

import pyarrow.csv
from rich.console import Console


def main(path: Path) -> None:
    """Prints the share, and how many sessions show a template that training did not."""
    rows = pyarrow.csv.read_csv(path).to_pylist()
    normal = [tuple(row["events"].split()) for row in rows if row["split"] == "train"]
    anomalous = [tuple(row["events"].split()) for row in rows if row["split"] == "test" and row["label"] == 1]
    say = Console(highlight=False).print
    beginnings = {session[:length] for session in normal for length in range(1, len(session) + 1)}
    known = {template for session in normal for template in session}
    begun = sum(session in beginnings for session in anomalous)
    unseen = sum(not known.issuperset(session) for session in anomalous)
    say(f"{len(anomalous):,} anomalous sessions")
    say(f"{begun:,} ({begun / len(anomalous):.1%}) are the beginning of a normal training session")
    say(f"{unseen:,} ({unseen / len(anomalous):.1%}) show a template that no training session does")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
