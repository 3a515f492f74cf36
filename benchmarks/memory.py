"""What this process holds and what the memory can do."""

import statistics
import time
from pathlib import Path

import torch

CPU = torch.device("cpu")


def read_bandwidth(where: torch.device = CPU, repeats: int = 5) -> float:
    """Bytes per second at which half a gigabyte (on a GPU two) of integers is read; the median."""
    numbers = torch.ones(2**26 if where.type == "cpu" else 2**28, dtype=torch.int64, device=where)
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        numbers.amax().item()
        took.append(time.perf_counter() - started)
    return numbers.nbytes / statistics.median(took)


def process_bytes(field: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS, VmHWM, RssAnon."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)
