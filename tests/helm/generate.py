"""What is made of the chart: its README, its schema's descriptions, the golden files: `python -m tests.helm.generate`.

The comment that begins with `# -- ` above a value tells what it is for. The schema of `config` is that of the worker's
settings file, but that hardly anything is required in it: the chart gives some of it, and a sentence says what else is
missing.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.helm.chart import CASES, GOLDEN, golden_text

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"
SETTINGS_SCHEMA = ROOT / "schemas" / "json" / "settings.json"

Schema = dict[str, Any]
Key = tuple[str, ...]

_MARK = "# -- "
_KEY = re.compile(r"( *)([A-Za-z0-9_]+):")
_INTRODUCTION = """\
# The chart anomaly-worker

Workers in one consumer group, as a StatefulSet beside a Kafka that is there already.
[docs/kubernetes.md](../docs/kubernetes.md) tells how to install it and why it is as it is,
[docs/operations.md](../docs/operations.md) how to live with it.

This page is made of the comments in [values.yaml](values.yaml) by `python -m tests.helm.generate`; change those.

| value | default | meaning |
|---|---|---|
"""


def comments(text: str) -> dict[Key, str]:
    """Each value's place, in the order of the file, with the comment above it."""
    found: dict[Key, str] = {}
    above: list[str] = []
    place: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(_MARK):
            above = [stripped.removeprefix(_MARK)]
        elif stripped.startswith("# ") and above:
            above.append(stripped.removeprefix("# "))
        elif (match := _KEY.match(line)) is not None:
            place = [*place[: len(match[1]) // 2], match[2]]
            if above:
                found[tuple(place)] = " ".join(above)
            above = []
        else:
            above = []
    return found


def value_at(values: object, key: Key) -> object:
    """The default at a place."""
    for name in key:
        assert isinstance(values, dict)
        values = values[name]
    return values


def readme() -> str:
    """The page's text."""
    text = VALUES.read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    rows = (
        f"| `{'.'.join(key)}` | `{json.dumps(value_at(values, key))}` | {comment} |\n"
        for key, comment in comments(text).items()
    )
    return _INTRODUCTION + "".join(rows)


def schema() -> str:
    """The schema's text: the file as it is, with the comments as descriptions and `config` as the worker's."""
    whole: Schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    whole["properties"]["config"] = settings_schema()
    for (*above, name), comment in comments(VALUES.read_text(encoding="utf-8")).items():
        node = whole
        for step in above:
            node = node["properties"][step]
        node["properties"][name] = {"description": comment, **_without(node["properties"][name], "description")}
    require_sections(whole)
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def require_sections(node: Schema) -> None:
    """A section whose lines are all commented out is null, and Helm drops it: it is named before a template fails."""
    sections = {name: inner for name, inner in node["properties"].items() if "properties" in inner}
    if sections:
        node["required"] = list(sections)
    for name, inner in sections.items():
        if name != "config":
            require_sections(inner)


def settings_schema() -> Schema:
    """The schema of the worker's settings file, with nothing required but the section that templates read."""
    settings: Schema = json.loads(SETTINGS_SCHEMA.read_text(encoding="utf-8"))
    sections = {name: _without(section, "required") for name, section in settings["properties"].items()}
    return {**_without(settings, "required", "$schema"), "properties": sections, "required": ["http"]}


def _without(schema: Schema, *names: str) -> Schema:
    return {name: value for name, value in schema.items() if name not in names}


def main() -> None:
    """Write all of it anew."""
    SCHEMA.write_text(schema(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
    for case in CASES:
        (GOLDEN / f"{case}.yaml").write_text(golden_text(case), encoding="utf-8")


if __name__ == "__main__":
    main()
