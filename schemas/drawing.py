"""How what we draw for pages looks: figures become SVG whose colours are CSS variables: the page decides on them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from io import BytesIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from schemas.html_page import COLOURS, named

_SETTINGS: Mapping[RcKeyType, str | float] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "path.simplify_threshold": 0.5,
}


@contextmanager
def drawing(salt: str | None = None) -> Iterator[None]:
    """Figures are made and saved within it; a salt of its own keeps the names inside two drawings of a page apart."""
    with mpl.rc_context({**_SETTINGS, **({} if salt is None else {"svg.hashsalt": salt})}):
        yield


def svg(figure: Figure, *, alternative: str | None = None) -> str:
    """The figure, to be put into a page; `alternative` says in words what it shows."""
    output = BytesIO()
    figure.savefig(
        output, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = output.getvalue().decode()
    text = re.sub(r"'DejaVu Sans'[^\"]*?sans-serif", "system-ui, sans-serif", text[text.index("<svg") :])
    for name, colour in named(COLOURS):
        text = text.replace(colour, f"var({name})")
    if alternative is not None:
        text = text.replace("<svg", f'<svg role="img" aria-label="{escape(alternative)}"', 1)
    return text


def plain(axes: Axes) -> None:
    """Takes away what holds no data: frame, ticks, background."""
    axes.set_facecolor("none")
    axes.tick_params(colors=COLOURS.muted, length=0)
    axes.grid(axis="y", color=COLOURS.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.axhline(0, color=COLOURS.rule, linewidth=1)
