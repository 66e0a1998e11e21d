"""Whether a GPU can be used here: the reason against it comes out. Asks the driver alone, loads no toolkit."""

import ctypes


def missing_gpu() -> str | None:
    """Why no NVIDIA GPU can be used on this machine, as a clause; None where the driver offers one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver on this machine (libcuda.so.1 was not found)"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return f"the NVIDIA driver does not start (CUDA error {status})"
    return None if count.value else "the NVIDIA driver shows no GPU to this process"
