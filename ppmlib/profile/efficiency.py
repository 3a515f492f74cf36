"""What the profiling rows say: the hardware's limits beside them, speed-ups, alignment, break-even.

The limits are lower bounds of the time, from what a pass cannot avoid: its arithmetic at the rate
of a large matrix product, and reading the weights and the key-value cache once at the rate of a
large copy; the larger of the two binds. Prefill is judged by its arithmetic (MFU), decode by its
reading (MBU).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

QUANTITIES = {"ttft_s": "prefill", "tpot_s": "decode"}


def kv_bytes_per_position(model) -> int:
    """Bytes of keys and values that one position of one row adds to the cache, in closed form."""
    config = model.config.get_text_config()
    return (
        2 * config.num_hidden_layers * config.num_key_value_heads * _head_dim(config)
    ) * model.dtype.itemsize


def _head_dim(config) -> int:
    given = getattr(config, "head_dim", None)
    return given or config.hidden_size // config.num_attention_heads


def kv_cache_bytes(model, batch_size: int, positions: int) -> int:
    """Bytes of a full-attention cache of `positions` positions in each of `batch_size` rows."""
    return batch_size * positions * kv_bytes_per_position(model)


def prefill_flops(model, batch_size: int, prompt_tokens: int) -> int:
    """Multiplications and additions of one prompt pass; logits of the last position only.

    Two per weight and token in the linear layers, and in attention two per query-key pair and
    channel for the scores and two for the values (causal pairs only).
    """
    pairs = prompt_tokens * (prompt_tokens + 1) // 2
    per_row = prompt_tokens * 2 * _linear_weights(model) + 4 * pairs * _channels(model)
    return batch_size * (per_row + 2 * model.get_output_embeddings().weight.numel())


def decode_flops(model, batch_size: int, prompt_tokens: int, new_tokens: int) -> float:
    """Multiplications and additions of one decode step, its attention averaged over the steps."""
    head = model.get_output_embeddings().weight.numel()
    positions = prompt_tokens + new_tokens / 2
    return batch_size * (2 * (_linear_weights(model) + head) + 4 * positions * _channels(model))


def _linear_weights(model) -> int:
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return sum(m.weight.numel() for m in linears)


def _channels(model) -> int:
    config = model.config.get_text_config()
    return config.num_hidden_layers * config.num_attention_heads * _head_dim(config)


def pass_bytes(model) -> int:
    """Bytes of weights that every pass must read, whatever its size.

    An input embedding of its own counts none (one row per token); tied to the head it does.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    weights = sum(p.nbytes for p in model.parameters())
    return weights if embedding is head else weights - embedding.nbytes


def decode_bytes(model, batch_size: int, prompt_tokens: int, new_tokens: int) -> float:
    """Bytes one decode step must read: every weight once and, on average, the cache so far."""
    cache = kv_cache_bytes(model, batch_size, 1) * (prompt_tokens + new_tokens / 2)
    return pass_bytes(model) + cache


def add_limits(rows: Sequence[Mapping], widths, rates: Mapping[str, float]) -> list[dict]:
    """The rows with what a pass needs, the least time it can take, and how much of it is used.

    `ttft_flops`, `ttft_bytes`, `tpot_flops`, `tpot_bytes`; `ttft_limit_s`, `tpot_limit_s`: the
    larger of arithmetic and reading; `ttft_bound`, `tpot_bound`: which of the two that is; `mfu` of
    prefill and `mbu` of decode. And `kv_cache_bytes_computed`, in closed form.

    Args:
        rows, widths: what `profiling.profile` gave and got.
        rates: `device.limits` of the same process.
    """
    limited = []
    for row in rows:
        batch, prompt, new = row["batch_size"], row["prompt_tokens"], row["new_tokens"]
        with widths.install(row["run"]) as model:
            needs = {
                "ttft": (prefill_flops(model, batch, prompt), pass_bytes(model)),
                "tpot": (decode_flops(model, batch, prompt, new),
                         decode_bytes(model, batch, prompt, new)),
            }  # fmt: skip
        row, times = dict(row), {}
        row["kv_cache_bytes_computed"] = kv_cache_bytes(widths.model, batch, prompt + new - 1)
        for phase, (flops, read) in needs.items():
            times[phase] = flops / rates["matmul_flop_per_s"], read / rates["copy_bytes_per_s"]
            row |= {f"{phase}_flops": flops, f"{phase}_bytes": read}
            row[f"{phase}_limit_s"] = max(times[phase])
            row[f"{phase}_bound"] = (
                "reading" if times[phase][1] >= times[phase][0] else "arithmetic"
            )
        row["mfu"] = times["ttft"][0] / row["ttft_s"]
        row["mbu"] = times["tpot"][1] / row["tpot_s"]
        limited.append(row)
    return limited


def job(row: Mapping[str, Any]) -> tuple[str, int]:
    """Which work a row is about: workload and batch size, the same for every width."""
    return row["workload"], row["batch_size"]


def by_work(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows sorted by work, in the order in which works first appear; widths stay in theirs."""
    order = list(dict.fromkeys(job(row) for row in rows))
    return sorted(rows, key=lambda row: order.index(job(row)))


def job_name(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A row's work for readers: its batch size, and its workload where there are several."""
    several = len({each["workload"] for each in rows}) > 1
    return (
        f"{row['workload']}, batch {row['batch_size']}" if several else f"batch {row['batch_size']}"
    )


def speed_ups(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """Speed of each width against the baseline run, round by round.

    Returns:
        one row per run (the baseline left out), workload, batch size and quantity: `speed_up`, the
        median over rounds of baseline seconds / seconds, its quartiles, `limit_speed_up`: the same
        of the least times, and `differs`: whether the interquartile ranges of the two times are
        apart and every round agrees on the direction.
    """
    dense = {job(row): row for row in rows if row["run"] == baseline}
    found = []
    for row in rows:
        if row["run"] == baseline:
            continue
        base = dense[job(row)]
        for name, phase in QUANTITIES.items():
            found.append({
                "run": row["run"],
                "workload": row["workload"],
                "batch_size": row["batch_size"],
                "phase": phase,
                **_ratio(base, row, name, "speed_up"),
                "limit_speed_up": _limit(base, name) / _limit(row, name),
            })  # fmt: skip
    return found


def _limit(row: Mapping[str, Any], name: str) -> float:
    return row[f"{name.removesuffix('_s')}_limit_s"]


def alignment(
    rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The same ratios at other multiples of the neuron count, against the study's own widths.

    Returns:
        per requested ratio, further multiple, workload, batch size and phase: `neurons` of the
        study's own width and `aligned_neurons`; `ratio`, the median over rounds of own seconds /
        aligned seconds (above 1: alignment pays), its quartiles; `limit_ratio`, what the fewer
        neurons alone would give; `differs` as in `speed_ups`; `same`, whether the two widths are
        one, so that they differ by noise alone. Empty if there are no further multiples.
    """
    about = {width["run"]: width for width in described}
    own = {
        (about[row["run"]]["requested"], *job(row)): row
        for row in rows
        if about[row["run"]]["keep_multiple_of"] == described[0]["keep_multiple_of"]
    }
    found = []
    for row in rows:
        width = about[row["run"]]
        base = own[width["requested"], *job(row)]
        if row["run"] == base["run"]:
            continue
        for name, phase in QUANTITIES.items():
            found.append({
                "requested": width["requested"],
                "multiple": width["keep_multiple_of"],
                "workload": row["workload"],
                "batch_size": row["batch_size"],
                "phase": phase,
                "neurons": about[base["run"]]["intermediate_size"],
                "aligned_neurons": width["intermediate_size"],
                **_ratio(base, row, name, "ratio"),
                "limit_ratio": _limit(base, name) / _limit(row, name),
                "same": about[base["run"]]["intermediate_size"] == width["intermediate_size"],
            })  # fmt: skip
    return found


def break_even(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """How much longer a narrower model's answers may be before they take as long as the dense's.

    Of a prompt and an answer of the profiled length: `length_ratio`, the tokens the narrower model
    has made when the dense one is done, relative to the dense one's; median over rounds and
    quartiles. Per run (the baseline left out), workload and batch size.
    """
    dense = {job(row): row for row in rows if row["run"] == baseline}
    found = []
    for row in rows:
        if row["run"] == baseline:
            continue
        base, tokens = dense[job(row)]["repeats"], row["new_tokens"]
        own = {name: np.array(row["repeats"][name]) for name in QUANTITIES}
        dense_s = np.array(base["ttft_s"]) + (tokens - 1) * np.array(base["tpot_s"])
        ratios = (1 + (dense_s - own["ttft_s"]) / own["tpot_s"]) / tokens
        q25, median, q75 = np.percentile(ratios, [25, 50, 75]).tolist()
        found.append({
            "run": row["run"],
            "workload": row["workload"],
            "batch_size": row["batch_size"],
            "new_tokens": tokens,
            "length_ratio": median,
            "length_ratio_q25": q25,
            "length_ratio_q75": q75,
        })  # fmt: skip
    return found


def end_to_end_ratio(row: Mapping[str, Any]) -> float:
    """Seconds of a generation timed as a whole over the sum of its parts: median of the rounds."""
    return float(np.median(np.divide(row["repeats"]["end_to_end_s"], row["repeats"]["total_s"])))


def _ratio(base: Mapping[str, Any], row: Mapping[str, Any], name: str, called: str) -> dict:
    """Base seconds over a row's, round by round: median, quartiles, whether the two differ."""
    ratios = np.divide(base["repeats"][name], row["repeats"][name])
    q25, median, q75 = np.percentile(ratios, [25, 50, 75]).tolist()
    faster = row[f"{name}_q75"] < base[f"{name}_q25"] and ratios.min() > 1
    slower = row[f"{name}_q25"] > base[f"{name}_q75"] and ratios.max() < 1
    return {called: median, f"{called}_q25": q25, f"{called}_q75": q75,
            "differs": bool(faster or slower)}  # fmt: skip
