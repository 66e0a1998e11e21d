"""Which provider is chosen, and what ONNX Runtime is made to do on it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from schemas.artifact import P_VALUE, SCORE, WINDOW
from tests.artifacts import artifact_model, golden_inputs
from worker.errors import ArtifactError, ConfigError, ExitCode, InferenceError
from worker.graph_pruning import pruned
from worker.network import Network
from worker.runtime import (
    NAMES,
    Provider,
    Runtime,
    _onnxruntime,
    _providers,
    _Session,
    _told,
    choose,
    cpu_sizes,
    gpu_sizes,
    missing_library,
)


def without_gpu(program: str) -> "subprocess.CompletedProcess[str]":
    """Run Python on a machine without a GPU: the driver hides what there is."""
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, "-c", program], env=hidden, capture_output=True, text=True, check=True)


def nothing_against(provider: Provider) -> None:
    return None


def no_driver(provider: Provider) -> str | None:
    return None if provider == "cpu" else "there is no driver"


def test_auto_takes_cuda_where_it_is_usable() -> None:
    assert choose("auto", unusable=nothing_against).provider == "cuda"


def test_auto_takes_the_cpu_otherwise_and_says_why() -> None:
    choice = choose("auto", unusable=no_driver)
    assert (choice.provider, choice.reason) == ("cpu", "there is no driver")


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "tensorrt"])
def test_a_provider_that_is_asked_for_is_taken(wanted: Provider) -> None:
    assert choose(wanted, unusable=nothing_against).provider == wanted


@pytest.mark.parametrize("wanted", ["cuda", "tensorrt"])
def test_a_provider_that_is_asked_for_and_cannot_be_used_is_refused(wanted: Provider) -> None:
    with pytest.raises(ConfigError, match=f"inference.provider is {wanted}, but there is no driver") as caught:
        choose(wanted, unusable=no_driver)
    assert caught.value.exit_code == ExitCode.WRONG_USE


def test_a_machine_without_a_gpu_runs_on_the_cpu_and_refuses_cuda() -> None:
    auto = without_gpu(
        "from worker.runtime import Runtime; x = Runtime('auto', threads=1); print(x.provider, x.reason)"
    )
    assert auto.stdout.startswith("cpu ")
    assert "NVIDIA driver" in auto.stdout or "without GPU support" in auto.stdout
    for wanted in ("cuda", "tensorrt"):
        refused = without_gpu(
            "from worker.errors import ConfigError; from worker.runtime import Runtime\n"
            f"try: Runtime('{wanted}', threads=1)\nexcept ConfigError as error: print(error)"
        )
        assert refused.stdout.startswith(f"inference.provider is {wanted}, but")


def test_a_library_that_the_loader_does_not_find_is_named(tmp_path: Path) -> None:
    missing, broken = tmp_path / "libmissing.so", tmp_path / "libbroken.so"
    broken.write_bytes(b"no library")
    assert missing_library(missing) == str(missing)
    assert missing_library(broken) is None  # the runtime says what is wrong with it
    assert missing_library(Path("libm.so.6")) is None


def test_of_a_library_that_lacks_another_the_other_is_named() -> None:
    installed = Path(_onnxruntime().__file__).parent / "capi"
    missing = missing_library(installed / "libonnxruntime_providers_tensorrt.so")  # of the wheel for GPUs
    assert missing is None or re.fullmatch(r"lib\w+\.so(\.\d+)*", missing)  # None on a machine with TensorRT


def test_of_a_failure_of_cuda_just_that_is_told() -> None:
    text = (
        "/src/cuda_call.cc:154 std::conditional_t<THRW, void, Status> CudaCall(ERRTYPE) [with bool THRW = true] "
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=somewhere ; file=/src/provider.cc ; line=31 ; expr=malloc(1);"
    )
    assert _told(text) == "CUDA failure 2: out of memory"
    assert _told("the graph\nis broken") == "the graph is broken"


def test_nothing_is_written_to_the_terminal_while_a_provider_is_chosen() -> None:
    done = without_gpu("from worker.runtime import Runtime; print(Runtime('auto', threads=1).provider)")
    assert (done.stdout, done.stderr) == ("cpu\n", "")


def test_the_runtime_is_not_loaded_before_it_is_used() -> None:
    program = "import sys, worker.detector; sys.exit('onnxruntime' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_standard_error_works_after_the_runtime_was_loaded() -> None:
    program = (
        "import sys; from worker.runtime import Runtime; Runtime('cpu', threads=1); print('here', file=sys.stderr)"
    )
    program += "; from worker.runtime import _onnxruntime; _onnxruntime(); print('still', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "here\nstill\n"


@pytest.mark.parametrize("row_values", [1, 2, 8, 256, 608, 8192, 8193, 1 << 17, 1 << 22])
def test_cpu_calls_hold_whole_vectors_and_stay_in_the_cache(row_values: int) -> None:
    sizes = cpu_sizes(row_values)
    assert list(sizes) == sorted(sizes)
    assert len(sizes) == 1 or all(size % 16 == 0 for size in sizes)
    assert sizes[-1] == 1 or sizes[-1] * row_values * 4 <= 512 * 1024


def test_gpu_calls_are_few_in_number_and_bounded_in_size() -> None:
    assert gpu_sizes(256) == (64, 512, 4096)
    assert gpu_sizes(1 << 14) == (64, 512)
    assert gpu_sizes(1 << 20) == (16,)
    assert gpu_sizes(1 << 22) == (4,)


def test_a_gpu_computes_in_full_precision_and_takes_memory_as_it_needs_it() -> None:
    cuda, cpu = _providers("cuda")
    assert cpu == NAMES["cpu"]
    assert cuda == (
        NAMES["cuda"],
        {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
    )


def test_tensorrt_keeps_its_engines_under_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (name, options), cuda, cpu = _providers("tensorrt")
    assert (name, cuda[0], cpu) == (NAMES["tensorrt"], NAMES["cuda"], NAMES["cpu"])
    assert options["trt_engine_cache_path"] == str(tmp_path / "anomaly-worker" / "tensorrt")
    assert (tmp_path / "anomaly-worker" / "tensorrt").is_dir()


def fragile_model() -> onnx.ModelProto:
    """Gathers by the first number of each window, which must be 0 or 1."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["window", "axes"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["score"]),
        ],
        "fragile",
        [value("window", TensorProto.FLOAT, ["batch", 2, 1])],
        [value("score", TensorProto.FLOAT, ["batch"])],
        [
            helper.make_tensor("table", TensorProto.FLOAT, [2], [5.0, 6.0]),
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_runtimes_own_failure_is_an_inference_error_in_one_line() -> None:
    network = Runtime("cpu", threads=1).network(fragile_model(), (SCORE,), row_values=2)
    fine = np.float32([[[0], [1]], [[0], [0]]])
    np.testing.assert_array_equal(network.compute({WINDOW: fine})[SCORE], np.float32([6, 5]))
    with pytest.raises(
        InferenceError, match=r"the cpu provider failed on a single window: .*out of data bounds"
    ) as caught:
        network.compute({WINDOW: np.concatenate([fine, np.float32([[[7], [0]]])])})
    assert "\n" not in str(caught.value)


def test_a_graph_that_the_runtime_refuses_is_an_artifact_error() -> None:
    model = fragile_model()
    model.graph.node[2].op_type = "Gatherer"
    with pytest.raises(ArtifactError, match=r"the model cannot be run on the cpu provider: .*Gatherer"):
        Runtime("cpu", threads=1).network(model, (SCORE,), row_values=2)


@pytest.mark.parametrize("rows", [1, 5, 64, 70])
def test_sessions_of_fixed_shapes_compute_the_same(rows: int) -> None:
    """As on a GPU, but on the CPU, which all machines have."""
    model = artifact_model(window=8, with_elapsed=True, entities=("a", "b"))
    inputs = golden_inputs(rows, 8, 0.0, 1.0, 2, 2, with_elapsed=True)
    free = Runtime("cpu", threads=1).network(model, (SCORE, P_VALUE), row_values=16)
    file = pruned(model, (SCORE, P_VALUE)).SerializeToString()
    fixed = Network(
        {size: _Session(file, "cpu", size) for size in (16, 64)},
        inputs=free.inputs,
        outputs=free.outputs,
        provider="cpu",
    )
    for name, output in fixed.compute(inputs).items():
        np.testing.assert_array_equal(output, free.compute(inputs)[name])
