"""Paths and the kinds of values wanted there in, a msgspec type out whose decoder reads just these and skips the rest.

It knows nothing of features, entities or validity.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias

import msgspec

from worker.event_format import Path

Kinds: TypeAlias = frozenset[type]
"""Python types that a JSON value may come as. An integer comes as float where only float is wanted."""

ANYTHING: Kinds = frozenset({str, int, float, bool, NoneType, list, dict})
NUMBER_OR_NULL: Kinds = frozenset({float, NoneType})

_Tree: TypeAlias = "dict[str, _Tree | Kinds]"


@dataclass(frozen=True, slots=True)
class EventType:
    """The type, and under which attribute of it (dotted, for `operator.attrgetter`) each path's value is found."""

    struct: type[msgspec.Struct]
    attribute: Mapping[Path, str]
    kinds: Mapping[Path, Kinds]


def event_type(wanted: Mapping[Path, Kinds]) -> EventType | None:
    """The type for these paths; the attributes of one-step paths come in their order, before all others.

    A value that is absent is NaN where a number or null is wanted, else `msgspec.UNSET`. None where there is no such
    type: one path leads through another, no kind is left at one, or a name holds what msgspec does not take for one.
    """
    tree = _tree(wanted)
    if tree is None or not all(map(_is_plain, _names(wanted))) or not all(wanted.values()):
        return None
    return EventType(_struct(tree), {path: _attribute(tree, path) for path in wanted}, wanted)


def object_maker(names: Sequence[str]) -> Callable[..., object]:
    """Takes a value for each name and makes what msgspec writes as an object; `msgspec.UNSET` is left out of it."""
    if all(map(_is_plain, names)):
        fields: list[tuple[str, Any, Any]] = [(f"_{place}", Any, msgspec.UNSET) for place in range(len(names))]
        rename = {f"_{place}": name for place, name in enumerate(names)}
        return msgspec.defstruct("Object", fields, rename=rename, frozen=True, gc=False)

    def make(*values: object) -> dict[str, object]:
        return {name: value for name, value in zip(names, values, strict=True) if value is not msgspec.UNSET}

    return make


def _tree(wanted: Mapping[Path, Kinds]) -> "_Tree | None":
    tree: _Tree = {}
    for path in sorted(wanted, key=lambda path: len(path) > 1):  # stable: one-step paths first
        node = tree
        for name in path[:-1]:
            below = node.setdefault(name, {})
            if not isinstance(below, dict):
                return None
            node = below
        if path[-1] in node:
            return None
        node[path[-1]] = wanted[path]
    return tree


def _names(paths: Iterable[Path]) -> set[str]:
    return {name for path in paths for name in path}


def _is_plain(name: str) -> bool:
    """What msgspec takes for a field's name: nothing that JSON would escape."""
    return not any(character in '"\\' or ord(character) < 32 for character in name)


def _struct(tree: _Tree) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    for place, below in enumerate(tree.values()):
        if isinstance(below, dict):
            inside = _struct(below)
            fields.append((f"_{place}", inside, inside()))
        else:
            fields.append((f"_{place}", _annotation(below), float("nan") if below == NUMBER_OR_NULL else msgspec.UNSET))
    rename = {f"_{place}": name for place, name in enumerate(tree)}
    return msgspec.defstruct("Event", fields, rename=rename, frozen=True, gc=False)


def _annotation(kinds: Kinds) -> Any:  # noqa: ANN401  a type expression has no type of its own
    return Any if kinds == ANYTHING else functools.reduce(operator.or_, sorted(kinds, key=str))


def _attribute(tree: _Tree, path: Path) -> str:
    names = []
    node: _Tree | Kinds = tree
    for name in path:
        assert isinstance(node, dict)  # noqa: S101  `path` is one of those that made the tree
        names.append(f"_{list(node).index(name)}")
        node = node[name]
    return ".".join(names)
