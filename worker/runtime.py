"""ONNX Runtime on one provider: a model goes in, a network that computes it comes out. Knows no contract.

The import is part of it: the runtime writes warnings about missing GPUs to standard error while it loads, whatever its
log level, so it is loaded here, on first use, in silence.
"""

import contextlib
import ctypes
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from onnx import ModelProto, TensorProto, helper

from worker.batch import Float32
from worker.errors import ArtifactError, ConfigError, clause
from worker.gpu import missing_gpu
from worker.graph_in_pieces import in_pieces, outer_name
from worker.graph_pruning import BATCH_AXIS, pruned
from worker.network import Column, Network, SessionError

Wanted: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt"]
Provider: TypeAlias = Literal["cpu", "cuda", "tensorrt"]

NAMES: Mapping[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

CPU_CALL_VALUES = 1 << 17  # half a MiB of float32 a call stays in one core's cache: 1.3 times as fast as 4096 windows
CPU_CALL_ROWS = 4096  # beyond, a call's own cost is nothing any more
VECTOR_ROWS = 16  # float32 in the widest vector instruction
GPU_CALL_VALUES = 1 << 24
GPU_CALL_ROWS = (64, 512, 4096)  # steps of eight: at most that much is computed in vain, by a device that idles else
FIXED_SHAPES_BYTES = 64 << 20  # a larger model is not held once for each of GPU_CALL_ROWS


@dataclass(frozen=True, slots=True)
class Choice:
    """The provider to use, and the reason as a clause."""

    provider: Provider
    reason: str


def choose(wanted: Wanted, *, unusable: Callable[[Provider], str | None]) -> Choice:
    """The provider to use. Raises ConfigError where one is asked for that `unusable` gives a reason against."""
    if wanted == "auto":
        problem = unusable("cuda")
        return Choice("cuda", "a usable GPU was found") if problem is None else Choice("cpu", problem)
    problem = unusable(wanted)
    if problem is not None:
        raise ConfigError(f"inference.provider is {wanted}, but {problem}; `auto` or `cpu` would use the CPU")
    return Choice(wanted, "inference.provider says so")


class Runtime:
    """ONNX Runtime on one provider.

    Args:
        wanted: the setting `inference.provider`.
        threads: how many calls run side by side on the CPU. Each is computed by one thread: for networks as small as
            detectors are, that scales better than many threads within a call.

    Raises:
        ConfigError: the provider that is asked for cannot be used here.
    """

    def __init__(self, wanted: Wanted, *, threads: int) -> None:
        choice = choose(wanted, unusable=_unusable)
        self.provider = choice.provider
        self.reason = choice.reason
        self._pool = ThreadPoolExecutor(threads, "inference") if threads > 1 and choice.provider == "cpu" else None

    def network(self, model: ModelProto, outputs: Sequence[str], *, row_values: int) -> Network:
        """The part of a model that computes `outputs`; `row_values` is the number of float32 in a row of its input.

        Raises ArtifactError where the provider refuses the graph.
        """
        part = pruned(model, outputs)
        file = part.SerializeToString()
        sizes = cpu_sizes(row_values) if self.provider == "cpu" else gpu_sizes(row_values)
        if self.provider == "cpu" or len(file) > FIXED_SHAPES_BYTES:
            sessions = dict.fromkeys(sizes, self._session(file, None))
        else:
            sessions = {size: self._session(file, size) for size in sizes}
        return Network(
            sessions,
            inputs=frozenset(value.name for value in part.graph.input),
            outputs=[value.name for value in part.graph.output],
            provider=self.provider,
            at_once=self._at_once(part, sizes[-1]),
            side_by_side=self._pool,
        )

    def _at_once(self, part: ModelProto, rows: int) -> "_InPieces | None":
        """On one CPU thread; several threads share the calls out."""
        if self.provider != "cpu" or self._pool is not None:
            return None
        return _InPieces(self._session(in_pieces(part).SerializeToString(), None), rows)

    def _session(self, file: bytes, rows: int | None) -> "_Session":
        try:
            return _Session(file, self.provider, rows)
        except SessionError as error:
            raise ArtifactError(f"the model cannot be run on the {self.provider} provider: {error}") from error


def cpu_sizes(row_values: int) -> tuple[int, ...]:
    """The numbers of rows that a call may have on a CPU, ascending."""
    most = min(CPU_CALL_ROWS, max(1, CPU_CALL_VALUES // row_values))
    return tuple(range(VECTOR_ROWS, most + 1, VECTOR_ROWS)) or (most,)


def gpu_sizes(row_values: int) -> tuple[int, ...]:
    """The numbers of rows that a call may have on a GPU, ascending."""
    most = max(1, GPU_CALL_VALUES // row_values)
    return tuple(rows for rows in GPU_CALL_ROWS if rows <= most) or (most,)


class _Session:
    """One session of the runtime, with its many exceptions made one."""

    def __init__(self, file: bytes, provider: Provider, rows: int | None) -> None:
        onnxruntime = _onnxruntime()
        with _as_session_error():
            self._session = onnxruntime.InferenceSession(
                file,
                _session_options(rows),
                providers=_providers(provider),
                enable_fallback=0,  # a provider that fails is an error here, never a silent CPU
            )
        if self._session.get_providers()[0] != NAMES[provider]:
            raise SessionError(f"ONNX Runtime could not start its {NAMES[provider]}; {_NEEDS[provider]}")
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._run_options = onnxruntime.RunOptions()

    def run(self, columns: Mapping[str, Column]) -> Sequence[Float32]:
        """Every output of the graph, in its order. Raises SessionError."""
        with _as_session_error():
            outputs: Sequence[Float32] = self._session.run(self._outputs, columns, self._run_options)
        return outputs

    def give_up(self) -> None:
        """From another thread: the call under way fails at its next operator, loops' own included; so do later ones."""
        self._run_options.terminate = True


class _InPieces:
    """A session of a graph in pieces, as one for any multiple of a piece's rows."""

    def __init__(self, session: _Session, rows: int) -> None:
        self._session = session
        self._rows = rows

    def run(self, columns: Mapping[str, Column]) -> Sequence[Float32]:
        """Every output of the graph, in its order. Raises SessionError."""
        pieces = {
            outer_name(name): column.reshape(-1, self._rows, *column.shape[1:]) for name, column in columns.items()
        }
        return [output.reshape(-1, *output.shape[2:]) for output in self._session.run(pieces)]

    def give_up(self) -> None:
        """As the session's own."""
        self._session.give_up()


_CUDA_FAILURE = re.compile(r"CU[A-Z]+ failure \d+: [^;\n]+")

_NEEDS: Mapping[Provider, str] = {
    "cpu": "its installation is broken",
    "cuda": "it needs CUDA, cuDNN (both come with anomaly-worker[gpu]) and a driver as new as that CUDA",
    "tensorrt": "it needs TensorRT's libraries where the loader finds them, beside what CUDA needs",
}


@contextlib.contextmanager
def _as_session_error() -> Iterator[None]:
    try:
        yield
    except SessionError:
        raise
    except Exception as error:  # the runtime's exceptions have no common class
        raise SessionError(_told(str(error))) from error


def _told(text: str) -> str:
    """The runtime's message as a clause; of a failure of CUDA just that, which stands between names of C++."""
    failure = _CUDA_FAILURE.search(text)
    return clause(failure[0].strip() if failure else text)


def _session_options(rows: int | None) -> Any:  # noqa: ANN401 - the runtime carries no types
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what fails is raised, and said once
    if rows is not None:
        options.add_free_dimension_override_by_name(BATCH_AXIS, rows)
    return options


def _providers(provider: Provider) -> list[str | tuple[str, dict[str, str]]]:
    """In order of preference: what a provider cannot compute falls to the next one."""
    cuda = (
        NAMES["cuda"],
        {
            "arena_extend_strategy": "kSameAsRequested",  # several workers share a GPU: take what is needed
            "cudnn_conv_algo_search": "HEURISTIC",  # the default measures anew for every shape
            "use_tf32": "0",  # ten bits of mantissa would move scores out of the golden tolerances
        },
    )
    cpu = NAMES["cpu"]
    match provider:
        case "cpu":
            return [cpu]
        case "cuda":
            return [cuda, cpu]
        case "tensorrt":
            return [(NAMES["tensorrt"], _tensorrt_options()), cuda, cpu]


def _tensorrt_options() -> dict[str, str]:
    """Engines take minutes to build, so they are kept under the user's cache folder."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    engines = cache_home / "anomaly-worker" / "tensorrt"
    engines.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines),
    }


def _unusable(provider: Provider) -> str | None:
    """Why a provider cannot be used here, as a clause; None where it has just computed something."""
    if provider == "cpu":
        return None
    if NAMES[provider] not in _onnxruntime().get_available_providers():
        return "the installed ONNX Runtime is the one without GPU support (anomaly-worker[gpu] has it)"
    problem = missing_gpu()
    if problem is not None:
        return problem
    _load_cuda()
    missing = missing_library(Path(_onnxruntime().__file__).parent / "capi" / f"libonnxruntime_providers_{provider}.so")
    if missing is not None:
        return f"{NAMES[provider]} lacks {missing}: {_NEEDS[provider]}"
    try:
        _Session(_smallest_model(), provider, None).run({"x": np.zeros(1, dtype=np.float32)})
    except SessionError as error:
        return str(error)
    return None


def missing_library(library: Path) -> str | None:
    """The first of those that `library` needs, itself included, that the loader does not find; None if it has all."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        name, _, problem = str(error).partition(": ")
        return name if problem.startswith("cannot open shared object file") else None
    return None


def _load_cuda() -> None:
    """Load the CUDA libraries that are installed as Python packages: the system's loader would not find them."""
    with contextlib.redirect_stdout(io.StringIO()):  # what it cannot find, the session's error will say
        _onnxruntime().preload_dlls()


def _smallest_model() -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "smallest",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    file: bytes = model.SerializeToString()
    return file


@cache
def _onnxruntime() -> Any:  # noqa: ANN401 - the runtime carries no types
    with _without_standard_error():
        import onnxruntime  # noqa: PLC0415 - see the module's docstring
    onnxruntime.disable_telemetry_events()
    return onnxruntime


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    """Compiled code writes to the file descriptor itself."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
