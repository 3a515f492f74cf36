"""Tables about time, memory and energy, for reading (notebook 4): work by work, widest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from ppmlib.profile.ratios import by_work, end_to_end_ratio, job_name


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
    """The measured times as a DataFrame for reading: medians, quartiles, limits, in ms; tokens per
    second of whole generations, all rows of the batch together.
    """
    import pandas as pd

    def cells(row: Mapping, group: str, name: str, limit: str, share: str) -> dict:
        low, high = (_milliseconds(row[f"{name}_{quartile}"]) for quartile in ("q25", "q75"))
        return {
            (group, "ms"): _milliseconds(row[name]),
            (group, "IQR, ms"): f"{low}\u2060\u2013\u2060{high}",
            (group, "limit, ms"): _milliseconds(row[limit]),
            (group, share.upper()): f"{row[share]:.0%}",
        }

    table = pd.DataFrame(
        {
            ("", "work"): job_name(row, rows),
            **cells(row, "first token", "ttft_s", "ttft_limit_s", "mfu"),
            **cells(row, "each later token", "tpot_s", "tpot_limit_s", "mbu"),
            (
                "whole",
                "tokens/s",
            ): f"{row['tokens_per_s']:,.{1 if row['tokens_per_s'] < 100 else 0}f}",
        }
        for row in by_work(rows)
    )
    return _under_two_headers(table, rows)


def _under_two_headers(table, rows: Sequence[Mapping[str, Any]]):
    import pandas as pd

    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in by_work(rows)], name="run"))


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def memory_table(rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]]):
    """Bytes per run and work in MB (10^6): weights and key-value cache, counted from the tensors
    and computed from the shape, and the measured peak.
    """
    import pandas as pd

    widths = {width["run"]: width for width in described}

    def megabytes(count: int | None) -> str:
        return "not measurable here" if count is None else f"{count / 1e6:,.2f}"

    return pd.DataFrame(
        {
            "run": row["run"],
            "work": job_name(row, rows),
            "weights, MB": megabytes(widths[row["run"]]["weights_bytes"]),
            "KV cache, MB": megabytes(row["kv_cache_bytes"]),
            "both, computed, MB": megabytes(
                widths[row["run"]]["weights_bytes_computed"] + row["kv_cache_bytes_computed"]
            ),
            "measured peak, MB": megabytes(row["peak_memory_bytes"]),
        }
        for row in by_work(rows)
    ).set_index("run")


def checks_table(rows: Sequence[Mapping[str, Any]], tolerance: float = 0.05):
    """Per row: tokens asked and made, spread of the repeats, parts against an end-to-end timing.

    Every repeat is made a second time with the clock read only at its ends, and held against the
    sum of that repeat's parts. Medians of the repeats.
    """
    import pandas as pd

    def spread(row, name: str) -> str:
        return f"{(row[f'{name}_q75'] - row[f'{name}_q25']) / row[name]:.0%}"

    generation = "one generation, ms"
    table = pd.DataFrame(
        {
            ("", "work"): job_name(row, rows),
            ("tokens", "asked"): row["batch_size"] * row["new_tokens"],
            ("tokens", "made"): row["tokens"],
            ("IQR / median", "first token"): spread(row, "ttft_s"),
            ("IQR / median", "later token"): spread(row, "tpot_s"),
            (generation, "sum of parts"): _milliseconds(row["total_s"]),
            (generation, "end to end"): _milliseconds(row["end_to_end_s"]),
            (generation, "ratio"): f"{end_to_end_ratio(row):.2f}",
            ("", f"within {tolerance:.0%}"): (
                "yes" if abs(end_to_end_ratio(row) - 1) <= tolerance else "no"
            ),
        }
        for row in by_work(rows)
    )
    return _under_two_headers(table, rows)


def limits_table(rows: Sequence[Mapping[str, Any]]):
    """What a pass needs, as a DataFrame for reading: arithmetic, bytes, least time, what binds."""
    import pandas as pd

    def cells(row: Mapping, group: str, phase: str) -> dict:
        return {
            (group, "GFLOP"): f"{row[f'{phase}_flops'] / 1e9:,.3g}",
            (group, "MB read"): f"{row[f'{phase}_bytes'] / 1e6:,.4g}",
            (group, "least, ms"): _milliseconds(row[f"{phase}_limit_s"]),
            (group, "set by"): row[f"{phase}_bound"],
        }

    table = pd.DataFrame(
        {
            ("", "work"): job_name(row, rows),
            **cells(row, "prompt pass", "ttft"),
            **cells(row, "decode step", "tpot"),
        }
        for row in by_work(rows)
    )
    return _under_two_headers(table, rows)


def energy_table(rows: Sequence[Mapping[str, Any]]):
    """Joules per token as a DataFrame for reading, in mJ: all that was counted, above idle, GPU."""
    import pandas as pd

    def cells(row: Mapping, group: str, name: str) -> dict:
        values = [each[name] for each in row["repeats"]]
        shown = {
            (group, "all"): f"{1e3 * row[name]:,.4g}",
            (group, "range"): f"{1e3 * min(values):,.4g}\u2060\u2013\u2060{1e3 * max(values):,.4g}",
            (group, "above idle"): f"{1e3 * row[f'{name}_net']:,.4g}",
        }
        if f"{name}_gpu" in row:
            shown[group, "GPU alone"] = f"{1e3 * row[f'{name}_gpu']:,.4g}"
        return shown

    table = pd.DataFrame(
        {
            ("", "work"): job_name(row, rows),
            **cells(row, "per prompt token, mJ", "joules_per_prompt_token"),
            **cells(row, "per generated token, mJ", "joules_per_generated_token"),
            ("", "mean, W"): f"{row['mean_w']:,.1f}",
        }
        for row in by_work(rows)
    )
    return _under_two_headers(table, rows)


def alignment_table(found: Sequence[Mapping[str, Any]]):
    """`ratios.alignment` as a DataFrame for reading: own time over aligned time."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "asked": row["requested"],
            "neurons": f"{row['neurons']:,}",
            "multiple of": row["multiple"],
            "aligned": f"{row['aligned_neurons']:,}",
            "work": job_name(row, found),
            "phase": row["phase"],
            "time / aligned time": f"{row['ratio']:.2f}",
            "IQR": f"{row['ratio_q25']:.2f}\u2060\u2013\u2060{row['ratio_q75']:.2f}",
            "by neurons alone": f"{row['limit_ratio']:.3f}",
            "measurable": "same width" if row["same"] else "yes" if row["differs"] else "no",
        }
        for row in found
    )
    return table.set_index("asked")
