"""From scores to what a person takes away: counts in the terminal, a picture, a page."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from schemas.manifest import Manifest
from worker.demo.baselines import Setting, pca, z_score
from worker.demo.detection import Detection, by_baseline, by_worker
from worker.demo.machines import Machines
from worker.demo.page import Report, page
from worker.demo.picture import COUNT_NAMES, counts, write_png
from worker.demo.scoreboard import Scoreboard
from worker.demo.story import line, tell, three
from worker.demo.verdict import HOW_FAIR, kept_promise
from worker.model_store import load_artifact

NEXT_COMMANDS = """\
anomaly-worker capture --config worker.yaml --last 7d --output events.parquet
anomaly-export train --data events.parquet --entity entity --timestamp event_time --output machine.onnx
anomaly-worker run --config worker.yaml"""

HOW_COUNTED = (
    "An incident is a stretch that experts labelled; it is found if one of its own events raised an alarm. Alarms at "
    "most an hour apart are an episode, false if it touches no incident. Precision and recall are of single events. "
    "Nothing is point-adjusted."
)


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files that were written."""

    png: Path
    html: Path


def setting_of(manifest: Manifest) -> Setting:
    """What the trained detector was told, for the baselines to be told the same."""
    return Setting(
        window=manifest.window,
        bottleneck=int(str(manifest.detector.hyperparameters["bottleneck"])),
        alarm_rate=manifest.alarm_rate,
        held_back=0.2,  # as the exporter does: the newest fifth of each entity's rows calibrates,
        tail_share=0.01,  # and the highest hundredth of its scores makes the tail
    )


def detections(board: Scoreboard, machines: Machines, setting: Setting) -> list[Detection]:
    """The worker's first, the baselines after it."""
    train = {server: rows.values for server, rows in machines.train.items()}
    test = {server: rows.values for server, rows in machines.test.items()}
    return [
        by_worker("autoencoder", board, machines),
        by_baseline(pca(train, test, setting), machines),
        by_baseline(z_score(train, test, setting), machines),
    ]


def conclude(
    console: Console, board: Scoreboard, machines: Machines, *, model: Path, run: str, output: Path
) -> Pictures:
    """Count, tell, draw. `run` says in a sentence what ran."""
    setting = setting_of(load_artifact(str(model), sha256=None).manifest)
    judged = detections(board, machines, setting)
    verdict = judged[0].verdict
    told = tell(verdict, board)
    story = three(told)
    console.print()
    console.print(comparison(judged))
    for sentence in (HOW_COUNTED, kept_promise(verdict, alarm_rate=setting.alarm_rate), HOW_FAIR):
        console.print(sentence, soft_wrap=False)
    console.print("\nThree incidents:")
    for number, one in enumerate(story, 1):
        console.print(f"{number}. {line(one)}", soft_wrap=False)
    title = (
        f"{len(machines.servers)} servers, {verdict.server_days / len(machines.servers):.0f} days, "
        f"{machines.test_events:,} events: {verdict.incidents_found} of {len(verdict.found)} incidents found, "
        f"{verdict.false_episodes_a_day:.2f} false alarm episodes a server and day"
    )
    pictures = Pictures(output / "report.png", output / "report.html")
    write_png(pictures.png, judged, machines, story, title=title)
    report = Report(
        title=title,
        run=run,
        detections=judged,
        machines=machines,
        alarm_rate=setting.alarm_rate,
        told=told,
        story=story,
        next_commands=NEXT_COMMANDS,
    )
    pictures.html.write_text(page(report), encoding="utf-8")
    return pictures


def comparison(judged: list[Detection]) -> Table:
    """The verdicts beside each other."""
    table = Table(title="What they found", title_justify="left")
    table.add_column("")
    for name in COUNT_NAMES:
        table.add_column(name, justify="right")
    for detection in judged:
        table.add_row(detection.name, *counts(detection))
    return table
