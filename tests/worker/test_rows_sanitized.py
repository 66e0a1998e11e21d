"""The compiled part under AddressSanitizer and UndefinedBehaviorSanitizer, where the compiler has them."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.broker import CHECKOUT

SCRIPT = Path(__file__).parent / "sanitized_rows.py"


def _library(name: str) -> str:
    """Where the compiler keeps it; its bare name where it does not."""
    asked = subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def test_no_call_reads_or_writes_where_it_must_not(tmp_path: Path) -> None:
    headers = Path(sysconfig.get_path("include"))
    if not (shutil.which("cc") and (headers / "Python.h").exists() and Path(_library("libasan.so")).is_absolute()):
        pytest.skip("no C compiler with sanitizers")
    compiled = tmp_path / "_rows.abi3.so"
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fPIC", "-shared"]
    source = CHECKOUT / "worker" / "_rows.c"
    subprocess.run(["cc", *flags, f"-I{headers}", source, "-lm", "-o", compiled], check=True)
    preloaded = f"{_library('libasan.so')} {_library('libubsan.so')}"
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env={
            **os.environ,
            "LD_PRELOAD": preloaded,
            "ASAN_OPTIONS": "detect_leaks=0",
        },  # Python frees not all at its end
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
