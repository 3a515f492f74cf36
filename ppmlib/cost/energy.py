"""Joules of a fixed amount of work, read from the hardware's own counters through zeus.

NVML counts an NVIDIA GPU, RAPL a CPU's packages and, where it can, their memory. Where neither can
be read there is no number, only a sentence that says why: nothing is ever estimated.

The counters tick slowly (NVML some ten times a second), so work is repeated until a window has
lasted for seconds. One window holds prompt passes alone, the next whole generations; the later
tokens' share is the difference. Idle power is read the same way, in the same run, with the model
loaded and nothing running.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from ppmlib import device as devices
from ppmlib.cost import profiling

NOT_HERE = "not measurable here"


@dataclass(frozen=True)
class Meter:
    """`monitor` is a ZeusMonitor, or None where nothing can be read; `what` says it in words."""

    what: str
    monitor: Any | None = None


@dataclass(frozen=True)
class Reading:
    """One window: seconds, joules by part (`gpu`, `cpu`, `dram`), how often the work was done."""

    seconds: float
    joules: dict[str, float]
    times: int

    @property
    def total(self) -> float:
        """Joules of all counted parts."""
        return sum(self.joules.values())


def meter(device: torch.device) -> Meter:
    """The energy meter of a device, with what it counts and leaves out in words."""
    if device.type not in ("cpu", "cuda"):
        return Meter(f"{NOT_HERE}: the device is {device.type}; NVIDIA GPUs and CPUs are read")
    if device.type == "cuda" and torch.version.hip is not None:
        return Meter(f"{NOT_HERE}: the GPU is AMD's; only NVIDIA GPUs are read, through NVML")
    if find_spec("zeus") is None:
        return Meter(f"{NOT_HERE}: zeus is not installed (pip install 'ppmlib[energy]')")
    packages, why_not = _rapl()
    if device.type == "cpu":
        if not packages:
            return Meter(f"{NOT_HERE}: {why_not}")
        return _open([], packages, f"RAPL counts {_packages(packages)}, all that runs on it")
    index = torch.cuda.current_device() if device.index is None else device.index
    refused = _nvml(index)
    if refused:
        return Meter(f"{NOT_HERE}: {refused}")
    beside = f"{why_not}, so the CPU is not counted"
    if packages:
        beside = f"RAPL counts {_packages(packages)} beside it"
    return _open([index], packages, f"NVML counts the GPU, the whole board; {beside}")


def _packages(packages: Sequence[int]) -> str:
    return "the CPU package" if len(packages) == 1 else f"{len(packages)} CPU packages"


def _open(gpus: list[int], packages: list[int], what: str) -> Meter:
    from zeus.monitor import ZeusMonitor

    return Meter(what, ZeusMonitor(gpu_indices=gpus, cpu_indices=packages))


def _rapl() -> tuple[list[int], str]:
    """CPU packages that RAPL lets this process read, or why there are none."""
    from zeus.device import cpu
    from zeus.device.cpu.common import ZeusCPUNoPermissionError
    from zeus.device.exception import ZeusBaseCPUError

    if not cpu.rapl_is_available():
        return [], "this CPU shows no RAPL counters"
    try:
        return list(range(len(cpu.get_cpus()))), ""
    except ZeusCPUNoPermissionError:
        return [], "the RAPL counters may be read by root only"
    except (ZeusBaseCPUError, OSError) as error:
        return [], f"the RAPL counters cannot be read ({type(error).__name__})"


def _nvml(index: int) -> str | None:
    """Why NVML cannot count the GPU that torch uses; None if it can."""
    from zeus.device import gpu
    from zeus.device.exception import ZeusBaseGPUError

    if not gpu.nvml_is_available():
        return "NVML cannot be reached, the NVIDIA driver's library for it is missing"
    try:
        gpus = gpu.get_gpus()
        name = gpus.get_name(index)
    except ZeusBaseGPUError as error:
        return f"NVML refuses this GPU ({type(error).__name__}), as it does for a slice of one"
    except ValueError:
        return "CUDA_VISIBLE_DEVICES names no GPU by its index, which zeus needs"
    if name != torch.cuda.get_device_name(index):
        return "NVML numbers the GPUs otherwise than CUDA: set CUDA_DEVICE_ORDER to PCI_BUS_ID"
    return None


def window(
    meter: Meter, name: str, work: Callable[[], None], seconds: float, *, clock=time.perf_counter
) -> Reading:
    """Do the work again and again until the window has lasted that long, and read the counters.

    Raises:
        RuntimeError: if a counter did not move, so that nothing was measured.
    """
    meter.monitor.begin_window(name)
    started, times = clock(), 0
    while not times or clock() - started < seconds:
        work()
        times += 1
    measured = meter.monitor.end_window(name)
    parts = {"gpu": measured.gpu_energy, "cpu": measured.cpu_energy, "dram": measured.dram_energy}
    joules = {part: float(sum(each.values())) for part, each in parts.items() if each}
    still = [part for part, value in joules.items() if value <= 0]
    if still or not joules:
        raise RuntimeError(
            f"the energy counter of {', '.join(still) or 'every part'} did not move in "
            f"{measured.time:.1f} s: make the energy window longer"
        )
    return Reading(float(measured.time), joules, times)


@contextmanager
def _helpers_stopped():
    # zeus watches counters that wrap around from processes of its own; none may outlive us.
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
            process.join()


def measure(
    widths,
    workloads: Sequence[profiling.Workload],
    sets: Mapping[tuple[str, int], torch.Tensor],
    meter: Meter,
    *,
    seconds: float,
    repeats: int,
    order_seed: int = 0,
    generate=profiling.greedy,
    clock=time.perf_counter,
    sleep=time.sleep,
    progress: Callable[[str, int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Joules of every width, workload and batch size, widths interleaved as for time.

    Each repeat begins with an idle window. Then every width gets, after a warm-up, one window of
    prompt passes and one of whole generations per workload and batch size.

    Returns:
        `idle_w`: watts by part and in all, each repeat's; `rows`: one per run, workload and batch
        size with `joules_per_prompt_token`, `joules_per_generated_token` (each token after the
        first) and `joules_per_generation`, each in all, above idle (`_net`) and of the GPU alone
        (`_gpu`, if something else was counted too): the median of the repeats, with all of them in
        `repeats`; and `mean_w`. Empty rows where nothing can be measured.
    Raises:
        RuntimeError: if a width generated fewer tokens than asked, or a counter stood still.
    """
    if meter.monitor is None:
        return {"idle_w": [], "rows": []}
    where = next(widths.model.parameters()).device
    sync = devices.synchronizer(where)
    seed = next(iter(sets))[1]
    ids = {work.name: sets[work.name, seed].to(where) for work in workloads}
    found: dict[tuple, list[dict[str, float]]] = {}
    idle: list[dict[str, float]] = []
    order = profiling.visits(widths.runs, repeats, order_seed)

    def passes(model, rows, tokens) -> Callable[[], None]:
        def once() -> None:
            made, cache = generate(model, rows, tokens, lambda: None)
            sync()
            profiling.check_work(made, cache, rows, tokens)

        return once

    with _helpers_stopped():
        for number, runs in enumerate(order):
            started = time.perf_counter()
            still = window(meter, "idle", lambda: sleep(seconds), seconds, clock=clock)
            idle.append({part: value / still.seconds for part, value in still.joules.items()})
            for run in runs:
                with widths.install(run) as model:
                    for work in workloads:
                        for batch in work.batch_sizes:
                            rows = ids[work.name][:batch]
                            readings = []
                            for tokens in (1, work.new_tokens):
                                once = passes(model, rows, tokens)
                                once()
                                readings.append(window(meter, "work", once, seconds, clock=clock))
                            found.setdefault((run, work, batch), []).append(
                                _per_token(*readings, work, batch, idle[-1])
                            )
            if progress is not None:
                took = time.perf_counter() - started
                progress(f"round {number + 1}", number + 1, repeats, took)
    watts = [{**parts, "all": sum(parts.values())} for parts in idle]
    jobs = [(run, w, b) for run in widths.runs for w in workloads for b in w.batch_sizes]
    return {"idle_w": watts, "rows": [_row(*job, found[job]) for job in jobs]}


def _per_token(
    prompt: Reading, whole: Reading, work: profiling.Workload, batch: int, idle: Mapping[str, float]
) -> dict[str, float]:
    """Joules per token of one pair of windows: prompt passes, and whole generations."""
    idle_w = sum(idle.values())

    def shares(prompt_j: float, whole_j: float) -> tuple[float, float, float]:
        per_pass, per_generation = prompt_j / prompt.times, whole_j / whole.times
        later = batch * (work.new_tokens - 1)
        return (
            per_pass / (batch * work.prompt_tokens),
            (per_generation - per_pass) / later,
            per_generation,
        )

    names = ("joules_per_prompt_token", "joules_per_generated_token", "joules_per_generation")
    kinds = {
        "": shares(prompt.total, whole.total),
        "_net": shares(
            prompt.total - idle_w * prompt.seconds, whole.total - idle_w * whole.seconds
        ),
    }
    if "gpu" in whole.joules and len(whole.joules) > 1:
        kinds["_gpu"] = shares(prompt.joules["gpu"], whole.joules["gpu"])
    values = {
        name + kind: share
        for kind, three in kinds.items()
        for name, share in zip(names, three, strict=True)
    }
    return values | {"mean_w": whole.total / whole.seconds}


def _row(run: str, work: profiling.Workload, batch: int, repeats: Sequence[Mapping[str, float]]):
    medians = {name: float(np.median([each[name] for each in repeats])) for name in repeats[0]}
    about = {"run": run, "workload": work.name, "batch_size": batch}
    return {**about, **medians, "repeats": [dict(each) for each in repeats]}
