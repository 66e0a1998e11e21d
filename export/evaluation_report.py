"""What `evaluate` tells, as tables and as JSON. Knows no files, and computes nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table

from export.blame import WorstIncident
from export.verdict import Figures, Judged, Rules, Verdict
from schemas.manifest import Manifest

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | float | bool | None

_MOST_ENTITIES = 30  # in the table; the JSON has them all
_HEADINGS: Mapping[str, str] = {
    "vus-pr": "VUS-PR",
    "vus-roc": "VUS-ROC",
    "auroc": "AUROC",
    "average-precision": "AP",
    "recall": "recall",
}
_MEANINGS: Mapping[str, str] = {
    "causal": "known at once, from a row and those before it",
    "revised": "the mean over all windows that cover a row; known up to W - 1 rows later, which its delay leaves out",
    "z-score": "a plain baseline, distances from the training medians; as many alarms as causal",
    "PCA": "another, principal components and Mahalanobis distance of the window",
    "prototypes": "another, the distance to the nearest of 512 typical windows (k-means)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that was found out."""

    manifest: Manifest
    threshold: float
    rules: Rules
    entities: tuple[str, ...]  # ("",) where all rows are of one
    has_times: bool
    baselines_learned_from: str | None  # PCA and prototypes; None where there were too few rows for them
    verdicts: Mapping[str, Verdict]  # score -> figures; causal first
    judged: Mapping[str, Judged]  # score -> what the figures were counted from
    slices: Sequence[slice]  # the rows of each entity
    kept_promises: Sequence[tuple[float, float]]  # promised and realised share of false alarms, for many thresholds
    worst_incidents: Sequence[WorstIncident]  # the highest score first

    @property
    def promised(self) -> float:
        """The share of normal rows that may alarm: a score of s is as rare as the alarm rate to the power of s."""
        return float(min(1.0, self.manifest.alarm_rate**self.threshold))


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """How well the scores order the rows, what the alarms found, and what became of the promise."""
    console.print(headline(evaluation), highlight=False, markup=False)
    for table_of in (ranking_table, alarm_table):
        console.print(_for_terminal(table_of, evaluation), highlight=False, markup=False)
    for line in notes(evaluation):
        console.print(line, highlight=False, markup=False)
    if len(evaluation.entities) > _MOST_ENTITIES:
        console.print(f"{len(evaluation.entities) - _MOST_ENTITIES:,} more entities: see --json", highlight=False)


def as_json(evaluation: Evaluation) -> dict[str, Json]:
    """Everything, by the names that the page explains; null where a figure has no meaning."""
    manifest, rules = evaluation.manifest, evaluation.rules
    return {
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": manifest.digest,
            "window": manifest.window,
            "alarm_rate": manifest.alarm_rate,
        },
        "rules": {
            "threshold": evaluation.threshold,
            "promised_false_alarm_rate": evaluation.promised,
            "vus_window": rules.vus_window,
            "false_positive_rate": rules.false_positive_rate,
            "prior": rules.prior,
            "episode_gap_s": rules.episode_gap_ms / 1000 if evaluation.has_times else None,
            "baselines_learned_from": evaluation.baselines_learned_from,
        },
        "scores": {
            name: {
                "overall": _figures_as_json(verdict.overall),
                "entities": {}
                if evaluation.entities == ("",)
                else dict(zip(evaluation.entities, map(_figures_as_json, verdict.entities), strict=True)),
            }
            for name, verdict in evaluation.verdicts.items()
        },
        "calibration": [
            {"promised": promised, "realised": realised} for promised, realised in evaluation.kept_promises
        ],
        "worst_incidents": [asdict(incident) for incident in evaluation.worst_incidents],
    }


def _figures_as_json(figures: Figures) -> dict[str, Json]:
    alarms, incidents = figures.alarms, figures.incidents
    return {
        "rows": figures.rows,
        "labelled_rows": alarms.labelled_rows,
        **{name.replace("-", "_"): value for name, value in figures.ranking.items()},
        "alarms": alarms.true_alarms + sum(alarms.false_alarms),
        "row_precision": alarms.precision,
        "row_recall": alarms.recall,
        "false_alarm_rate": alarms.false_alarm_rate,
        "false_alarm_rate_over_time": list(alarms.false_alarm_rate_over_time),
        "alarms_a_day": alarms.alarms_a_day,
        "incidents": incidents.incidents,
        "incidents_found": incidents.found,
        "event_precision": incidents.precision,
        "event_recall": incidents.recall,
        "episodes": incidents.episodes,
        "false_episodes": incidents.false_episodes,
        "false_episodes_a_day": incidents.false_episodes / alarms.entity_days if alarms.entity_days else None,
        "median_delay_rows": incidents.median_delay_rows,
        "median_delay_s": incidents.median_delay_s,
    }


def headline(evaluation: Evaluation) -> str:
    """What was judged."""
    manifest, figures = evaluation.manifest, evaluation.verdicts["causal"].overall
    entities, incidents = len(evaluation.entities), figures.incidents.incidents
    return (
        f"{manifest.name}, version {manifest.version}, on {figures.rows:,} rows of {entities:,} "
        f"{'entity' if entities == 1 else 'entities'}: {incidents:,} {'incident' if incidents == 1 else 'incidents'}, "
        f"{figures.alarms.labelled_rows:,} labelled rows"
    )


Cells: TypeAlias = tuple[list[str], list[list[str]]]
"""Headings, and rows of as many cells."""


def ranking_table(evaluation: Evaluation, each: Sequence[tuple[str, Figures]] | None = None) -> Cells:
    """How well scores order rows: a row a score, or a row for each of these names."""
    rows = _overall(evaluation) if each is None else each
    headings = ["score", *(_HEADINGS[name] for name in evaluation.rules.metrics)]
    return headings, [[name, *_ranking_cells(figures)] for name, figures in rows]


def alarm_table(evaluation: Evaluation, each: Sequence[tuple[str, Figures]] | None = None) -> Cells:
    """What alarms found, likewise."""
    rows = _overall(evaluation) if each is None else each
    headings = ["score", "found", "false episodes", "alarms a day", "false alarms", "delay"]
    return headings, [[name, *_alarm_cells(figures)] for name, figures in rows]


def _overall(evaluation: Evaluation) -> list[tuple[str, Figures]]:
    return [(name, verdict.overall) for name, verdict in evaluation.verdicts.items()]


def _for_terminal(table_of: Callable[..., Cells], evaluation: Evaluation) -> Table:
    """A row a score, and below them the causal one by entity."""
    headings, rows = table_of(evaluation)
    table = Table(*headings, box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    if len(evaluation.entities) > 1:
        table.add_section()
        table.add_row("causal of:")
        each = zip(evaluation.entities, evaluation.verdicts["causal"].entities, strict=True)
        for row in table_of(evaluation, list(each)[:_MOST_ENTITIES])[1]:
            table.add_row(*row)
    return table


def _ranking_cells(figures: Figures) -> list[str]:
    return ["-" if value is None else f"{value:.3f}" for value in figures.ranking.values()]


def _alarm_cells(figures: Figures) -> list[str]:
    alarms, incidents = figures.alarms, figures.incidents
    return [
        f"{incidents.found} of {incidents.incidents}",
        f"{incidents.false_episodes} of {incidents.episodes}",
        "-" if alarms.alarms_a_day is None else f"{alarms.alarms_a_day:.3g}",
        percent(alarms.false_alarm_rate),
        _delay(figures),
    ]


def _delay(figures: Figures) -> str:
    seconds, rows = figures.incidents.median_delay_s, figures.incidents.median_delay_rows
    if seconds is not None:
        return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
    return "-" if rows is None else f"{rows:g} rows"


def notes(evaluation: Evaluation) -> list[str]:
    """What each score and figure is, and what is to be said of them."""
    rules = evaluation.rules
    alarms = evaluation.verdicts["causal"].overall.alarms
    over_time = " ".join(percent(rate) for rate in alarms.false_alarm_rate_over_time)
    told = [f"{name}: {_MEANINGS[name]}" for name in evaluation.verdicts]
    told += [remark for remark in (_ground(evaluation), beaten_by(evaluation)) if remark is not None]
    told.append(
        f"promised false alarms {percent(evaluation.promised)}, realised {percent(alarms.false_alarm_rate)}; "
        f"in tenths of each entity's rows, oldest first: {over_time}"
    )
    if set(rules.metrics) & {"vus-pr", "vus-roc"}:
        mean = ", all entities: the mean of theirs" if len(evaluation.entities) > 1 else ""
        told.append(f"VUS: buffers up to {rules.vus_window} rows{mean}")
    if "recall" in rules.metrics:
        told.append(f"recall: of labelled rows, at {percent(rules.false_positive_rate)} false alarms")
    if rules.prior is not None and "average-precision" in rules.metrics:
        told.append(f"AP: normal rows weighted so that {percent(rules.prior)} of all are labelled")
    gap = f"at most {rules.episode_gap_ms / 1000:g} s apart" if evaluation.has_times else "in consecutive rows"
    told.append(f"episode: alarms {gap}; false: none of them in an incident; a day: of one entity; delay: the median")
    return told


def _ground(evaluation: Evaluation) -> str | None:
    learned_from = evaluation.baselines_learned_from
    if learned_from is None:
        return "PCA and prototypes: too few rows to learn from"
    hint = "; --training-data names what the model was trained on" if "these rows" in learned_from else ""
    return f"PCA and prototypes learned from {learned_from}{hint}"


def beaten_by(evaluation: Evaluation) -> str | None:
    """A sentence where a baseline orders the rows no worse than the model does, by the first metric; else None."""
    metric = evaluation.rules.metrics[0]
    figures = {name: verdict.overall.ranking[metric] for name, verdict in evaluation.verdicts.items()}
    causal = figures.pop("causal")
    figures.pop("revised")
    plain = {name: figure for name, figure in figures.items() if figure is not None}
    if causal is None or not plain:
        return None
    best = max(plain, key=lambda name: plain[name])
    if plain[best] < causal:
        return None
    return f"the model does not beat {best} here: {_HEADINGS[metric]} {causal:.3f} against {plain[best]:.3f}"


def percent(share: float | None) -> str:
    """For people; - where there is none."""
    if share is None:
        return "-"
    return f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:.2g} %"
