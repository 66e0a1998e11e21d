"""Compiles `worker/_rows.c` while the project is installed or packed.

Without a C compiler, or the headers of this Python, the project is installed without: `worker/rows.py` does the same in
Python.
"""

import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "worker/_rows.c"
COMPILED = "worker/_rows.abi3.so"


class Compile(BuildHookInterface[Any]):
    """Runs before the files of a wheel, or of an editable install, are listed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this platform and Python 3.11 or later."""
        del version
        problem = compile_rows(Path(self.root))
        if problem is not None:
            self.app.display_warning(f"{SOURCE} was not compiled, so the worker will be slower: {problem}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"cp311-abi3-{platform}", artifacts=[COMPILED])


def compile_rows(root: Path) -> str | None:
    """Compile in a checkout; what went wrong, if anything did."""
    (root / COMPILED).unlink(missing_ok=True)
    link = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    flags = [
        "-O3",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror=implicit-function-declaration",
        "-I",
        sysconfig.get_path("include"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - this Python's own compiler, our own source
            [*link, *flags, SOURCE, "-lm", "-o", COMPILED], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return done.stderr or "the compiler failed" if done.returncode else None
