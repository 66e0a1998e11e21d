"""An evaluation becomes an HTML page that fetches nothing: plots, tables, what each figure means. Computes nothing."""

from collections.abc import Iterator, Sequence
from html import escape

from export.blame import Blame, WorstIncident
from export.evaluation_plots import (
    MOST_ENTITIES,
    Plot,
    calibration_plot,
    drift_plot,
    precision_recall_plot,
    scores_plot,
    trade_off_plot,
)
from export.evaluation_report import (
    Evaluation,
    alarm_table,
    clear_of_incidents,
    headline,
    notes,
    percent,
    ranking_table,
    touched_by_incidents,
)
from export.report import day
from export.trade_off import trade_off
from schemas.html_page import html_page

_MOST_ROWS = 200  # of the table of entities; the JSON has them all
_STYLE = """
figure { margin: 0; } figcaption { color: var(--muted); font-size: .9rem; max-width: 46rem; margin-top: .4rem; }
.plots { display: grid; gap: 2rem; margin-top: 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.incidents { display: grid; gap: 0 3rem; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.wide + .wide { margin-top: 1.5rem; }
.plots svg { display: block; width: 100%; max-width: 32rem; height: auto; }
h3 { font-size: 1rem; margin: 1.75rem 0 .35rem; }
.share { display: flex; align-items: center; gap: .5rem; min-width: 9rem; }
.share i { display: block; height: .7rem; background: var(--right); border-radius: 2px; }
summary { cursor: pointer; } details { margin-top: 1rem; }
thead th { vertical-align: bottom; }
th[scope=row] { font-weight: 400; }
.own th, .own td { font-weight: 600; }
"""


def evaluation_page(evaluation: Evaluation) -> str:
    """The HTML."""
    manifest = evaluation.manifest
    title = f"{manifest.name}, version {manifest.version}: evaluation"
    return html_page(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(headline(evaluation))}.</p>",
            _verdict(evaluation),
            "<h2>Scores over time</h2>",
            _figure(scores_plot(evaluation), wide=True),
            f'<div class="plots">{"".join(map(_figure, _small_plots(evaluation)))}</div>',
            "<h2>Beside plain detectors</h2>",
            *(_scores_table(headings, rows) for headings, rows in (ranking_table(evaluation), alarm_table(evaluation))),
            *_worst(evaluation),
            *_entities(evaluation),
            "<h2>What the figures mean</h2>",
            "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes(evaluation)) + "</ul>",
            f'<p class="muted">{escape(_model(evaluation))}</p>',
        ],
        style=_STYLE,
    )


def _verdict(evaluation: Evaluation) -> str:
    overall = evaluation.verdicts["causal"].overall
    incidents, alarms = overall.incidents, overall.alarms
    false, promised = percent(alarms.false_alarm_rate), percent(evaluation.promised)
    sentences = [
        f"{incidents.found} of {incidents.incidents} incidents raised an alarm.",
        f"{incidents.false_episodes} of {incidents.episodes} episodes of alarms touched no incident.",
        f"{false} of the normal rows raised an alarm, {promised} were promised.",
    ]
    if alarms.clear_rate is not None and touched_by_incidents(evaluation):
        sentences.append(f"Clear of incidents {percent(alarms.clear_rate)} did: {clear_of_incidents(evaluation)}.")
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _small_plots(evaluation: Evaluation) -> Iterator[Plot]:
    candidates = (
        precision_recall_plot(evaluation),
        calibration_plot(evaluation),
        drift_plot(evaluation),
        trade_off_plot(trade_off(evaluation.manifest.detector.hyperparameters)),
    )
    yield from (plot for plot in candidates if plot is not None)


def _figure(plot: Plot, *, wide: bool = False) -> str:
    """A wide one is scrolled where it does not fit, by keyboard too."""
    drawn = f'<div class="wide" tabindex="0">{plot.drawing}</div>' if wide else plot.drawing
    return f"<figure>{drawn}<figcaption>{escape(plot.caption)}</figcaption></figure>"


def _scores_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A row a score, the model's own in bold."""
    return _table(
        headings, ["".join(_cells(row)) for row in rows], own=sum(row[0] in {"causal", "revised"} for row in rows)
    )


def _table(headings: Sequence[str], rows: Sequence[str], *, own: int = 0) -> str:
    first, *others = headings
    head = f'<th scope="col">{escape(first)}</th>'
    head += "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in others)
    body = "".join(('<tr class="own">' if place < own else "<tr>") + row + "</tr>" for place, row in enumerate(rows))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str]) -> Iterator[str]:
    first, *others = row
    yield f'<th scope="row">{escape(first)}</th>'
    yield from (f'<td class="number">{escape(cell)}</td>' for cell in others)


def _worst(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.worst_incidents:
        return
    yield "<h2>The incidents that score highest, and what they are blamed on</h2>"
    yield f'<div class="incidents">{"".join(map(_incident, evaluation.worst_incidents))}</div>'
    yield (
        '<p class="muted">Of the row with the highest score. Value and expected are those of the row of its window in '
        "which the feature has most of the blame.</p>"
    )


def _incident(incident: WorstIncident) -> str:
    rows = ["".join(_blame_cells(blame)) for blame in incident.blames]
    blamed = (
        _table(("feature", "share of the score", "value", "expected", "rows ago"), rows)
        if rows
        else '<p class="muted">The model does not explain its scores.</p>'
    )
    return f"<section><h3>{escape(_incident_title(incident))}</h3>{blamed}</section>"


def _incident_title(incident: WorstIncident) -> str:
    entity = f"{incident.entity}, " if incident.entity else ""
    rows = f"rows {incident.first_row + 1:,} to {incident.last_row + 1:,}"
    if incident.first_ms is None or incident.last_ms is None:
        when = rows
    else:
        when = f"{day(incident.first_ms)} to {day(incident.last_ms)}"
    delay = incident.delay_rows
    outcome = "missed" if delay is None else "found at once" if delay == 0 else f"found after {delay:,} rows"
    return f"{entity}{when}: score {incident.score:.2f}, {outcome}"


def _blame_cells(blame: Blame) -> Iterator[str]:
    yield f'<th scope="row">{escape(blame.feature)}</th>'
    bar = f'<i style="width: {blame.share * 6:.2f}rem"></i>'
    yield f'<td><div class="share">{bar}{percent(blame.share)}</div></td>'
    for number in (blame.value, blame.expected):
        yield f'<td class="number">{"-" if number is None else f"{number:.4g}"}</td>'
    yield f'<td class="number">{blame.rows_ago}</td>'


def _entities(evaluation: Evaluation) -> Iterator[str]:
    """A table of the causal score by entity, incidents first, behind a line that opens it where they are many."""
    if len(evaluation.entities) < 2:
        return
    each = evaluation.by_incidents
    ranking, alarms = ranking_table(evaluation, each[:_MOST_ROWS]), alarm_table(evaluation, each[:_MOST_ROWS])
    headings = ("entity", *ranking[0][1:], *alarms[0][1:])
    rows = ["".join(_cells((*one, *other[1:]))) for one, other in zip(ranking[1], alarms[1], strict=True)]
    yield "<h2>By entity, causal</h2>"
    table = _table(headings, rows)
    if len(each) > MOST_ENTITIES:
        left_out = f" ({_MOST_ROWS} of them; the JSON has all)" if len(each) > _MOST_ROWS else ""
        yield f"<details><summary>{len(each):,} entities{left_out}</summary>{table}</details>"
    else:
        yield table


def _model(evaluation: Evaluation) -> str:
    manifest, training = evaluation.manifest, evaluation.manifest.training
    entities = f"{training.entities:,} {'entity' if training.entities == 1 else 'entities'}"
    return (
        f"Model {manifest.name}, version {manifest.version}, digest {manifest.digest[:12]}: family "
        f"{manifest.detector.family}, windows of {manifest.window} rows of {len(manifest.features)} features, "
        f"alarm rate {percent(manifest.alarm_rate)}, trained on {training.rows:,} rows of {entities}."
    )
