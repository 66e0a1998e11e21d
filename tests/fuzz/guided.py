"""Records for the slow, final look at them, made by libFuzzer, which is led by the lines that they reach.

Needs `pip install atheris`, which is no part of the environment. What it finds it writes to the working folder.

    python -m tests.fuzz.guided -max_total_time=600 -max_len=4096 [FOLDER WITH RECORDS TO BEGIN WITH]
"""

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["worker.second_look", "worker.nesting", "worker.event_time", "json"]):
    from tests.fuzz.decoding import Target
    from tests.fuzz.records import FORMATS, NOW_MS, Record

_TARGETS = [Target(settings) for settings in FORMATS]


def _one(data: bytes) -> None:
    """The first byte chooses the format; the others are the record, tried as it is and between others."""
    if not data:
        return
    target = _TARGETS[data[0] % len(_TARGETS)]
    batch = [Record(value, b"m", NOW_MS) for value in (data[1:], b'{"x":1,"y":2,"z":3}', data[1:] + b" ")]
    broken = target.broken_promise(batch, Random(0), alone=3)
    if broken is not None:
        raise AssertionError(broken, target.settings, data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, _one)
    atheris.Fuzz()
