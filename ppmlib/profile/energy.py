"""Joules of a fixed amount of work, read from the hardware's own counters (`counters`).

Where no counter can be read there is no number, only the reason: nothing is estimated, and nothing
is summed up from samples of power.

The counters tick slowly (NVML some ten times a second), so work is repeated until a window has
lasted for seconds. One window holds prompt passes alone, the next whole generations; the later
tokens' share is the difference. Idle power is read the same way, in the same run, with the model
loaded and nothing running.
"""

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ppmlib.model import device as devices
from ppmlib.profile import profiling
from ppmlib.profile.counters import NOT_HERE, Meter


class StoodStill(RuntimeError):
    """A counter did not move while work was done."""


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


def measure_window(
    meter: Meter, name: str, work: Callable[[], None], seconds: float, *, clock=time.perf_counter
) -> Reading:
    """Do the work again and again until the window has lasted that long, and read the counters.

    Raises:
        StoodStill: if a counter did not move, so that nothing was measured.
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
        raise StoodStill(
            f"the energy counter of {', '.join(still) or 'every part'} did not move in "
            f"{measured.time:.1f} s"
        )
    return Reading(float(measured.time), joules, times)


@contextmanager
def _helpers_stopped():
    # zeus watches counters that wrap around in its own processes; none may outlive us.
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
        `what`: in words, what is counted or why nothing is; `idle_w`: watts by part and in all,
        each repeat's; `rows`: one per run, workload and batch size with `joules_per_prompt_token`,
        `joules_per_generated_token` (each token after the first) and `joules_per_generation`, each
        in all, above idle (`_net`) and of the GPU alone (`_gpu`, if something else was counted
        too): the median of the repeats, with all of them in `repeats`; and `mean_w`. Empty rows
        where nothing can be measured, as where a counter stands still from the start.
    Raises:
        RuntimeError: if a width generated fewer tokens than asked.
        StoodStill: if a counter that moved stood still later.
    """
    if meter.monitor is None:
        return {"what": meter.what, "idle_w": [], "rows": []}
    where = next(widths.model.parameters()).device
    sync = devices.synchronizer(where)
    seed = next(iter(sets))[1]
    ids = {work.name: sets[work.name, seed].to(where) for work in workloads}
    found: dict[tuple, list[dict[str, float]]] = defaultdict(list)
    idle: list[dict[str, float]] = []
    order = profiling.order_visits(widths.runs, repeats, order_seed)

    def generate_once(model, rows, tokens) -> None:
        made, cache = generate(model, rows, tokens, sync)
        profiling.check_work(made, cache, rows, tokens)

    with _helpers_stopped():
        for number, runs in enumerate(order):
            started = time.perf_counter()
            try:
                still = measure_window(meter, "idle", lambda: sleep(seconds), seconds, clock=clock)
            except StoodStill as error:
                if number:
                    raise
                if progress is not None:
                    progress("idle", 1, 1, time.perf_counter() - started)
                return {"what": f"{NOT_HERE}: {error}", "idle_w": [], "rows": []}
            idle.append({part: value / still.seconds for part, value in still.joules.items()})
            for run in runs:
                with widths.install(run) as model:
                    for work in workloads:
                        for batch in work.batch_sizes:
                            rows = ids[work.name][:batch]
                            readings = []
                            for tokens in (1, work.new_tokens):
                                once = partial(generate_once, model, rows, tokens)
                                once()
                                readings.append(
                                    measure_window(meter, "work", once, seconds, clock=clock)
                                )
                            joules = _per_token(*readings, work, batch, idle[-1])
                            found[run, work, batch].append(joules)
            if progress is not None:
                took = time.perf_counter() - started
                progress(f"round {number + 1}", number + 1, repeats, took)
    watts = [{**parts, "all": sum(parts.values())} for parts in idle]
    jobs = [(run, w, b) for run in widths.runs for w in workloads for b in w.batch_sizes]
    return {"what": meter.what, "idle_w": watts, "rows": [_row(*job, found[job]) for job in jobs]}


def _per_token(
    prompt: Reading, whole: Reading, work: profiling.Workload, batch: int, idle: Mapping[str, float]
) -> dict[str, float]:
    """Joules per token of one pair of windows: prompt passes, and whole generations."""
    idle_w = sum(idle.values())

    def shares(kind: str, prompt_j: float, whole_j: float) -> dict[str, float]:
        per_pass, per_generation = prompt_j / prompt.times, whole_j / whole.times
        later = batch * (work.new_tokens - 1)
        return {
            f"joules_per_prompt_token{kind}": per_pass / (batch * work.prompt_tokens),
            f"joules_per_generated_token{kind}": (per_generation - per_pass) / later,
            f"joules_per_generation{kind}": per_generation,
        }

    net = (each.total - idle_w * each.seconds for each in (prompt, whole))
    found = shares("", prompt.total, whole.total) | shares("_net", *net)
    if "gpu" in whole.joules and len(whole.joules) > 1:
        found |= shares("_gpu", prompt.joules["gpu"], whole.joules["gpu"])
    return found | {"mean_w": whole.total / whole.seconds}


def _row(run: str, work: profiling.Workload, batch: int, repeats: Sequence[Mapping[str, float]]):
    medians = {name: float(np.median([each[name] for each in repeats])) for name in repeats[0]}
    about = {"run": run, "workload": work.name, "batch_size": batch}
    return {**about, **medians, "repeats": [dict(each) for each in repeats]}
