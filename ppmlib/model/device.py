"""The device: waiting for it, its peak memory, its limits."""

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # not on Windows
    resource = None

COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 2**30}
MATMUL_SIZE = {"cpu": 1024, "cuda": 8192}
SHORTEST_S = 0.3  # clocks rise under load: a rate is the best of at least this long


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that returns when all work queued on the device is done."""
    if device.type == "cpu":
        return lambda: None
    return getattr(torch, device.type).synchronize


@dataclass(frozen=True)
class PeakMeter:
    """`reset()`, then work, then `read()` gives bytes, or None where nothing can be measured."""

    what: str
    reset: Callable[[], None]
    read: Callable[[], int | None]


def peak_meter(device: torch.device) -> PeakMeter:
    """The best meter of peak memory here; `what` says in words what it measures.

    CUDA: the allocator's peak on the device. Linux CPU: the peak resident memory of the whole
    process, where the kernel lets it be reset. Elsewhere: none.
    """
    if device.type == "cuda":
        return PeakMeter(
            "peak bytes allocated on the GPU by this process",
            lambda: torch.cuda.reset_peak_memory_stats(device),
            lambda: torch.cuda.max_memory_allocated(device),
        )
    if device.type == "cpu" and _can_reset_process_peak():
        return PeakMeter(
            "peak resident memory of the whole process, Python and its libraries included",
            _reset_process_peak,
            _process_peak_bytes,
        )
    nothing = f"not measurable here (no resettable peak on this {device.type})"
    return PeakMeter(nothing, lambda: None, lambda: None)


def _can_reset_process_peak() -> bool:
    try:
        _reset_process_peak()
        return _process_peak_bytes() > 0
    except (OSError, StopIteration):
        return False


def _reset_process_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _process_peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def release_freed() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc).

    Otherwise a narrower width's process would still hold what a wider one needed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def preemptions() -> int | None:
    """How often this process had to yield its core to others so far; None where unknown."""
    return None if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _fastest_s(work: Callable[[], object], sync: Callable[[], None], repeats: int) -> float:
    work()
    times = []
    while len(times) < repeats or sum(times) < SHORTEST_S:
        sync()
        start = time.perf_counter()
        work()
        sync()
        times.append(time.perf_counter() - start)
    return min(times)


def copy_bandwidth(device: torch.device, *, repeats: int = 3) -> float:
    """Bytes per second that a large copy moves, read and write both counted; fastest repeat.

    The buffer is larger than common CPU caches: the rate is that of the memory behind them.
    """
    size = COPY_BYTES["cuda" if device.type == "cuda" else "cpu"]
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _fastest_s(lambda: target.copy_(source), synchronizer(device), repeats)


def matmul_rate(device: torch.device, dtype: torch.dtype, *, repeats: int = 3) -> float:
    """FLOP per second of a large square matrix product in `dtype`; fastest repeat."""
    size = MATMUL_SIZE["cuda" if device.type == "cuda" else "cpu"]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _fastest_s(lambda: left @ right, synchronizer(device), repeats)


def limits(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """The rates that bound prefill and decode, measured now in this process.

    Returns:
        `copy_bytes_per_s`; `matmul_flop_per_s` in `dtype`; and `matmul_flop_per_s_float32`, which
        is higher where the device only emulates `dtype`.
    """
    return {
        "copy_bytes_per_s": copy_bandwidth(device),
        "matmul_flop_per_s": matmul_rate(device, dtype),
        "matmul_flop_per_s_float32": matmul_rate(device, torch.float32),
    }


def fastest(*measured: Mapping[str, float]) -> dict[str, float]:
    """The highest of each rate of several `limits`: a disturbance only lowers a rate."""
    return {name: max(each[name] for each in measured) for name in measured[0]}
