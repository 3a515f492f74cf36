"""Time and memory of a fixed amount of work, the same at every width.

Every width gets the same prompts, all of one length (no padding), and generates the same number of
tokens (EOS is a token like any other). The clock is perf_counter with a device sync on both sides;
loading, slicing and warm-up stay outside it. Widths are interleaved: each round visits all of them
in another order, so that a machine that slows down slows all widths alike and rounds are pairs.

    ttft_s   prefill and the first token: the whole prompt in one pass, bound by arithmetic
    tpot_s   median of the later steps: one token per row and pass, bound by reading the weights
"""

import gc
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppmlib.model import device as devices
from ppmlib.profile.ratios import spread


@dataclass(frozen=True)
class Workload:
    """What every width has to do: new tokens after prompts of one length, in each batch size.

    Raises:
        ValueError: for numbers no measurement can be made with.
    """

    name: str
    prompt_tokens: int
    new_tokens: int
    batch_sizes: tuple[int, ...]

    def __post_init__(self):
        if min(self.prompt_tokens, *self.batch_sizes) < 1:
            raise ValueError(f"prompt_tokens and batch_sizes must be positive: {self}")
        if self.new_tokens < 2:
            raise ValueError("new_tokens must be at least 2: one for prefill, the rest for decode")


@dataclass(frozen=True)
class Rounds:
    """`repeats` measured rounds over all widths after `warmup` unmeasured ones.

    Rounds take turns with the prompt seeds, each of which draws other prompts. `order_seed` decides
    the order in which a round visits the widths.
    """

    warmup: int
    repeats: int
    prompt_seeds: tuple[int, ...] = (0,)
    order_seed: int = 0

    def __post_init__(self):
        if self.repeats < 1 or self.warmup < 0 or not self.prompt_seeds:
            raise ValueError(f"repeats must be positive, and there must be a prompt seed: {self}")
        if self.repeats < len(self.prompt_seeds):
            raise ValueError(
                f"{self.repeats} repeats cannot take turns with {len(self.prompt_seeds)} prompt "
                "seeds: raise repeats to at least as many"
            )

    def prompt_seed(self, number: int) -> int:
        """The prompt seed of a round, warm-up rounds counted."""
        return self.prompt_seeds[(number - self.warmup) % len(self.prompt_seeds)]


def make_workloads(
    workloads: Sequence[Mapping[str, Any]],
    prompt_tokens: int,
    new_tokens: int,
    batch_sizes: Sequence[int],
) -> list[Workload]:
    """The workloads of a study file: those listed, or the one of `prompt_tokens` if none are."""
    listed = workloads or [
        {"name": "fixed", "prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    ]
    return [Workload(**each, batch_sizes=tuple(batch_sizes)) for each in listed]


def draw_prompts(
    workload: Workload, vocab_size: int, special_ids: Sequence[int], seed: int
) -> Tensor:
    """Seeded random prompts, (max batch size, prompt_tokens) int64, without special ids.

    Smaller batches use the first rows, so that the prompt of batch 1 is also in batch 8.
    """
    allowed = torch.tensor(sorted(set(range(vocab_size)) - set(special_ids)))
    generator = torch.Generator().manual_seed(seed)
    shape = (max(workload.batch_sizes), workload.prompt_tokens)
    return allowed[torch.randint(len(allowed), shape, generator=generator)]


def draw_prompt_sets(
    workloads: Sequence[Workload], rounds: Rounds, vocab_size: int, special_ids: Sequence[int]
) -> dict[tuple[str, int], Tensor]:
    """The prompts of every workload and prompt seed."""
    return {
        (workload.name, seed): draw_prompts(workload, vocab_size, special_ids, seed)
        for workload in workloads
        for seed in rounds.prompt_seeds
    }


def prompts_sha256(sets: Mapping[tuple[str, int], Tensor]) -> str:
    """SHA-256 over all prompts, in order."""
    digest = hashlib.sha256()
    for name, seed in sets:
        digest.update(f"{name} {seed}\n".encode() + sets[name, seed].numpy().tobytes())
    return digest.hexdigest()


def greedy(model, prompt_ids: Tensor, new_tokens: int, mark: Callable[[], None]):
    """Generate exactly `new_tokens` tokens per row, EOS ignored; `mark()` is called after each.

    Args:
        prompt_ids: (batch, prompt_tokens) int64 on the model's device.
    Returns:
        tokens (batch, new_tokens) and the key-value cache.
    """
    ids, cache, tokens = prompt_ids, None, []
    with torch.inference_mode():
        for _ in range(new_tokens):
            output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            ids, cache = output.logits[:, -1:].argmax(-1), output.past_key_values
            tokens.append(ids)
            mark()
    return torch.cat(tokens, 1), cache


def count_cache_bytes(cache) -> int:
    """Bytes of the keys and values that a cache holds, counted from its tensors."""
    attending = [layer for layer in cache.layers if hasattr(layer, "keys")]  # not convolution
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in attending)


def check_work(tokens: Tensor, cache, prompt_ids: Tensor, new_tokens: int) -> None:
    """Refuse a generation that made fewer tokens than asked or padded after an early stop.

    Raises:
        RuntimeError: if a row has another number of tokens, or the cache of positions.
    """
    batch, prompt_tokens = prompt_ids.shape
    if tuple(tokens.shape) != (batch, new_tokens):
        raise RuntimeError(
            f"{tuple(tokens.shape)} tokens came back, {(batch, new_tokens)} were asked for"
        )
    seen = prompt_tokens + new_tokens - 1
    if cache.get_seq_length() != seen:
        raise RuntimeError(f"the cache holds {cache.get_seq_length()} positions, not {seen}")


@dataclass(frozen=True)
class Timing:
    """One measured generation: seconds of the first token and of each later step, bytes, and how
    often another process took the core meanwhile.
    """

    ttft_s: float
    steps_s: tuple[float, ...]
    peak_bytes: int | None
    cache_bytes: int
    preemptions: int | None

    @property
    def tpot_s(self) -> float:
        """Median seconds of the steps after the first."""
        return float(np.median(self.steps_s))

    @property
    def total_s(self) -> float:
        """Seconds of the whole generation: the sum of its parts."""
        return self.ttft_s + sum(self.steps_s)


def time_parts(
    model, prompt_ids: Tensor, new_tokens: int, *, meter, clock=time.perf_counter, generate=greedy
) -> Timing:
    """Time one generation, prefill and each decode step apart.

    Raises:
        RuntimeError: if fewer than `new_tokens` tokens per row came back.
    """
    sync = devices.synchronizer(prompt_ids.device)
    marks = []

    def mark() -> None:
        sync()
        marks.append(clock())

    meter.reset()
    before = devices.preemptions()
    mark()
    tokens, cache = generate(model, prompt_ids, new_tokens, mark)
    preemptions = None if before is None else devices.preemptions() - before
    peak = meter.read()
    check_work(tokens, cache, prompt_ids, new_tokens)
    first, *later = np.diff(marks).tolist()
    return Timing(first, tuple(later), peak, count_cache_bytes(cache), preemptions)


def time_whole(
    model, prompt_ids: Tensor, new_tokens: int, *, clock=time.perf_counter, generate=greedy
) -> float:
    """Seconds of one generation, looking at the clock only before and after it.

    Each token is waited for, as in `time_parts` and as by anyone who reads it: on a GPU the host
    could otherwise run ahead and do less work between two tokens.
    """
    sync = devices.synchronizer(prompt_ids.device)
    sync()
    start = clock()
    tokens, cache = generate(model, prompt_ids, new_tokens, sync)
    sync()
    seconds = clock() - start
    check_work(tokens, cache, prompt_ids, new_tokens)
    return seconds


def order_visits(runs: Sequence[str], number: int, seed: int) -> list[list[str]]:
    """The order of visits: one seeded shuffle, rotated by one each round.

    Every round holds every run once, and no run comes first in two of `len(runs)` rounds.
    """
    shuffled = [runs[i] for i in np.random.default_rng(seed).permutation(len(runs))]
    starts = [r % len(runs) for r in range(number)]
    return [shuffled[start:] + shuffled[:start] for start in starts]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def settle(model, prompt_ids: Tensor, generate=greedy) -> None:
    """Run a short unmeasured generation with freshly installed weights."""
    gc.collect()
    devices.release_freed()
    generate(model, prompt_ids[:1], 2, lambda: None)


def profile(
    widths,
    workloads: Sequence[Workload],
    sets: Mapping[tuple[str, int], Tensor],
    rounds: Rounds,
    *,
    clock=time.perf_counter,
    generate=greedy,
    progress: Callable[[str, int, int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Measure every width, workload and batch size, widths interleaved round by round.

    In every measured round each generation is also timed as a whole, to be compared with the sum
    of its parts; the two take turns in coming first.

    Args:
        widths: `widths.Widths`. sets: `draw_prompt_sets`.
        progress: called between rounds, outside the clock: name, rounds done, in all, seconds.
    Returns:
        one row per run, workload and batch size: medians and quartiles of `ttft_s`, `tpot_s`,
        `total_s` and `tokens_per_s`, `peak_memory_bytes` (largest repeat, without parked dense
        weights; None if not measurable), `kv_cache_bytes`, `tokens`, `preemptions` (all repeats),
        `end_to_end_s` (median), and the raw `repeats` in the order of the rounds.
    Raises:
        RuntimeError: if a width generated fewer tokens than asked.
    """
    where = next(widths.model.parameters()).device
    sets = {key: ids.to(where) for key, ids in sets.items()}
    meter = devices.peak_meter(where)
    jobs = [(work, batch) for work in workloads for batch in work.batch_sizes]
    timings: dict[tuple, list[Timing]] = defaultdict(list)
    whole: dict[tuple, list[float]] = defaultdict(list)
    order = order_visits(widths.runs, rounds.warmup + rounds.repeats, rounds.order_seed)
    with _no_garbage_collection():
        for number, runs in enumerate(order):
            started, seed = time.perf_counter(), rounds.prompt_seed(number)
            for run in runs:
                with widths.install(run) as model:
                    settle(model, sets[workloads[0].name, seed], generate)
                    for work, batch in jobs:
                        job = (run, work.name, batch)
                        todo = (model, sets[work.name, seed][:batch], work.new_tokens)
                        how = {"clock": clock, "generate": generate}
                        measured = number >= rounds.warmup
                        if measured and number % 2:
                            whole[job].append(time_whole(*todo, **how))
                        timing = time_parts(*todo, meter=meter, **how)
                        if measured:
                            timings[job].append(timing)
                        if measured and not number % 2:
                            whole[job].append(time_whole(*todo, **how))
            if progress is not None:
                seconds = time.perf_counter() - started
                progress(f"round {number + 1}", number + 1, len(order), seconds)
    seeds = [rounds.prompt_seed(rounds.warmup + n) for n in range(rounds.repeats)]
    rows = []
    for run in widths.runs:
        for work, batch in jobs:
            job = (run, work.name, batch)
            row = _row(run, work, batch, timings[job], widths.parked_bytes(run))
            row["repeats"] |= {"end_to_end_s": whole[job], "prompt_seed": seeds}
            rows.append(row | {"end_to_end_s": float(np.median(whole[job]))})
    return rows


def _row(run, work: Workload, batch, timings: Sequence[Timing], parked_bytes: int):
    tokens = batch * work.new_tokens
    times = ("ttft_s", "tpot_s", "total_s")
    repeats = {name: [getattr(timing, name) for timing in timings] for name in times}
    preempted = [t.preemptions for t in timings if t.preemptions is not None]
    peaks = [t.peak_bytes for t in timings if t.peak_bytes is not None]
    (kv_bytes,) = {t.cache_bytes for t in timings}
    return {
        "run": run,
        "workload": work.name,
        "prompt_tokens": work.prompt_tokens,
        "new_tokens": work.new_tokens,
        "batch_size": batch,
        "tokens": tokens,
        **spread("ttft_s", repeats["ttft_s"]),
        **spread("tpot_s", repeats["tpot_s"]),
        **spread("total_s", repeats["total_s"]),
        **spread("tokens_per_s", [tokens / total for total in repeats["total_s"]]),
        "peak_memory_bytes": max(peaks) - parked_bytes if peaks else None,
        "kv_cache_bytes": kv_bytes,
        "preemptions": sum(preempted) if preempted else None,
        "repeats": repeats,
    }
