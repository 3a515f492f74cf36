"""What the profiling rows say: the hardware's limits beside them, speed-ups, computed sentences.

The limits are lower bounds of the time, from what the pass cannot avoid: in prefill the arithmetic
of all prompt tokens, in decode reading the weights and the key-value cache once per step.
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
    config, head = model.config.get_text_config(), model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    weights = sum(m.weight.numel() for m in linears)
    pairs = prompt_tokens * (prompt_tokens + 1) // 2
    channels = config.num_hidden_layers * config.num_attention_heads * _head_dim(config)
    per_row = prompt_tokens * 2 * weights + 4 * pairs * channels + 2 * head.weight.numel()
    return batch_size * per_row


def decode_bytes(model, batch_size: int, prompt_tokens: int, new_tokens: int) -> float:
    """Bytes one decode step must read: every weight once and, on average, the cache so far.

    An input embedding of its own counts no bytes (one row per token); tied to the head it does.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    weights = sum(p.nbytes for p in model.parameters())
    if embedding is not head:
        weights -= embedding.nbytes
    return weights + kv_cache_bytes(model, batch_size, 1) * (prompt_tokens + new_tokens / 2)


def add_limits(rows: Sequence[Mapping], widths, workload, rates: Mapping[str, float]) -> list[dict]:
    """The rows with `ttft_limit_s`, `tpot_limit_s` and the utilisation of each: `mfu`, `mbu`.

    Args:
        rows, widths, workload: what `profiling.profile` gave and got.
        rates: `device.limits` of the same process.
    """
    limited = []
    for row in rows:
        batch = row["batch_size"]
        with widths.install(row["run"]) as model:
            flops = prefill_flops(model, batch, workload.prompt_tokens)
            read = decode_bytes(model, batch, workload.prompt_tokens, workload.new_tokens)
        ttft_limit_s = flops / rates["matmul_flop_per_s"]
        tpot_limit_s = read / rates["copy_bytes_per_s"]
        limited.append({
            **row,
            "ttft_limit_s": ttft_limit_s,
            "tpot_limit_s": tpot_limit_s,
            "mfu": ttft_limit_s / row["ttft_s"],
            "mbu": tpot_limit_s / row["tpot_s"],
        })  # fmt: skip
    return limited


def speed_ups(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """Speed of each width against the baseline run, round by round.

    Returns:
        one row per run (the baseline left out), batch size and quantity: `speed_up`, the median
        over rounds of baseline seconds / seconds, its quartiles, and `differs`: whether the
        interquartile ranges of the two times are apart and every round agrees on the direction.
    """
    dense = {row["batch_size"]: row for row in rows if row["run"] == baseline}
    found = []
    for row in rows:
        if row["run"] == baseline:
            continue
        base = dense[row["batch_size"]]
        for name, phase in QUANTITIES.items():
            ratios = np.divide(base["repeats"][name], row["repeats"][name])
            q25, median, q75 = np.percentile(ratios, [25, 50, 75]).tolist()
            faster = row[f"{name}_q75"] < base[f"{name}_q25"] and ratios.min() > 1
            slower = row[f"{name}_q25"] > base[f"{name}_q75"] and ratios.max() < 1
            found.append({
                "run": row["run"],
                "batch_size": row["batch_size"],
                "phase": phase,
                "speed_up": median,
                "speed_up_q25": q25,
                "speed_up_q75": q75,
                "differs": bool(faster or slower),
            })  # fmt: skip
    return found


def widths_table(described: Sequence[Mapping[str, Any]]):
    """The widths as a DataFrame for reading: ratios, neurons, parameters, bytes of weights."""
    import pandas as pd

    return pd.DataFrame(
        {
            "run": width["run"],
            "neurons per layer": width["intermediate_size"],
            "removed": f"{width['pruning_ratio']:.1%}",
            "expansion ratio": f"{width['expansion_ratio']:.2f}x",
            "parameters": f"{width['parameters']:,}",
            "weights, MB": f"{width['weights_bytes'] / 1e6:,.2f}",
        }
        for width in described
    ).set_index("run")


def times_table(rows: Sequence[Mapping[str, Any]]):
    """The measured times as a DataFrame for reading: medians, quartiles, limits, in ms."""
    import pandas as pd

    def cells(row: Mapping, group: str, name: str, limit: str, share: str) -> dict:
        low, high = (_milliseconds(row[f"{name}_{quartile}"]) for quartile in ("q25", "q75"))
        return {
            (group, "median"): _milliseconds(row[name]),
            (group, "IQR"): f"{low}\u2060\u2013\u2060{high}",
            (group, "limit"): _milliseconds(row[limit]),
            (group, share.upper()): f"{row[share]:.0%}",
        }

    table = pd.DataFrame(
        {
            ("", "batch"): row["batch_size"],
            **cells(row, "first token, ms", "ttft_s", "ttft_limit_s", "mfu"),
            **cells(row, "each later token, ms", "tpot_s", "tpot_limit_s", "mbu"),
            ("", "tokens/s"): f"{row['tokens_per_s']:,.0f}",
        }
        for row in rows
    )
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in rows], name="run"))


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def memory_table(rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]]):
    """Bytes per run and batch size in MB (10^6): weights, key-value cache, measured peak."""
    import pandas as pd

    widths = {width["run"]: width for width in described}

    def megabytes(count: int | None) -> str:
        return "not measurable here" if count is None else f"{count / 1e6:,.2f}"

    return pd.DataFrame(
        {
            "run": row["run"],
            "batch": row["batch_size"],
            "weights, MB": megabytes(widths[row["run"]]["weights_bytes"]),
            "KV cache, MB": megabytes(row["kv_cache_bytes"]),
            "measured peak, MB": megabytes(row["peak_memory_bytes"]),
        }
        for row in rows
    ).set_index("run")


def checks_table(rows: Sequence[Mapping[str, Any]], workload, tolerance: float = 0.05):
    """Per row: tokens asked and made, spread of the repeats, parts against an end-to-end timing.

    The end-to-end run follows the last repeat of its width, with the clock read only at its ends,
    and is held against the sum of that repeat's parts.
    """
    import pandas as pd

    def spread(row, name: str) -> str:
        return f"{(row[f'{name}_q75'] - row[f'{name}_q25']) / row[name]:.0%}"

    generation = "one generation, ms"
    table = pd.DataFrame(
        {
            ("", "batch"): row["batch_size"],
            ("tokens", "asked"): row["batch_size"] * workload.new_tokens,
            ("tokens", "made"): row["tokens"],
            ("IQR / median", "first token"): spread(row, "ttft_s"),
            ("IQR / median", "later token"): spread(row, "tpot_s"),
            (generation, "sum of parts"): _milliseconds(row["repeats"]["total_s"][-1]),
            (generation, "end to end"): _milliseconds(row["end_to_end_s"]),
            (generation, "ratio"): f"{end_to_end_ratio(row):.2f}",
            ("", f"within {tolerance:.0%}"): (
                "yes" if abs(end_to_end_ratio(row) - 1) <= tolerance else "no"
            ),
        }
        for row in rows
    )
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in rows], name="run"))


def end_to_end_ratio(row: Mapping[str, Any]) -> float:
    """Seconds of a generation timed as a whole over the sum of the parts of the one before it."""
    return row["end_to_end_s"] / row["repeats"]["total_s"][-1]


def conclusions(
    rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]], baseline: str
) -> list[str]:
    """What the numbers say, in sentences: speed at the narrowest width, utilisation, memory."""
    widths = {width["run"]: width for width in described}
    dense, narrow = widths[baseline], min(described, key=lambda w: w["intermediate_size"])
    removed = 1 - narrow["parameters"] / dense["parameters"]
    name = f"{narrow['run']} ({narrow['expansion_ratio']:.2f}x, {removed:.0%} fewer parameters)"
    gains = speed_ups(rows, baseline)
    sentences = [
        "A difference counts as measurable when the interquartile ranges of the two times are "
        "apart and every round agrees on its direction."
    ]
    for gain in (g for g in gains if g["run"] == narrow["run"]):
        same = [g for g in gains if all(g[k] == gain[k] for k in ("batch_size", "phase"))]
        sentences.append(
            f"Batch {gain['batch_size']}, {gain['phase']}: {name} runs at "
            f"{gain['speed_up']:.2f} times the dense speed "
            f"[{gain['speed_up_q25']:.2f}, {gain['speed_up_q75']:.2f}]"
            f"{'' if gain['differs'] else ', no measurable difference'}; "
            f"{sum(g['differs'] for g in same)} of {len(same)} narrower widths differ measurably "
            "from dense."
        )
    for row in (r for r in rows if r["run"] == baseline):
        sentences.append(
            f"Dense, batch {row['batch_size']}: prefill takes {1 / row['mfu']:.1f} times as "
            f"long as its arithmetic needs at the measured matmul rate (MFU {row['mfu']:.0%}), "
            f"decode {1 / row['mbu']:.1f} times as long as reading weights and cache needs at the "
            f"measured copy bandwidth (MBU {row['mbu']:.0%})."
        )
    ratios = [end_to_end_ratio(row) for row in rows]
    sentences.append(
        f"A generation timed only at its ends takes {np.median(ratios):.2f} times the sum of its "
        f"parts (median of {len(ratios)}; from {min(ratios):.2f} to {max(ratios):.2f})."
    )
    if all(row["preemptions"] is not None for row in rows):
        taken = sum(row["preemptions"] for row in rows)
        made = sum(len(row["repeats"]["total_s"]) for row in rows)
        sentences.append(
            f"Other processes took the core {taken} times during the {made} measured generations"
            f"{'; such times are upper bounds' * (taken > 0)}."
        )
    cache = max((r for r in rows if r["run"] == baseline), key=lambda r: r["kv_cache_bytes"])
    sentences.append(
        f"Weights shrink from {dense['weights_bytes'] / 1e6:.2f} to "
        f"{narrow['weights_bytes'] / 1e6:.2f} MB ({removed:.0%} less); the key-value cache, "
        f"{cache['kv_cache_bytes'] / 1e6:.2f} MB at batch {cache['batch_size']}, does not depend "
        "on the width."
    )
    return sentences
