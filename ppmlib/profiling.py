"""Time and memory of a fixed amount of work, the same at every width.

Every width gets the same prompts, all of one length (no padding), and generates the same number of
tokens (EOS is a token like any other). The clock is perf_counter with the device waited for on
both sides; loading, slicing and warm-up stay outside it. Widths are interleaved: each round visits
all of them, in an order that differs from round to round, so that a machine that slows down slows
all widths alike and rounds can be compared as pairs.

    ttft_s   prefill and the first token: the whole prompt in one pass, bound by arithmetic
    tpot_s   median of the later steps: one token per row and pass, bound by reading the weights
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppmlib import device as devices
from ppmlib import glu, pruning


@dataclass(frozen=True)
class Workload:
    """What every width has to do: `repeats` measured rounds after `warmup` unmeasured ones.

    Raises:
        ValueError: for numbers no measurement can be made with.
    """

    prompt_tokens: int
    new_tokens: int
    batch_sizes: tuple[int, ...]
    warmup: int
    repeats: int
    seed: int = 0

    def __post_init__(self):
        if min(self.prompt_tokens, self.repeats, *self.batch_sizes) < 1 or self.warmup < 0:
            raise ValueError(f"prompt_tokens, batch_sizes and repeats must be positive: {self}")
        if self.new_tokens < 2:
            raise ValueError("new_tokens must be at least 2: one for prefill, the rest for decode")


def prompts(workload: Workload, vocab_size: int, special_ids: Sequence[int]) -> Tensor:
    """Seeded random prompts, (max batch size, prompt_tokens) int64, without special ids.

    Smaller batches use the first rows, so that the prompt of batch 1 is also in batch 8.
    """
    allowed = torch.tensor(sorted(set(range(vocab_size)) - set(special_ids)))
    generator = torch.Generator().manual_seed(workload.seed)
    shape = (max(workload.batch_sizes), workload.prompt_tokens)
    return allowed[torch.randint(len(allowed), shape, generator=generator)]


class Widths:
    """One model at several widths: all but the MLP weights is shared.

    Only the dense weights and the slice of one width exist at a time, however many widths there
    are: a slice is made when its width is installed and dropped afterwards.

    Args:
        model: the dense model; it is dense again after each `install`.
        keeps: run -> (num_layers, k) kept indices, or None for the dense model itself.
    """

    def __init__(self, model, keeps: Mapping[str, Tensor | None]):
        self.model = model
        self.keeps = dict(keeps)
        self.runs = tuple(self.keeps)
        mlps = glu.glu_mlps(model)
        self._modules = [m for mlp in mlps for m in (mlp.module, mlp.gate, mlp.up, mlp.down)]
        linears = [m for mlp in mlps for m in (mlp.gate, mlp.up, mlp.down)]
        self._dense_bytes = sum(p.nbytes for linear in linears for p in linear.parameters())

    def parked_bytes(self, run: str) -> int:
        """Bytes of dense MLP weights that wait in memory while this width is installed."""
        return 0 if self.keeps[run] is None else self._dense_bytes

    @contextmanager
    def install(self, run: str) -> Iterator[Any]:
        """Yield the model at this width; its dense weights come back afterwards, whatever happens.

        Raises:
            ValueError: as `pruning.slice_mlps`, if the kept indices do not fit the model.
        """
        keep = self.keeps[run]
        if keep is None:
            yield self.model
            return
        config = self.model.config.get_text_config()
        width = config.intermediate_size
        # slice_mlps puts new parameters into the modules and leaves the dense tensors as they are.
        saved = [(module, dict(module._parameters), _sizes(module)) for module in self._modules]
        try:
            pruning.slice_mlps(self.model, keep)
            yield self.model
        finally:
            config.intermediate_size = width
            for module, parameters, sizes in saved:
                module._parameters.update(parameters)
                vars(module).update(sizes)

    def describe(self, run: str) -> dict[str, Any]:
        """What a width is: achieved ratios, parameters, and the bytes of its weights."""
        hidden, dense = glu.hidden_size(self.model), glu.intermediate_size(self.model)
        with self.install(run) as model:
            width = glu.intermediate_size(model)
            return {
                "run": run,
                "pruning_ratio": 1 - width / dense,
                "expansion_ratio": width / hidden,
                "intermediate_size": width,
                "parameters": glu.parameter_count(model),
                "weights_bytes": sum(p.nbytes for p in model.parameters()),
            }


def _sizes(module) -> dict[str, int]:
    names = ("intermediate_size", "in_features", "out_features")
    return {name: vars(module)[name] for name in names if name in vars(module)}


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


def cache_bytes(cache) -> int:
    """Bytes of the keys and values that a cache holds, counted from its tensors."""
    return sum(tensor.nbytes for entry in cache for tensor in entry[:2])


def _check_work(tokens: Tensor, cache, prompt_ids: Tensor, new_tokens: int) -> None:
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
    _check_work(tokens, cache, prompt_ids, new_tokens)
    first, *later = np.diff(marks).tolist()
    return Timing(first, tuple(later), peak, cache_bytes(cache), preemptions)


def time_whole(
    model, prompt_ids: Tensor, new_tokens: int, *, clock=time.perf_counter, generate=greedy
) -> float:
    """Seconds of one generation, looking at the clock only before and after it."""
    sync = devices.synchronizer(prompt_ids.device)
    sync()
    start = clock()
    tokens, cache = generate(model, prompt_ids, new_tokens, lambda: None)
    sync()
    seconds = clock() - start
    _check_work(tokens, cache, prompt_ids, new_tokens)
    return seconds


def rounds(runs: Sequence[str], number: int, seed: int) -> list[list[str]]:
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


def profile(
    widths: Widths,
    prompt_ids: Tensor,
    workload: Workload,
    *,
    clock=time.perf_counter,
    generate=greedy,
    progress: Callable[[str, int, int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Measure every width and batch size, widths interleaved round by round.

    After each installation the fresh weights are touched by a short unmeasured generation. In the
    last round each generation is made once more and timed as a whole, to hold against its parts.
    `progress` is called between rounds, outside the clock: name, rounds done, in all, seconds.

    Returns:
        one row per run and batch size: medians and quartiles of `ttft_s`, `tpot_s`, `total_s` and
        `tokens_per_s`, `peak_memory_bytes` (largest repeat, less the dense weights parked beside a
        narrower width; None if not measurable), `kv_cache_bytes`, `tokens`, `preemptions` (all
        repeats), `end_to_end_s`, and the raw `repeats` in the order of the rounds.
    Raises:
        RuntimeError: if a width generated fewer tokens than asked.
    """
    where = next(widths.model.parameters()).device
    prompt_ids = prompt_ids.to(where)
    meter = devices.peak_meter(where)
    new_tokens = workload.new_tokens
    jobs = [(run, batch) for run in widths.runs for batch in workload.batch_sizes]
    timings: dict[tuple[str, int], list[Timing]] = {job: [] for job in jobs}
    whole: dict[tuple[str, int], float] = {}
    visits = rounds(widths.runs, workload.warmup + workload.repeats, workload.seed)
    with _no_garbage_collection():
        for number, runs in enumerate(visits):
            round_started = time.perf_counter()
            for run in runs:
                with widths.install(run) as model:
                    gc.collect()
                    generate(model, prompt_ids[:1], 2, lambda: None)
                    for batch in workload.batch_sizes:
                        rows = prompt_ids[:batch]
                        timing = time_parts(
                            model, rows, new_tokens, meter=meter, clock=clock, generate=generate
                        )
                        if number >= workload.warmup:
                            timings[run, batch].append(timing)
                        if number == len(visits) - 1:
                            whole[run, batch] = time_whole(
                                model, rows, new_tokens, clock=clock, generate=generate
                            )
            if progress is not None:
                seconds = time.perf_counter() - round_started
                progress(f"round {number + 1}", number + 1, len(visits), seconds)
    return [
        _row(run, batch, new_tokens, timings[run, batch], widths.parked_bytes(run))
        | {"end_to_end_s": whole[run, batch]}
        for run, batch in jobs
    ]


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    q25, median, q75 = np.percentile(values, [25, 50, 75]).tolist()
    return {name: median, f"{name}_q25": q25, f"{name}_q75": q75}


def _row(run, batch, new_tokens, timings: Sequence[Timing], parked_bytes: int) -> dict[str, Any]:
    tokens = batch * new_tokens
    repeats = {
        name: [getattr(t, name) for t in timings] for name in ("ttft_s", "tpot_s", "total_s")
    }
    preempted = [t.preemptions for t in timings if t.preemptions is not None]
    peaks = [t.peak_bytes for t in timings if t.peak_bytes is not None]
    (kv_bytes,) = {t.cache_bytes for t in timings}
    return {
        "run": run,
        "batch_size": batch,
        "tokens": tokens,
        **_spread("ttft_s", repeats["ttft_s"]),
        **_spread("tpot_s", repeats["tpot_s"]),
        **_spread("total_s", repeats["total_s"]),
        **_spread("tokens_per_s", [tokens / total for total in repeats["total_s"]]),
        "peak_memory_bytes": max(peaks) - parked_bytes if peaks else None,
        "kv_cache_bytes": kv_bytes,
        "preemptions": sum(preempted) if preempted else None,
        "repeats": repeats,
    }
