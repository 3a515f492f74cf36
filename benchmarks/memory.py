"""What this process holds and what the memory can do."""

import time
from pathlib import Path

import torch


def read_bandwidth(repeats: int = 5) -> float:
    """Bytes per second of the largest value of half a gigabyte of integers; fastest repeat."""
    numbers = torch.ones(2**26, dtype=torch.int64)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        numbers.amax()
        best = min(best, time.perf_counter() - started)
    return numbers.nbytes / best


def process_bytes(field: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS, VmHWM, RssAnon."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def reset_peak() -> None:
    """Let VmHWM start again from what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
