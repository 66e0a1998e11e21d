"""The chart, rendered by the real Helm engine: values in, objects out."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "helm"
VALUES = HERE / "values"
GOLDEN = HERE / "golden"
FILES = sorted((CHART / "files").iterdir())
CASES = sorted(path.stem for path in VALUES.glob("*.yaml"))

Object = dict[str, Any]


@cache
def chart() -> Chart:
    """Loaded once."""
    return Chart.load(CHART)


def values_of(case: str) -> Object:
    """The values of a case of the table."""
    values: Object = yaml.safe_load((VALUES / f"{case}.yaml").read_text(encoding="utf-8"))
    return values


def texts(values: Object, *, release: str = "demo", namespace: str = "plant") -> dict[str, str]:
    """What each template becomes, empty ones left out; NOTES.txt among them."""
    rendered = chart().render(values, name=release, namespace=namespace, is_install=True)
    return {path.partition("/")[2]: text for path, text in sorted(rendered.items()) if text.strip()}


def objects(values: Object, **where: str) -> list[Object]:
    """Every object, in the order of the templates' names; `release` and `namespace` as for `texts`."""
    manifests = (text for path, text in texts(values, **where).items() if path.endswith(".yaml"))
    return [made for text in manifests for made in yaml.safe_load_all(text) if made]


def only(kind: str, made: list[Object], *, name: str | None = None) -> Object:
    """The one object of that kind (and name)."""
    (found,) = (one for one in made if one["kind"] == kind and (name is None or one["metadata"]["name"] == name))
    return found


def pods(made: list[Object]) -> list[Object]:
    """The specification of every pod that comes of the objects."""
    specs = {
        "Pod": lambda one: one["spec"],
        "StatefulSet": lambda one: one["spec"]["template"]["spec"],
        "CronJob": lambda one: one["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    }
    return [specs[one["kind"]](one) for one in made if one["kind"] in specs]


def golden_text(case: str) -> str:
    """What is kept of a case: everything it becomes, but for what the chart takes from files as they are."""
    parts = (f"--- # {path}\n{_without_files(text).strip()}\n" for path, text in texts(values_of(case)).items())
    return "".join(parts)


def _without_files(text: str) -> str:
    """The text with each of the chart's files that stands indented in it replaced by its name."""
    for file in FILES:
        block = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
        for line in text.splitlines():
            indent = line.removesuffix(block[0])
            if not indent.strip() and line != indent:
                text = text.replace("\n".join(indent + inner for inner in block), f"{indent}({file.name})")
                break
    return text
