"""How every page that we write for people looks: frame, and colours in light and dark. Knows not what they show.

A page is one file that fetches nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Colours:
    """Blue is right and orange is wrong, which almost everybody can tell apart. Each value is used once only."""

    paper: str = "#ffffff"
    ink: str = "#1c2530"
    muted: str = "#66717e"
    rule: str = "#d9dee4"
    score: str = "#8793a1"
    right: str = "#0b62a8"
    right_band: str = "#cfe5f7"
    wrong: str = "#c2500c"
    wrong_band: str = "#fbdcc4"
    third: str = "#7a5fa8"


COLOURS = Colours()
"""On light paper; what is drawn uses these alone."""

_DARK = Colours(
    paper="#14181d",
    ink="#e4e8ec",
    muted="#98a3af",
    rule="#2d343c",
    score="#7f8b98",
    right="#62b0f4",
    right_band="#17364f",
    wrong="#ff9a5a",
    wrong_band="#4f2d16",
    third="#b79be8",
)

_STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 2rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p, ul, ol { max-width: 46rem; }
.muted { color: var(--muted); }
.wide { overflow-x: auto; }
.wide > svg { display: block; width: 100%; min-width: 46rem; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; } td.number { white-space: nowrap; }
@media (max-width: 40rem) { table { font-size: .85rem; } th, td { padding-right: .6rem; } }
.found { color: var(--right); } .missed { color: var(--wrong); }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { padding: 1rem; border: 1px solid var(--rule); border-radius: 6px; overflow-x: auto; }
"""


def page_style(style: str = "") -> str:
    """The CSS of a page: that of every page, and `style`."""
    schemes = f":root {{ color-scheme: light dark; {_variables(COLOURS)} }}"
    schemes += f"\n@media (prefers-color-scheme: dark) {{ :root {{ {_variables(_DARK)} }} }}"
    return f"\n{schemes}{_STYLE}{style}"


def html_page(title: str, sections: Iterable[str], *, style: str = "", head: str = "") -> str:
    """The whole file.

    Args:
        title: Text, escaped here.
        sections: HTML, in this order.
        style: CSS beyond that of every page.
        head: HTML for the page's head.
    """
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{head}<style>{page_style(style)}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def named(colours: Colours) -> Iterator[tuple[str, str]]:
    """Each colour with the CSS variable that the page calls it by."""
    for name, colour in asdict(colours).items():
        yield f"--{name.replace('_', '-')}", colour


def _variables(colours: Colours) -> str:
    return " ".join(f"{name}: {colour};" for name, colour in named(colours))
