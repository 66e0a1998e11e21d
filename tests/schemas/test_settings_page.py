"""The page about the settings and the example, held to the model."""

import itertools
import json
import re
from pathlib import Path

import yaml

from schemas.kafka_properties import REFUSED
from schemas.settings import RECORD_OVERHEAD_BYTES, known_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "examples/worker.yaml").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)


def rows() -> dict[str, tuple[str, str, str]]:
    return {name: (kind, default.strip("` "), meaning) for name, kind, default, meaning in ROW.findall(PAGE)}


def test_the_page_lists_every_setting_in_the_order_of_the_model() -> None:
    assert list(rows()) == [".".join(place) for place in known_settings()]


def test_the_page_tells_each_default() -> None:
    for place, schema in known_settings().items():
        default = rows()[".".join(place)][1]
        if "default" not in schema:
            assert default == "required", place
        else:
            written = schema["default"]
            assert default == (written if isinstance(written, str) else json.dumps(written)), place


def test_the_page_tells_every_choice() -> None:
    for place, schema in known_settings().items():
        for choice in schema.get("enum", []):
            assert f"`{choice}`" in rows()[".".join(place)][0], place


def test_the_page_tells_every_bound() -> None:
    for place, schema in known_settings().items():
        numbers = next((kind for kind in schema.get("anyOf", [schema]) if "maximum" in kind), {})
        kind = rows()[".".join(place)][0]
        for bound in ("minimum", "exclusiveMinimum", "maximum"):
            if bound in numbers:
                assert re.search(rf"\b{numbers[bound]:.0f}\b", kind), place


def test_the_page_tells_every_refused_property() -> None:
    assert not [name for name in REFUSED if f"`{name}`" not in PAGE]
    assert str(RECORD_OVERHEAD_BYTES) in PAGE


def test_the_example_holds_every_setting_and_no_other_default() -> None:
    example = yaml.safe_load(EXAMPLE)
    for place, schema in known_settings().items():
        value = example
        for name in place:
            assert name in value, place
            value = value[name]
        if "default" in schema:
            assert value == schema["default"], place


def test_the_example_has_a_comment_above_every_setting() -> None:
    lines = EXAMPLE.splitlines()
    for place in known_settings():
        above = [
            before.strip()
            for before, line in itertools.pairwise(lines)
            if re.match(rf"{'  ' * (len(place) - 1)}{place[-1]}:", line)
        ]
        assert above, place
        assert all(line.startswith("#") for line in above), place
