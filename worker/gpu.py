"""Whether a GPU can be used here, and how much of its memory is taken. Asks the driver alone, loads no toolkit."""

import ctypes
from typing import Any, NamedTuple


class GpuMemory(NamedTuple):
    """Bytes of the whole GPU, whoever uses them: workers may share one."""

    used: int
    free: int


_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE: with it a driver answers, too, where CUDA_VISIBLE_DEVICES names none


def missing_gpu(driver: Any = None) -> str | None:  # noqa: ANN401 - a library carries no types
    """Why no NVIDIA GPU can be used on this machine, as a clause; None where the driver offers one.

    `driver` is CUDA's (libcuda.so.1).
    """
    try:
        cuda = driver or ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver on this machine (libcuda.so.1 was not found)"
    count = ctypes.c_int(0)
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status not in {0, _NO_DEVICE}:
        return f"the NVIDIA driver does not start (CUDA error {status})"
    return None if count.value else "the NVIDIA driver shows no GPU to this process"


def read_gpu_memory(driver: Any = None) -> GpuMemory | None:  # noqa: ANN401 - a library carries no types
    """What the first GPU that this process sees says now, in whose context the model runs; None where it says nothing.

    `driver` is CUDA's (libcuda.so.1), which must have been started.
    """
    cuda = driver or ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if cuda.cuDeviceGet(ctypes.byref(device), 0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if cuda.cuCtxPushCurrent_v2(context):
            return None
        status = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        cuda.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
    return None if status else GpuMemory(used=total.value - free.value, free=free.value)
