"""How an artifact reaches the disk: whole, or not at all."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from export.artifact import write_file
from export.errors import ExportError


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for content in (b"first", b"second"):
        write_file(content, path)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_is_cut_short_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "model.onnx"
    write_file(b"first", path)

    class Interrupted(tempfile._TemporaryFileWrapper):  # type: ignore[type-arg]
        def write(self, _: Any) -> int:  # noqa: ANN401 - bytes
            raise failure

    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", Interrupted)
    with pytest.raises((ExportError, KeyboardInterrupt)):
        write_file(b"second", path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"first"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be written"):
        write_file(b"", tmp_path / "nowhere" / "model.onnx")
