"""The least time that a pass can take on this device, and how much of the device it uses.

A lower bound from what a pass cannot avoid: its arithmetic at the rate of a large matrix product,
and reading the weights and the key-value cache once at the rate of a large copy; the larger of the
two binds. Prefill is judged by its arithmetic (MFU), decode by its reading (MBU).
"""

from collections.abc import Mapping, Sequence

import torch


def kv_cache_bytes(model, batch_size: int, positions: float) -> float:
    """Bytes of a full-attention cache of `positions` positions in each of `batch_size` rows."""
    config = model.config.get_text_config()
    channels = _attention_layers(config) * config.num_key_value_heads * _head_dim(config)
    return batch_size * positions * 2 * channels * model.dtype.itemsize


def _head_dim(config) -> int:
    given = getattr(config, "head_dim", None)
    return given or config.hidden_size // config.num_attention_heads


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
    return _attention_layers(config) * config.num_attention_heads * _head_dim(config)


def _attention_layers(config) -> int:
    # LFM2 mixes layers of convolution among them, which cache next to nothing.
    kinds = getattr(config, "layer_types", None)
    return sum("attention" in kind for kind in kinds) if kinds else config.num_hidden_layers


def pass_bytes(model) -> int:
    """Bytes of weights that every pass must read, whatever its size.

    A separate input embedding does not count (one row per token is read), one tied to the head
    does.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    weights = sum(p.nbytes for p in model.parameters())
    return weights if embedding is head else weights - embedding.nbytes


def decode_bytes(model, batch_size: int, prompt_tokens: int, new_tokens: int) -> float:
    """Bytes one decode step must read: every weight once and, on average, the cache so far."""
    return pass_bytes(model) + kv_cache_bytes(model, batch_size, prompt_tokens + new_tokens / 2)


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
            prefill = prefill_flops(model, batch, prompt), pass_bytes(model)
            steps = model, batch, prompt, new
            needs = {"ttft": prefill, "tpot": (decode_flops(*steps), decode_bytes(*steps))}
        row, times = dict(row), {}
        row["kv_cache_bytes_computed"] = kv_cache_bytes(widths.model, batch, prompt + new - 1)
        for phase, (flops, read) in needs.items():
            times[phase] = flops / rates["matmul_flop_per_s"], read / rates["copy_bytes_per_s"]
            row |= {f"{phase}_flops": flops, f"{phase}_bytes": read}
            row[f"{phase}_limit_s"] = max(times[phase])
            arithmetic_s, reading_s = times[phase]
            row[f"{phase}_bound"] = "reading" if reading_s >= arithmetic_s else "arithmetic"
        row["mfu"] = times["ttft"][0] / row["ttft_s"]
        row["mbu"] = times["tpot"][1] / row["tpot_s"]
        limited.append(row)
    return limited
