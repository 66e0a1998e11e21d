"""How deep JSON texts are nested, and whether they are UTF-8, found for many at once."""

import json

from hypothesis import given
from hypothesis import strategies as st

from worker.nesting import faulty_rows, is_deeper_than

LIMIT = 3

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


@given(
    st.lists(
        st.tuples(documents.map(lambda inner: [inner]), st.sampled_from([b"", b" " * 50, b"\xff", b"\xc3", b"\xa9"]))
    )
)
def test_each_text_is_judged_by_itself(drawn: list[tuple[object, bytes]]) -> None:
    texts = [fault + json.dumps(document, ensure_ascii=False).encode() + fault for document, fault in drawn]
    faulty = [row for row, (document, fault) in enumerate(drawn) if fault.strip() or _depth(document) > LIMIT]
    assert faulty_rows(texts, LIMIT) == faulty


def test_many_large_texts_are_judged_piece_by_piece() -> None:
    texts = [b'{"a":"%b"}' % (b"x" * 1_000)] * 500
    texts[3] = texts[444] = b"[" * 65 + b"]" * 65
    texts[499] = b"\xff"
    assert faulty_rows(texts, 64) == [3, 444, 499]


def test_halves_of_a_character_in_neighbours_do_not_make_one() -> None:
    assert faulty_rows([b'"\xc3', b'\xa9"', b'"\xc3\xa9"'], 64) == [0, 1]
