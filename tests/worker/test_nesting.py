"""How deep JSON texts are nested, and whether they are UTF-8, found for many at once."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.nesting import is_deeper_than, unusual, unusual_in_python

scalars = st.one_of(st.none(), st.integers(), st.text('[]{}"\\a\u00e9', max_size=5))
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("[{\\", max_size=2), inner, max_size=3)
)


def _depth(document: object) -> int:
    if isinstance(document, dict):
        document = list(document.values())
    return 1 + max(map(_depth, document), default=0) if isinstance(document, list) else 0


@given(documents, st.integers(0, 5), st.booleans())
def test_brackets_are_counted_outside_of_strings(document: object, limit: int, escape: bool) -> None:  # noqa: FBT001  drawn
    text = json.dumps(document, ensure_ascii=escape).encode()
    assert is_deeper_than(text, limit) == (_depth(document) > limit)


both = pytest.mark.parametrize("unusual", [unusual, unusual_in_python], ids=["compiled", "in Python"])
Unusual = Callable[[list[bytes | None], int, int], list[int]]


@both
@given(
    st.lists(st.none() | st.binary() | st.text().map(str.encode) | st.text("[]{}é").map(str.encode)), st.integers(0, 9)
)
def test_what_is_unusual_is_found_text_by_text(unusual: Unusual, texts: list[bytes | None], brackets: int) -> None:
    def is_usual(text: bytes | None) -> bool:
        if text is None or len(text) > 12 or sum(letter in b"[{" for letter in text) > brackets:
            return False
        return text.decode(errors="replace").encode() == text

    assert unusual(texts, 12, brackets) == [row for row, text in enumerate(texts) if not is_usual(text)]


@both
@pytest.mark.parametrize("length", [254, 255, 256, 509, 510, 511, 1_000])
def test_many_brackets_are_counted(unusual: Unusual, length: int) -> None:
    text = b"[{" * length
    assert unusual([text, text], 5_000, 2 * length - 1) == [0, 1]
    assert unusual([text, text], 5_000, 2 * length) == []


@both
def test_halves_of_a_character_in_neighbours_do_not_make_one(unusual: Unusual) -> None:
    assert unusual([b'"\xc3', b'\xa9"', b'"\xc3\xa9"'], 99, 64) == [0, 1]


@both
def test_what_is_no_list_is_refused(unusual: Unusual) -> None:
    with pytest.raises(TypeError):
        unusual(None, 99, 64)
