"""One YAML text in, its values out, with the line that each stands on. It knows no setting.

Plain scalars mean what they mean in JSON: numbers, true, false and null; everything else is text. So `no`, `on`, `010`
and a time stay what was written, unlike in YAML 1.1. A key is always text, and none may stand twice.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from schemas.settings import Place
from worker.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    """The safe loader, with the scalars above instead of YAML 1.1's."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the base class's own way to say what a plain scalar means


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(frozen=True, slots=True)
class Document:
    """What a settings file says."""

    values: dict[str, object]
    lines: dict[Place, int]  # from 1


def read_document(text: str, *, name: str) -> Document:
    """The text's values. Raises ConfigError, which calls the text by its name, where it is not one YAML mapping."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines = dict(_lines(node, (), ())) if node else {}
        values = loader.construct_document(node) if node else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line}: this is not valid YAML: {error.problem}.") from None
    except yaml.YAMLError:
        raise ConfigError(f"{name}: this is not valid YAML: it holds characters that text does not have.") from None
    if values is None:
        return Document({}, {})
    if not isinstance(values, dict):
        raise ConfigError(
            f"{name}: settings are a mapping such as `kafka: {{group_id: ...}}`, and this is something else."
        )
    return Document(values, lines)


def _lines(node: yaml.Node, place: Place, above: tuple[yaml.Node, ...]) -> Iterator[tuple[Place, int]]:
    """The line of everything in a node; on the way keys become text."""
    if node in above:
        raise yaml.MarkedYAMLError(problem="an alias stands inside of what it stands for", problem_mark=node.start_mark)
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _lines(item, (*place, position), (*above, node))
    elif isinstance(node, yaml.MappingNode):
        for key, value in _entries(node):
            yield (*place, key.value), key.start_mark.line + 1
            inside = _lines(value, (*place, key.value), (*above, node))
            yield from (entry for entry in inside if len(entry[0]) > len(place) + 1)


def _entries(node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
        if key.tag == _TAG + "merge":
            continue  # the loader copies what it stands for
        key.tag = _TAG + "str"
        if key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
        seen.add(key.value)
        yield key, value
