"""Tables about time, memory and energy, for reading (notebook 4): work by work, widest first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ppmlib.profile.ratios import by_work, end_to_end_ratio, job_name
from ppmlib.show.table import Cell, table_of

Rows = Sequence[Mapping[str, Any]]


def widths_table(described: Rows) -> pd.DataFrame:
    """The widths: ratios, neurons, parameters, bytes of weights."""
    columns = {
        "run": "{run}",
        "neurons per layer": "{intermediate_size}",
        "removed": "{pruning_ratio:.1%}",
        "expansion ratio": "{expansion_ratio:.2f}x",
        "parameters": "{parameters:,}",
        "weights, MB": lambda width: _megabytes(width["weights_bytes"]),
    }
    return table_of(described, "run", columns)


def _by_work(rows: Rows, columns: Mapping[tuple[str, str], Cell]) -> pd.DataFrame:
    """A table with two rows of headers: the work, then the columns by (group, name), by run."""
    rows = by_work(rows)
    named = [dict(row, work=job_name(row, rows)) for row in rows]
    table = table_of(named, [], {("", "run"): "{run}", ("", "work"): "{work}", **columns})
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(("", "run")).rename_axis("run")


def _range(low: str, high: str) -> str:
    return f"{low}\u2060\u2013\u2060{high}"


def _megabytes(count: int | None) -> str:
    return "not measurable here" if count is None else f"{count / 1e6:,.2f}"


def _milliseconds(name: str) -> Callable[[Mapping], str]:
    """The cell of a column of seconds, in milliseconds with three digits or all before the dot."""

    def cell(row: Mapping) -> str:
        value = 1e3 * row[name]
        decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
        return f"{value:,.{decimals}f}"

    return cell


def times_table(rows: Rows) -> pd.DataFrame:
    """The measured times: medians, quartiles, limits, in ms; tokens per second of whole
    generations, all rows of the batch together.
    """

    def phase(group: str, name: str, share: str) -> dict:
        low, high = (_milliseconds(f"{name}_s_{quartile}") for quartile in ("q25", "q75"))
        return {
            (group, "ms"): _milliseconds(f"{name}_s"),
            (group, "IQR, ms"): lambda row: _range(low(row), high(row)),
            (group, "limit, ms"): _milliseconds(f"{name}_limit_s"),
            (group, share.upper()): f"{{{share}:.0%}}",
        }

    def rate(row: Mapping) -> str:
        return f"{row['tokens_per_s']:,.{1 if row['tokens_per_s'] < 100 else 0}f}"

    columns = phase("first token", "ttft", "mfu") | phase("each later token", "tpot", "mbu")
    return _by_work(rows, columns | {("whole", "tokens/s"): rate})


def memory_table(rows: Rows, described: Rows) -> pd.DataFrame:
    """Bytes per run and work in MB (10^6): weights and key-value cache, counted from the tensors
    and computed from the shape, and the measured peak.
    """
    widths = {width["run"]: width for width in described}

    def computed(row: Mapping) -> str:
        weights = widths[row["run"]]["weights_bytes_computed"]
        return _megabytes(weights + row["kv_cache_bytes_computed"])

    columns = {
        "run": "{run}",
        "work": lambda row: job_name(row, rows),
        "weights, MB": lambda row: _megabytes(widths[row["run"]]["weights_bytes"]),
        "KV cache, MB": lambda row: _megabytes(row["kv_cache_bytes"]),
        "both, computed, MB": computed,
        "measured peak, MB": lambda row: _megabytes(row["peak_memory_bytes"]),
    }
    return table_of(by_work(rows), "run", columns)


def checks_table(rows: Rows, tolerance: float = 0.05) -> pd.DataFrame:
    """Per row: tokens, spread of the repeats, and the sum of the parts against an end-to-end time.

    Every repeat runs a second time with the clock read only at its ends. Medians of the repeats.
    """

    def spread(name: str) -> Callable[[Mapping], str]:
        return lambda row: f"{(row[f'{name}_q75'] - row[f'{name}_q25']) / row[name]:.0%}"

    generation = "one generation, ms"
    columns = {
        ("tokens", "asked"): lambda row: row["batch_size"] * row["new_tokens"],
        ("tokens", "made"): "{tokens}",
        ("IQR / median", "first token"): spread("ttft_s"),
        ("IQR / median", "later token"): spread("tpot_s"),
        (generation, "sum of parts"): _milliseconds("total_s"),
        (generation, "end to end"): _milliseconds("end_to_end_s"),
        (generation, "ratio"): lambda row: f"{end_to_end_ratio(row):.2f}",
        ("", f"within {tolerance:.0%}"): lambda row: (
            "yes" if abs(end_to_end_ratio(row) - 1) <= tolerance else "no"
        ),
    }
    return _by_work(rows, columns)


def limits_table(rows: Rows) -> pd.DataFrame:
    """Per pass: arithmetic, bytes, the least time, and which of the two sets it."""

    def phase(group: str, name: str) -> dict:
        return {
            (group, "GFLOP"): lambda row: f"{row[f'{name}_flops'] / 1e9:,.3g}",
            (group, "MB read"): lambda row: f"{row[f'{name}_bytes'] / 1e6:,.4g}",
            (group, "least, ms"): _milliseconds(f"{name}_limit_s"),
            (group, "set by"): f"{{{name}_bound}}",
        }

    return _by_work(rows, phase("prompt pass", "ttft") | phase("decode step", "tpot"))


def energy_table(rows: Rows) -> pd.DataFrame:
    """Joules per token in mJ: in total, above idle, and of the GPU alone."""

    def millijoules(value: float) -> str:
        return f"{1e3 * value:,.4g}"

    def kind(group: str, name: str) -> dict:
        def ends(row: Mapping) -> str:
            values = [each[name] for each in row["repeats"]]
            return _range(millijoules(min(values)), millijoules(max(values)))

        shown = {
            (group, "all"): lambda row: millijoules(row[name]),
            (group, "range"): ends,
            (group, "above idle"): lambda row: millijoules(row[f"{name}_net"]),
        }
        if all(f"{name}_gpu" in row for row in rows):
            shown[group, "GPU alone"] = lambda row: millijoules(row[f"{name}_gpu"])
        return shown

    return _by_work(
        rows,
        kind("per prompt token, mJ", "joules_per_prompt_token")
        | kind("per generated token, mJ", "joules_per_generated_token")
        | {("", "mean, W"): "{mean_w:,.1f}"},
    )


def alignment_table(found: Rows) -> pd.DataFrame:
    """`ratios.alignment`: own time over aligned time."""
    columns = {
        "asked": "{requested}",
        "neurons": "{neurons:,}",
        "multiple of": "{multiple}",
        "aligned": "{aligned_neurons:,}",
        "work": lambda row: job_name(row, found),
        "phase": "{phase}",
        "time / aligned time": "{ratio:.2f}",
        "IQR": _range("{ratio_q25:.2f}", "{ratio_q75:.2f}"),
        "by neurons alone": "{limit_ratio:.3f}",
        "measurable": lambda row: (
            "same width" if row["same"] else "yes" if row["differs"] else "no"
        ),
    }
    return table_of(found, "asked", columns)
