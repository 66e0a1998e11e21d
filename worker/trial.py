"""A detector in a process of its own: windows go in, and whether they kill it comes out.

The worker's own detector scores nothing here, so that what kills the runtime kills no worker. Parent and child speak
through pipes, in frames of plain arrays; a child whose parent is gone ends, even from within a call that never returns.
"""

import json
import os
import queue
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from io import BytesIO
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from worker.batch import Windows
from worker.detector import Detector, ExplainRule
from worker.errors import InferenceError
from worker.model_store import verified

_COMMAND = (sys.executable, "-P", "-c", "from worker.trial import main; main()")
_OWN_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
"""What a process raises against itself. Others (SIGKILL, SIGTERM) come from outside and prove nothing."""

PATIENCE_S = 10.0
_PATIENCE_A_WINDOW_S = 0.01
_START_PATIENCE_S = 300.0  # a GPU's engines may take minutes to build
_SLICE_S = 0.2
_TRIES = 3  # of a child that ended by what proves nothing

_LENGTH = struct.Struct(">Q")
_DONE = b"\x01"


class TrialError(Exception):
    """The trial came to no verdict; the text says why."""


class Trial:
    """A child process that scores windows as this detector would; another one is started where it died.

    Args:
        detector: whose artifact, provider and rule of explanation the child takes.
        patience_s: what a call may take before it counts as one that never ends; more for many windows.
    """

    def __init__(self, detector: Detector, *, patience_s: float = PATIENCE_S) -> None:
        self._recipe = _recipe(detector)
        self._patience_s = patience_s
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._busy = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; a call under way in another thread comes to no verdict."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
        with self._busy:  # a call under way sees its end, and comes back at once
            if self._child is not None:
                self._end(self._child)

    def kills(self, windows: Windows, entity: list[str]) -> bool:
        """Whether scoring these windows ends the child by a fault of its own, or never ends.

        Raises TrialError where it cannot be told: it does not start, or was ended from outside time and again.
        """
        with self._busy:
            for _ in range(_TRIES):
                verdict = self._verdict(_request(windows, entity), len(entity))
                if verdict is not None:
                    return verdict
        raise TrialError("the process that tried the records was ended from outside")

    def _verdict(self, request: bytes, rows: int) -> bool | None:
        child = self._started()
        try:
            _send(child, request)
            if _answers(child, self._patience_s + rows * _PATIENCE_A_WINDOW_S):
                return False
        except TimeoutError:
            self._end(child)
            return True
        return -self._end(child) in _OWN_FAULTS or None

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._child is not None:
            return self._child
        child = self._child = subprocess.Popen(  # noqa: S603 - our own interpreter
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the worker
        )
        if self._closed:  # looked at once the child is known: whoever closes looks the other way round
            raise TrialError("the trial was closed")
        try:
            _send(child, self._recipe)
            ready = _answers(child, _START_PATIENCE_S)
        except TimeoutError:
            ready = False
        if not ready:
            raise TrialError(f"the process that tries records did not start (exit code {self._end(child)})")
        return child

    def _end(self, child: "subprocess.Popen[bytes]") -> int:
        """Its exit code; one that lives is killed."""
        self._child = None
        with child:
            try:
                return child.wait(_SLICE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                return child.wait()


def _send(child: "subprocess.Popen[bytes]", frame: bytes) -> None:
    try:
        _write(_pipe(child.stdin), frame)
    except BrokenPipeError:
        return  # its exit code will tell


def _answers(child: "subprocess.Popen[bytes]", patience_s: float) -> bool:
    """Whether it answers, rather than end. Raises TimeoutError.

    Slices are counted, not the clock: a machine that was put to sleep in between accuses nobody.
    """
    answers = _pipe(child.stdout)
    for _ in range(round(patience_s / _SLICE_S)):
        if select.select([answers], [], [], _SLICE_S)[0]:
            return answers.read(1) == _DONE
    raise TimeoutError


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without its pipes")
    return stream


# ---- frames ----------------------------------------------------------------------------------------------------------


def _recipe(detector: Detector) -> bytes:
    told = {
        "provider": detector.provider,
        "threads": detector.threads,
        "when": detector.explain.when,
        "threshold": detector.explain.threshold,
    }
    return _packed({"told": _bytes(told), "model": np.frombuffer(detector.artifact.file, np.uint8)})


def _request(windows: Windows, entity: list[str]) -> bytes:
    elapsed = {} if windows.elapsed is None else {"elapsed": windows.elapsed}
    return _packed({"values": windows.values, "length": windows.length, "entity": _bytes(entity), **elapsed})


def _bytes(value: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _packed(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    file = BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _unpacked(frame: bytes) -> Mapping[str, NDArray[np.generic]]:
    with np.load(BytesIO(frame), allow_pickle=False) as arrays:
        return dict(arrays)


def _write(stream: IO[bytes], frame: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(frame)) + frame)
    while view:
        view = view[stream.write(view) :]


def _read(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end."""
    head = stream.read(_LENGTH.size)
    return stream.read(*_LENGTH.unpack(head)) if len(head) == _LENGTH.size else None


# ---- the child -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Score what comes, and say so each time; end with the parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it is there to die: no image of it is wanted
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # compiled code may write to standard output
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(frames,), daemon=True).start()
    detector = _prepared(_unpacked(frames.get()))
    answers.write(_DONE)
    while True:
        _score(detector, _unpacked(frames.get()))
        answers.write(_DONE)


def _receive(frames: "queue.SimpleQueue[bytes]") -> None:
    while (frame := _read(sys.stdin.buffer)) is not None:
        frames.put(frame)
    os._exit(0)


def _prepared(recipe: Mapping[str, NDArray[np.generic]]) -> Detector:
    told = json.loads(recipe["told"].tobytes())
    artifact = verified(recipe["model"].tobytes(), uri="model.onnx", sha256=None)
    rule = ExplainRule(when=told["when"], threshold=told["threshold"])
    return Detector(artifact, provider=told["provider"], threads=told["threads"], explain=rule)


def _score(detector: Detector, request: Mapping[str, NDArray[np.generic]]) -> None:
    length = request["length"].astype(np.int64)
    windows = Windows(
        values=request["values"].astype(np.float32),
        elapsed=request["elapsed"].astype(np.float32) if "elapsed" in request else None,
        length=length,
        first_offset=np.zeros_like(length),
        truncated=np.zeros(len(length), np.bool_),
        digest=np.zeros(len(length), np.uint64),
    )
    try:
        detector.score(windows, json.loads(request["entity"].tobytes()))
    except InferenceError:
        return  # the runtime says so itself: that is no crash
