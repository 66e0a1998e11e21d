"""What the user said of the columns, and what the files hold, become the columns to read. Looks at few values."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from export.errors import DataError, UsageError
from export.event_time import UNITS, unit_of
from export.table_file import TableFile, first_unreadable, separator_hint
from schemas import captured
from schemas.manifest import LONGEST_NAME

_SHOWN_NAMES = 5  # of columns, in a sentence
_SHOWN_LETTERS = 30  # of a name that is too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that are read; `left_out` names the others, with their type."""

    entity: str | None
    timestamp: str | None
    timestamp_unit: str
    features: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    ids: str | None = None
    """The feature that holds template numbers, where there is one."""
    in_log_order: bool = False
    """Whether the rows stand as they lay in a topic: then, as for the worker, that order counts, not their times."""

    @property
    def types(self) -> dict[str, pa.DataType]:
        """What each is read as from text."""
        keys = {name: pa.string() for name in (self.entity, self.timestamp) if name is not None}
        return keys | dict.fromkeys(self.features, pa.float64())


def choose_columns(
    tables: Sequence[TableFile],
    *,
    entity: str | None,
    timestamp: str | None,
    timestamp_unit: str | None,
    features: Sequence[str] | None,
    ids: str | None = None,
    label: str | None = None,
) -> Columns:
    """The columns to read from every file; without `features` every numeric column of the first.

    `ids` is the one of the features that holds template numbers; `label` is none of them, and in one file at least.

    Where the worker captured the files, their entity and event time need not be named.

    Raises:
        UsageError: a named column is not there, is not numeric, or nothing numeric is left.
        DataError: a column that seems numeric holds text, one to learn has no name, or there is nothing in any.
    """
    first = tables[0]
    is_captured = _is_captured(first)
    if is_captured:
        entity = entity or captured.ENTITY
        timestamp = timestamp or captured.EVENT_TIME
        timestamp_unit = timestamp_unit or ("ms" if timestamp == captured.EVENT_TIME else None)
    keys = tuple(name for name in (entity, timestamp) if name is not None)
    if features is None:
        features = _numeric(first, keys if label is None else (*keys, label))
    if "" in features:
        _refuse_nameless(first)
    for table in tables:
        _require(table, (*keys, *features))
    if label is not None and not any(label in table.schema.names for table in tables):
        _require(first, [label])
    others = [field for field in first.schema if field.name not in {*keys, *features}]
    return Columns(
        entity=entity,
        timestamp=timestamp,
        timestamp_unit=timestamp_unit or _unit(first, timestamp),
        features=tuple(features),
        left_out=tuple(f"{field.name or 'without a name'} ({_type_in_words(field.type)})" for field in others),
        ids=ids,
        in_log_order=is_captured,
    )


def _numeric(table: TableFile, keys: tuple[str, ...]) -> list[str]:
    others = {*keys, *(captured.RESERVED if _is_captured(table) else ())}
    fields = [field for field in table.schema if field.name not in others]
    for field in fields:
        if pa.types.is_string(field.type) and field.name:
            _refuse_spoilt_numbers(table, field.name)
    numeric = [field.name for field in fields if is_number(field.type)]
    if not numeric:
        _refuse_empty(table, fields)
        raise UsageError(
            f"{table.name} has no numeric column beside --entity, --timestamp and --label: there is nothing to learn "
            f"from{separator_hint(table.schema.names)}."
        )
    return numeric


def _refuse_empty(table: TableFile, fields: Sequence[pa.Field]) -> None:
    """Raises DataError where no column holds a value; a type is known by the first rows alone."""
    if not fields or not all(pa.types.is_null(field.type) for field in fields):
        return
    if not any(batch.num_rows for batch in table.batches({fields[0].name: pa.string()})):
        raise DataError(f"{table.name}: there is no row of data.")
    names = [field.name or "a column without a name" for field in fields]
    more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    are = "are" if len(names) > 1 else "is"
    raise DataError(
        f"{table.name}: {', '.join(names[:_SHOWN_NAMES])}{more} {are} empty: there is nothing to learn from; "
        "where only the first rows are, name the columns to learn by --features."
    )


def _refuse_nameless(table: TableFile) -> None:
    """An artifact knows its inputs by name."""
    if "" not in table.schema.names:
        return
    raise DataError(
        f"{table.name}: column {table.schema.names.index('') + 1} has no name (an index that pandas wrote?); "
        "give it one, or name the columns to learn by --features."
    )


def require_short_names(features: Sequence[str]) -> None:
    """Raises DataError for a name that no artifact can hold."""
    for name in features:
        if len(name) > LONGEST_NAME:
            raise DataError(
                f"The name of the column {name[:_SHOWN_LETTERS]}... has {len(name):,} letters where an artifact takes "
                f"{LONGEST_NAME}; give it a shorter one."
            )


def _is_captured(table: TableFile) -> bool:
    """Whether the worker wrote the table; partition and offset are then numbers, but nothing to learn from."""
    return set(captured.RESERVED) <= set(table.schema.names)


def _require(table: TableFile, names: Sequence[str]) -> None:
    present = table.schema.names
    for name in names:
        if name not in present:
            raise UsageError(
                f"{table.name} has no column {name!r}; it has {', '.join(present)}{separator_hint(present)}."
            )
        if present.count(name) > 1:
            raise UsageError(f"{table.name} has more than one column {name!r}.")


def _refuse_spoilt_numbers(table: TableFile, name: str) -> None:
    """Text in a column of numbers makes it a column of text: to leave it out would go unnoticed."""
    texts = next((batch.column(name) for batch in table.batches({name: pa.string()})), pa.array([], pa.string()))
    filled = texts.filter(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(texts), ""), fill_value=False))
    numbers = pc.sum(pc.match_substring_regex(filled, r"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*$")).as_py() or 0
    if not len(filled) / 2 < numbers < len(filled):
        return
    spoilt = filled[first_unreadable(filled, pa.float64()) or 0]
    row = pc.index(texts, spoilt).as_py() + 1
    raise DataError(
        f"{table.name}, row {row}: {name} holds numbers, but here {spoilt.as_py()[:40]!r}; "
        "mend it, or name the columns to learn by --features."
    )


def _unit(table: TableFile, timestamp: str | None) -> str:
    if timestamp is None:
        return UNITS[-1]
    return next((unit_of(batch.column(timestamp)) for batch in table.batches({timestamp: pa.string()})), UNITS[-1])


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is a feature by itself: integers, floats and decimals, but no booleans or times."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _type_in_words(kind: pa.DataType) -> str:
    if pa.types.is_null(kind):
        return "empty"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
