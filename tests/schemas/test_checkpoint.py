"""The metadata of a committed offset."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.checkpoint import Checkpoint, spec_of

PRINTABLE = "".join(c for c in string.printable if c.isprintable() and c != ";")
NUMBERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(PRINTABLE, min_size=1, max_size=200)

checkpoints = st.builds(
    Checkpoint,
    lo=NUMBERS,
    spec=st.text("0123456789abcdef", min_size=16, max_size=16),
    np=st.integers(1, 10**6),
    att=st.none() | TEXTS,
    skip=st.none() | TEXTS,
    tr=st.none() | NUMBERS,
)


@given(checkpoints)
def test_what_is_encoded_is_decoded(checkpoint: Checkpoint) -> None:
    assert Checkpoint.decode(checkpoint.encode()) == checkpoint


@given(checkpoints)
def test_metadata_is_short_printable_ascii(checkpoint: Checkpoint) -> None:
    text = checkpoint.encode()
    assert len(text) <= 1000
    assert text.isascii()
    assert text.isprintable()


def test_the_form_is_the_contract() -> None:
    assert Checkpoint(lo=12, spec="00ff00ff00ff00ff", np=4).encode() == "v1;lo=12;spec=00ff00ff00ff00ff;np=4"
    full = Checkpoint(lo=12, spec="00ff00ff00ff00ff", np=4, att="12-15x2", skip="13", tr=7)
    assert full.encode() == "v1;lo=12;spec=00ff00ff00ff00ff;np=4;tr=7;att=12-15x2;skip=13"


def test_fields_of_a_later_version_are_ignored() -> None:
    assert Checkpoint.decode("v1;new=x=y;lo=1;spec=a;np=2") == Checkpoint(lo=1, spec="a", np=2)


def test_a_nul_that_some_clients_store_is_ignored() -> None:
    assert Checkpoint.decode("v1;lo=1;spec=a;np=2\0") == Checkpoint(lo=1, spec="a", np=2)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "NONE",
        '{"lo": 1}',
        "v2;lo=1;spec=a;np=2",
        "lo=1;spec=a;np=2",
        "v1;spec=a;np=2",
        "v1;lo=1;np=2",
        "v1;lo=1;spec=a",
        "v1;lo=-1;spec=a;np=2",
        "v1;lo=1.5;spec=a;np=2",
        "v1;lo=\u0661;spec=a;np=2",
        "v1;lo=9223372036854775808;spec=a;np=2",
        "v1;lo=1;spec=;np=2",
        "v1;lo=1;spec=a;np=0",
        "v1;lo=1;spec=a;np=2;tr=x",
        "v1;lo=1;spec=a;np=2;att=\u00e9",
        "v1;lo=1;lo=2;spec=a;np=2",
        "v1;lo=1;spec=a;np=2;",
        "v1;lo=1;spec=a;np=2;att",
    ],
)
def test_foreign_and_malformed_metadata_is_none(metadata: str | None) -> None:
    assert Checkpoint.decode(metadata) is None


@given(st.text())
def test_no_metadata_makes_decoding_fail(metadata: str) -> None:
    decoded = Checkpoint.decode("v1;" + metadata)
    assert decoded is None or decoded.lo >= 0


@pytest.mark.parametrize(
    "fields", [{"att": "a;b"}, {"skip": ""}, {"att": "x" * 1000}, {"lo": -1}, {"np": 0}, {"tr": -1}, {"spec": "\n"}]
)
def test_what_could_not_be_read_again_is_not_written(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        Checkpoint(**({"lo": 1, "spec": "a", "np": 2} | fields)).encode()


DECIDING = {"format": "json", "features": [["x", ["x"]], ["y", ["y"]]], "window": 32, "max_gap_s": None}


def test_a_spec_is_16_hexadecimal_digits_and_stays_the_same() -> None:
    assert spec_of(DECIDING) == spec_of(dict(reversed(DECIDING.items())))
    assert len(spec_of(DECIDING)) == 16
    int(spec_of(DECIDING), 16)


@pytest.mark.parametrize(
    "other",
    [{"window": 31}, {"window": "32"}, {"features": [["y", ["y"]], ["x", ["x"]]]}, {"max_gap_s": 0}, {"new": None}],
)
def test_anything_else_has_another_spec(other: dict[str, object]) -> None:
    assert spec_of(DECIDING | other) != spec_of(DECIDING)
