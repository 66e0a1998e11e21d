"""The memory of a GPU, asked of a driver that is played: `tests.gpu_check` asks a real one."""

from typing import TYPE_CHECKING

import pytest

from worker.gpu import GpuMemory, missing_gpu, read_gpu_memory

if TYPE_CHECKING:
    import ctypes

CALLS = ("cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemGetInfo_v2")


class Driver:
    """Its calls give 0, but the one that fails; contexts are counted."""

    def __init__(self, failing: str | None = None, *, status: int = 700, gpus: int = 1) -> None:
        self.failing = failing
        self.failure = status
        self.gpus = gpus
        self.retained = self.pushed = 0

    def _status(self, call: str) -> int:
        return self.failure if call == self.failing else 0

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        return self._status("cuInit")

    def cuDeviceGetCount(self, count: "ctypes._Pointer") -> int:  # noqa: N802
        count._obj.value = self.gpus
        return self._status("cuDeviceGetCount")

    def cuDeviceGet(self, device: object, number: int) -> int:  # noqa: N802
        return self._status("cuDeviceGet")

    def cuDevicePrimaryCtxRetain(self, context: object, device: object) -> int:  # noqa: N802
        self.retained += self.failing != "cuDevicePrimaryCtxRetain"
        return self._status("cuDevicePrimaryCtxRetain")

    def cuDevicePrimaryCtxRelease_v2(self, device: object) -> int:  # noqa: N802
        self.retained -= 1
        return 0

    def cuCtxPushCurrent_v2(self, context: object) -> int:  # noqa: N802
        self.pushed += self.failing != "cuCtxPushCurrent_v2"
        return self._status("cuCtxPushCurrent_v2")

    def cuCtxPopCurrent_v2(self, context: object) -> int:  # noqa: N802
        self.pushed -= 1
        return 0

    def cuMemGetInfo_v2(self, free: "ctypes._Pointer", total: "ctypes._Pointer") -> int:  # noqa: N802
        free._obj.value, total._obj.value = 60 << 30, 80 << 30
        return self._status("cuMemGetInfo_v2")


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (Driver(), None),
        (Driver(gpus=0), "the NVIDIA driver shows no GPU to this process"),
        (Driver("cuInit", status=100, gpus=0), "the NVIDIA driver shows no GPU to this process"),
        (Driver("cuInit", status=999), "the NVIDIA driver does not start (CUDA error 999)"),
    ],
)
def test_why_no_gpu_can_be_used(driver: Driver, why: str | None) -> None:
    assert missing_gpu(driver) == why


def test_used_is_what_is_not_free() -> None:
    driver = Driver()
    assert read_gpu_memory(driver) == GpuMemory(used=20 << 30, free=60 << 30)
    assert (driver.retained, driver.pushed) == (0, 0)


@pytest.mark.parametrize("call", CALLS)
def test_a_driver_that_fails_tells_nothing_and_holds_nothing(call: str) -> None:
    driver = Driver(failing=call)
    assert read_gpu_memory(driver) is None
    assert (driver.retained, driver.pushed) == (0, 0)
