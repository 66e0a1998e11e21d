"""What `evaluate` tells, as tables and as JSON. Knows no files, and computes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table

from export.blame import WorstIncident
from export.report import day, listed
from export.verdict import Figures, Judged, Rules, Verdict, is_volume
from schemas.manifest import Manifest

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | float | bool | None

_MOST_ENTITIES = 30  # in the terminal's tables; the JSON has them all
_MOST_WITHOUT_INCIDENTS = 5  # of these: they have nothing to find
_DIGITS = 3  # of a figure between 0 and 1; what is equal as shown is called equal
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

    @property
    def tenths(self) -> str:
        """What the parts that tell the false alarms over time are parts of."""
        time_ms = self.judged["causal"].time_ms
        if time_ms is None:
            return "tenths of each entity's rows, since no times are known"
        return f"tenths of the time from {day(int(time_ms.min()))} to {day(int(time_ms.max()))}"

    @property
    def by_incidents(self) -> list[tuple[str, Figures]]:
        """The causal figures of each entity: most incidents first, then most false episodes, then as in the data."""
        each = zip(self.entities, self.verdicts["causal"].entities, strict=True)
        return sorted(each, key=lambda one: (-one[1].incidents.incidents, -one[1].incidents.false_episodes))


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """How well the scores order the rows, what the alarms found, and what became of the promise."""
    console.print(headline(evaluation), highlight=False, markup=False)
    for table_of in (ranking_table, alarm_table):
        console.print(_for_terminal(table_of, evaluation), highlight=False, markup=False)
    for line in notes(evaluation):
        console.print(line, highlight=False, markup=False)
    left_out = len(evaluation.entities) - len(_shown_entities(evaluation))
    if left_out:
        console.print(f"{left_out:,} more {'entity' if left_out == 1 else 'entities'}: see --json", highlight=False)


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
            "yardstick": rules.yardstick.replace("-", "_"),
            "vus_window": rules.vus_window,
            "false_positive_rate": rules.false_positive_rate,
            "prior": rules.prior,
            "episode_gap_s": rules.episode_gap_ms / 1000 if evaluation.has_times else None,
            "baselines_learned_from": evaluation.baselines_learned_from,
            "over_time": evaluation.tenths,
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
        "false_alarm_rate_clear": alarms.clear_rate,
        "false_alarm_rate_clear_over_time": list(alarms.clear_rate_over_time),
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
    """A row a score, and below them the causal one of entities, those with incidents first."""
    headings, rows = table_of(evaluation)
    table = Table(*headings, box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    if len(evaluation.entities) > 1:
        table.add_section()
        table.add_row("causal of:")
        for row in table_of(evaluation, _shown_entities(evaluation))[1]:
            table.add_row(*row)
    return table


def _shown_entities(evaluation: Evaluation) -> list[tuple[str, Figures]]:
    each = evaluation.by_incidents
    with_incidents = sum(figures.incidents.incidents > 0 for _, figures in each)
    if not with_incidents:
        return each[:_MOST_ENTITIES]
    return each[: min(_MOST_ENTITIES, with_incidents + _MOST_WITHOUT_INCIDENTS)]


def _ranking_cells(figures: Figures) -> list[str]:
    return ["-" if value is None else _figure(value) for value in figures.ranking.values()]


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
    told = [f"{name}: {_MEANINGS[name]}" for name in evaluation.verdicts]
    told += [remark for remark in (_ground(evaluation), beaten_by(evaluation)) if remark is not None]
    told += _false_alarms(evaluation)
    if any(map(is_volume, rules.metrics)):
        told.append(_buffers(evaluation))
    if "recall" in rules.metrics:
        told.append(f"recall: of labelled rows, at {percent(rules.false_positive_rate)} false alarms")
    if rules.prior is not None and "average-precision" in rules.metrics:
        told.append(f"AP: normal rows weighted so that {percent(rules.prior)} of all are labelled")
    gap = f"at most {rules.episode_gap_ms / 1000:g} s apart" if evaluation.has_times else "in consecutive rows"
    told.append(f"episode: alarms {gap}; false: none of them in an incident; a day: of one entity; delay: the median")
    return told


def _false_alarms(evaluation: Evaluation) -> Iterator[str]:
    """What became of the promise; and once more without what incidents left in the windows, where there is such."""
    alarms = evaluation.verdicts["causal"].overall.alarms
    yield (
        f"promised false alarms {percent(evaluation.promised)}, realised {percent(alarms.false_alarm_rate)}; "
        f"in {evaluation.tenths}, oldest first: {_percents(alarms.false_alarm_rate_over_time)}"
    )
    if not touched_by_incidents(evaluation):
        return
    if alarms.clear_rate is None:
        yield "clear of incidents: no normal row is; the windows of all hold a part of one"
    else:
        yield (
            f"clear of incidents: realised {percent(alarms.clear_rate)}; in the same tenths: "
            f"{_percents(alarms.clear_rate_over_time)}; {clear_of_incidents(evaluation)}"
        )


def touched_by_incidents(evaluation: Evaluation) -> bool:
    """Whether a causal score of a normal row saw rows of an incident."""
    alarms = evaluation.verdicts["causal"].overall.alarms
    return sum(alarms.clear_rows) < sum(alarms.normal_rows)


def clear_of_incidents(evaluation: Evaluation) -> str:
    """Which rows are left out there, and why."""
    after = evaluation.manifest.window - 1
    rows = f"up to {after} rows" if after > 1 else "row"
    return (
        f"without the {rows} after each incident whose windows still hold a part of it: "
        "a high score there tells of the incident, not of drift"
    )


def _buffers(evaluation: Evaluation) -> str:
    rules = evaluation.rules
    if rules.vus_window == 0:
        told = "VUS: no buffers"
    else:
        told = f"VUS: buffers up to {rules.vus_window} rows"
        if not rules.vus_window_as_given:
            told += ", no more than a tenth of an entity's"
    return f"{told}, all entities: the mean of theirs" if len(evaluation.entities) > 1 else told


def _percents(rates: Sequence[float | None]) -> str:
    return " ".join(map(percent, rates))


def _ground(evaluation: Evaluation) -> str | None:
    learned_from = evaluation.baselines_learned_from
    if learned_from is None:
        return "PCA and prototypes: too few rows to learn from"
    hint = "; --training-data names what the model was trained on" if "these rows" in learned_from else ""
    return f"PCA and prototypes learned from {learned_from}{hint}"


def beaten_by(evaluation: Evaluation) -> str | None:
    """A sentence where a baseline orders the rows no worse than the model does, by the yardstick; else None."""
    metric = evaluation.rules.yardstick
    figures = {name: verdict.overall.ranking[metric] for name, verdict in evaluation.verdicts.items()}
    causal = figures.pop("causal")
    figures.pop("revised", None)
    plain = {name: figure for name, figure in figures.items() if figure is not None}
    if causal is None or not plain:
        return None
    shown = {name: round(figure, _DIGITS) for name, figure in plain.items()}
    best, own = max(plain, key=lambda name: plain[name]), round(causal, _DIGITS)
    if shown[best] < own:
        return None
    if shown[best] > own:
        return (
            f"the model does not beat {best} here: {_HEADINGS[metric]} {_figure(causal)} against {_figure(plain[best])}"
        )
    as_good = [name for name, figure in shown.items() if figure == own]
    perfect = min(causal, *(plain[name] for name in as_good)) > 1 - 1e-9
    how = "perfectly" if perfect else "equally well"
    return f"{listed(['the model', *as_good])} order the rows {how} here: {_HEADINGS[metric]} {_figure(causal)} each"


def _figure(value: float) -> str:
    return f"{value:.{_DIGITS}f}"


def percent(share: float | None) -> str:
    """For people; - where there is none."""
    if share is None:
        return "-"
    return f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:.2g} %"
