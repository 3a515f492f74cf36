"""Tables about time, memory and energy, for reading (notebook 4): work by work, widest first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ppmlib.profile.ratios import by_work, end_to_end_ratio, job_name
from ppmlib.show.table import table_of

Rows = Sequence[Mapping[str, Any]]


def widths_table(described: Rows) -> pd.DataFrame:
    """The widths: ratios, neurons, parameters, bytes of weights."""
    return table_of(
        described,
        "run",
        lambda width: {
            "run": width["run"],
            "neurons per layer": width["intermediate_size"],
            "removed": f"{width['pruning_ratio']:.1%}",
            "expansion ratio": f"{width['expansion_ratio']:.2f}x",
            "parameters": f"{width['parameters']:,}",
            "weights, MB": f"{width['weights_bytes'] / 1e6:,.2f}",
        },
    )


def _by_work(rows: Rows, cells: Callable[[Mapping], dict]) -> pd.DataFrame:
    """A table with two rows of headers: the work, then `cells` by (group, name), by run."""
    rows = by_work(rows)
    table = pd.DataFrame({("", "work"): job_name(row, rows), **cells(row)} for row in rows)
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in rows], name="run"))


def _range(low: str, high: str) -> str:
    return f"{low}\u2060\u2013\u2060{high}"


def times_table(rows: Rows) -> pd.DataFrame:
    """The measured times: medians, quartiles, limits, in ms; tokens per second of whole
    generations, all rows of the batch together.
    """

    def phase(row: Mapping, group: str, name: str, share: str) -> dict:
        quartiles = (_milliseconds(row[f"{name}_s_{quartile}"]) for quartile in ("q25", "q75"))
        return {
            (group, "ms"): _milliseconds(row[f"{name}_s"]),
            (group, "IQR, ms"): _range(*quartiles),
            (group, "limit, ms"): _milliseconds(row[f"{name}_limit_s"]),
            (group, share.upper()): f"{row[share]:.0%}",
        }

    def cells(row: Mapping) -> dict:
        decimals = 1 if row["tokens_per_s"] < 100 else 0
        return {
            **phase(row, "first token", "ttft", "mfu"),
            **phase(row, "each later token", "tpot", "mbu"),
            ("whole", "tokens/s"): f"{row['tokens_per_s']:,.{decimals}f}",
        }

    return _by_work(rows, cells)


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def memory_table(rows: Rows, described: Rows) -> pd.DataFrame:
    """Bytes per run and work in MB (10^6): weights and key-value cache, counted from the tensors
    and computed from the shape, and the measured peak.
    """
    widths = {width["run"]: width for width in described}

    def megabytes(count: int | None) -> str:
        return "not measurable here" if count is None else f"{count / 1e6:,.2f}"

    def cells(row: Mapping) -> dict:
        width = widths[row["run"]]
        computed = width["weights_bytes_computed"] + row["kv_cache_bytes_computed"]
        return {
            "run": row["run"],
            "work": job_name(row, rows),
            "weights, MB": megabytes(width["weights_bytes"]),
            "KV cache, MB": megabytes(row["kv_cache_bytes"]),
            "both, computed, MB": megabytes(computed),
            "measured peak, MB": megabytes(row["peak_memory_bytes"]),
        }

    return table_of(by_work(rows), "run", cells)


def checks_table(rows: Rows, tolerance: float = 0.05) -> pd.DataFrame:
    """Per row: tokens, spread of the repeats, and the sum of the parts against an end-to-end time.

    Every repeat runs a second time with the clock read only at its ends. Medians of the repeats.
    """

    def spread(row: Mapping, name: str) -> str:
        return f"{(row[f'{name}_q75'] - row[f'{name}_q25']) / row[name]:.0%}"

    def cells(row: Mapping) -> dict:
        ratio, generation = end_to_end_ratio(row), "one generation, ms"
        return {
            ("tokens", "asked"): row["batch_size"] * row["new_tokens"],
            ("tokens", "made"): row["tokens"],
            ("IQR / median", "first token"): spread(row, "ttft_s"),
            ("IQR / median", "later token"): spread(row, "tpot_s"),
            (generation, "sum of parts"): _milliseconds(row["total_s"]),
            (generation, "end to end"): _milliseconds(row["end_to_end_s"]),
            (generation, "ratio"): f"{ratio:.2f}",
            ("", f"within {tolerance:.0%}"): "yes" if abs(ratio - 1) <= tolerance else "no",
        }

    return _by_work(rows, cells)


def limits_table(rows: Rows) -> pd.DataFrame:
    """Per pass: arithmetic, bytes, the least time, and which of the two sets it."""

    def phase(row: Mapping, group: str, name: str) -> dict:
        return {
            (group, "GFLOP"): f"{row[f'{name}_flops'] / 1e9:,.3g}",
            (group, "MB read"): f"{row[f'{name}_bytes'] / 1e6:,.4g}",
            (group, "least, ms"): _milliseconds(row[f"{name}_limit_s"]),
            (group, "set by"): row[f"{name}_bound"],
        }

    return _by_work(
        rows, lambda row: phase(row, "prompt pass", "ttft") | phase(row, "decode step", "tpot")
    )


def energy_table(rows: Rows) -> pd.DataFrame:
    """Joules per token in mJ: in total, above idle, and of the GPU alone."""

    def millijoules(value: float) -> str:
        return f"{1e3 * value:,.4g}"

    def kind(row: Mapping, group: str, name: str) -> dict:
        values = [each[name] for each in row["repeats"]]
        shown = {
            (group, "all"): millijoules(row[name]),
            (group, "range"): _range(millijoules(min(values)), millijoules(max(values))),
            (group, "above idle"): millijoules(row[f"{name}_net"]),
        }
        if f"{name}_gpu" in row:
            shown[group, "GPU alone"] = millijoules(row[f"{name}_gpu"])
        return shown

    def cells(row: Mapping) -> dict:
        return {
            **kind(row, "per prompt token, mJ", "joules_per_prompt_token"),
            **kind(row, "per generated token, mJ", "joules_per_generated_token"),
            ("", "mean, W"): f"{row['mean_w']:,.1f}",
        }

    return _by_work(rows, cells)


def alignment_table(found: Rows) -> pd.DataFrame:
    """`ratios.alignment`: own time over aligned time."""
    return table_of(
        found,
        "asked",
        lambda row: {
            "asked": row["requested"],
            "neurons": f"{row['neurons']:,}",
            "multiple of": row["multiple"],
            "aligned": f"{row['aligned_neurons']:,}",
            "work": job_name(row, found),
            "phase": row["phase"],
            "time / aligned time": f"{row['ratio']:.2f}",
            "IQR": _range(f"{row['ratio_q25']:.2f}", f"{row['ratio_q75']:.2f}"),
            "by neurons alone": f"{row['limit_ratio']:.3f}",
            "measurable": "same width" if row["same"] else "yes" if row["differs"] else "no",
        },
    )
