"""The compiled part is built where it can be, and left out with a reason where not."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from hatch_build import COMPILED, SOURCE, compile_rows
from tests.broker import CHECKOUT


def checkout_in(folder: Path) -> Path:
    (folder / SOURCE).parent.mkdir()
    shutil.copy(CHECKOUT / SOURCE, folder / SOURCE)
    return folder


def test_what_is_compiled_can_be_imported(tmp_path: Path) -> None:
    problem = compile_rows(checkout_in(tmp_path))
    if problem is not None:
        assert "No such file" in problem  # the compiler, or Python.h
        return
    spec = importlib.util.spec_from_file_location("worker._rows", tmp_path / COMPILED)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.joined((["a", "b"], "-"), 2) == [b"a-", b"b-"]


def test_without_a_compiler_it_says_so_and_leaves_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = checkout_in(tmp_path) / COMPILED
    old.write_bytes(b"of an earlier source")
    monkeypatch.setenv("PATH", "")
    problem = compile_rows(tmp_path)
    assert problem is not None
    assert "No such file" in problem
    assert not old.exists()


def test_what_the_compiler_says_is_told(tmp_path: Path) -> None:
    (checkout_in(tmp_path) / SOURCE).write_text("no C")
    problem = compile_rows(tmp_path)
    assert problem is not None
    assert "error" in problem or "No such file" in problem
    assert not (tmp_path / COMPILED).exists()
