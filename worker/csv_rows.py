"""Rows of a CSV file in, JSON objects out, numbers in the very digits that the file has.

Column by column where a chunk allows it: four times as fast as cell by cell. It knows no file and no settings.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as quoted  # bytes that are not UTF-8 pass through, for the decoder to refuse
from typing import TypeAlias

Token: TypeAlias = Callable[[str], str]

_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?"
_JSON_NUMBER = re.compile(_NUMBER, re.ASCII)
_JSON_NUMBERS = re.compile(rf"(?:{_NUMBER}\n)+", re.ASCII)
_NOT_A_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none"})
_BEYOND_FLOAT = "1e999"  # what JSON can say of an infinity: the decoder refuses it as not finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Columns whose cells are not to be guessed at.

    Any other cell is a number, true or false where it reads as JSON, nothing where it is empty or NaN, else a text.
    """

    text: frozenset[str] = frozenset()  # 007 is the entity "007"
    number: frozenset[str] = frozenset()  # 007 is the number 7


def is_number(cell: str) -> bool:
    """Whether JSON allows the cell as a number, as it stands."""
    return _JSON_NUMBER.fullmatch(cell) is not None


class RowFormat:
    """How rows under one header become JSON."""

    def __init__(self, columns: Sequence[str], cells: Cells) -> None:
        self._tokens = [_token_of(column, cells) for column in columns]
        self._names = [quoted(column) + ":" for column in columns]
        self._object = "{" + ",".join(name.replace("%", "%%") + "%s" for name in self._names) + "}"

    def render(self, rows: Sequence[list[str]]) -> list[bytes]:
        """Each row as a JSON object of its columns."""
        if all(len(row) == len(self._tokens) for row in rows):
            columns = map(_tokens, self._tokens, zip(*rows, strict=True))
            texts = [self._object % row for row in zip(*columns, strict=True)]
        else:
            texts = [self._ragged(row) for row in rows]
        return [text.encode(errors="surrogateescape") for text in texts]

    def _ragged(self, row: list[str]) -> str:
        """A short row lacks fields; one with more cells than columns is an array: no event, the decoder refuses it."""
        if len(row) > len(self._tokens):
            return "[" + ",".join(map(quoted, row)) + "]"
        fields = zip(self._names, self._tokens, row, strict=False)
        return "{" + ",".join([name + token(cell) for name, token, cell in fields]) + "}"


def _tokens(token: Token, cells: Sequence[str]) -> Iterable[str]:
    """A column's tokens. A column of nothing but numbers is seen at one look."""
    if token is not _text_token:
        lines = "\n".join(cells) + "\n"
        if lines.count("\n") == len(cells) and _JSON_NUMBERS.fullmatch(lines):
            return cells
    return map(token, cells)


def _token_of(column: str, cells: Cells) -> Token:
    if column in cells.text:
        return _text_token
    return _number_token if column in cells.number else _plain_token


def _text_token(cell: str) -> str:
    return quoted(cell) if cell else "null"


def _number_token(cell: str) -> str:
    """The cell's own digits where JSON allows them; else the number it spells; else a text, to be refused."""
    if is_number(cell):
        return cell
    if cell.strip().lower() in _NOT_A_VALUE:
        return "null"
    try:
        number = float(cell)
    except ValueError:
        return quoted(cell)
    return repr(number) if math.isfinite(number) else _BEYOND_FLOAT


def _plain_token(cell: str) -> str:
    if is_number(cell):
        return cell
    lowered = cell.lower()
    if lowered in _NOT_A_VALUE:
        return "null"
    return lowered if lowered in {"true", "false"} else quoted(cell)
