"""What every page that we write must be: whole, without addresses to fetch, its colours defined for light and dark."""

import re
from html.parser import HTMLParser


class Tags(HTMLParser):
    """Collects what a browser would fetch, and whether tags are closed in order."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]
        self.names += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_whole_and_fetching_nothing(text: str) -> None:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in text
    assert all(address.startswith("#") for address in tags.addresses)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def assert_colours_are_of_the_page(text: str) -> None:
    """Each colour of a drawing is a variable that the page defines twice."""
    used = set(re.findall(r"var\((--[a-z-]+)\)", text))
    light, dark = text.split("prefers-color-scheme: dark", 1)
    for name in used:
        assert f"{name}: #" in light
        assert f"{name}: #" in dark
    drawings = text[text.index("<svg") : text.rindex("</svg>")]
    assert not re.search(r"#[0-9a-f]{6}\b(?!\")", re.sub(r'(id|xlink:href|clip-path)="[^"]*"', "", drawings))
