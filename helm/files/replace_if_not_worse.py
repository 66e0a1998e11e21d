"""The end of a training job: the new model takes the running one's place, unless it judges labelled events worse."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def figure_of(model: Path, figure: str, evaluate: list[str]) -> float:
    """What `anomaly-export evaluate` says of a model; higher is better."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "figures.json"
        metric = figure.replace("_", "-")
        command = ["anomaly-export", "evaluate", model, *evaluate, "--metric", metric, "--json", written]
        done = subprocess.run(command, check=False)
        if done.returncode != 0:
            sys.exit(f"training: {model} could not be judged; the running model stays.")
        figures = json.loads(written.read_text(encoding="utf-8"))["scores"]["causal"]["overall"]
    if figures.get(figure) is None:
        sys.exit(f"training: the labelled events give {model} no {figure}; the running model stays.")
    return float(figures[figure])


def replace(running: Path, new: Path) -> None:
    """In one step: who opens the file meanwhile has the old one or the new one, whole."""
    partial = running.with_name(f".{running.name}.partial")
    shutil.copyfile(new, partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(running)


parser = argparse.ArgumentParser()
parser.add_argument("--new", type=Path, required=True)
parser.add_argument("--running", type=Path, required=True)
parser.add_argument("--figure", required=True)
parser.add_argument("--slack", type=float, required=True)
given, evaluate = parser.parse_known_args()
told = "there was none"
if given.running.exists():
    now, before = (figure_of(model, given.figure, evaluate) for model in (given.new, given.running))
    told = f"{given.figure} {now:.4f}, before {before:.4f}"
    if now < before - given.slack:
        print(f"The new model is worse ({told}); the running one stays.")  # noqa: T201 - the job's output
        sys.exit(0)
replace(given.running, given.new)
print(f"{given.running} is the new model ({told}); pods take it up when they start again.")  # noqa: T201
