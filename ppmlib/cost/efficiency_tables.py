"""Tables and sentences about time, memory and energy, for reading (notebook 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppmlib.cost.efficiency import end_to_end_ratio, job, job_name, speed_ups


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
            ("", "work"): job_name(row, rows),
            **cells(row, "first token, ms", "ttft_s", "ttft_limit_s", "mfu"),
            **cells(row, "each later token, ms", "tpot_s", "tpot_limit_s", "mbu"),
            ("", "tokens/s"): f"{row['tokens_per_s']:,.{1 if row['tokens_per_s'] < 100 else 0}f}",
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
        for row in rows
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
        for row in rows
    )
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in rows], name="run"))


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
        for row in rows
    )
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in rows], name="run"))


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
        for row in rows
    )
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(pd.Index([row["run"] for row in rows], name="run"))


def alignment_table(found: Sequence[Mapping[str, Any]]):
    """`efficiency.alignment` as a DataFrame for reading: own time over aligned time."""
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
        same = [g for g in gains if job(g) == job(gain) and g["phase"] == gain["phase"]]
        sentences.append(
            f"{job_name(gain, rows).capitalize()}, {gain['phase']}: {name} runs at "
            f"{gain['speed_up']:.2f} times the dense speed "
            f"[{gain['speed_up_q25']:.2f}, {gain['speed_up_q75']:.2f}]"
            f"{'' if gain['differs'] else ', no measurable difference'}; the limit would allow "
            f"{gain['limit_speed_up']:.2f}. {sum(g['differs'] for g in same)} of {len(same)} "
            "narrower widths differ measurably from dense."
        )
    for row in (r for r in rows if r["run"] == baseline):
        sentences.append(
            f"Dense, {job_name(row, rows)}: prefill takes {1 / row['mfu']:.1f} times as "
            f"long as its arithmetic needs at the measured matmul rate (MFU {row['mfu']:.0%}), "
            f"decode {1 / row['mbu']:.1f} times as long as reading weights and cache needs at the "
            f"measured copy bandwidth (MBU {row['mbu']:.0%})."
        )
    return [*sentences, *_checks(rows), *_memory(rows, dense, narrow, baseline)]


def _checks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    ratios = [end_to_end_ratio(row) for row in rows]
    sentences = [
        f"A generation timed only at its ends takes {np.median(ratios):.2f} times the sum of its "
        f"parts (median of {len(ratios)} rows; from {min(ratios):.2f} to {max(ratios):.2f})."
    ]
    seeds = sorted(set(rows[0]["repeats"]["prompt_seed"]))
    if len(seeds) > 1:
        apart = max(_between_prompt_sets(row, seeds) for row in rows)
        sentences.append(
            f"Over the {len(seeds)} prompt sets the medians of a generation differ by at most "
            f"{apart:.1%}: which tokens are read does not matter, how many does."
            if apart < 0.05
            else f"Over the {len(seeds)} prompt sets the medians of a generation differ by up to "
            f"{apart:.0%}, as much as a machine that is not quiet makes of equal work."
        )
    if all(row["preemptions"] is not None for row in rows):
        taken = sum(row["preemptions"] for row in rows)
        made = sum(len(row["repeats"]["total_s"]) for row in rows)
        sentences.append(
            f"Other processes took the core {taken} times during the {made} measured generations"
            f"{'; such times are upper bounds' * (taken > 0)}."
        )
    return sentences


def _between_prompt_sets(row: Mapping[str, Any], seeds: Sequence[int]) -> float:
    repeats = row["repeats"]
    pairs = list(zip(repeats["prompt_seed"], repeats["total_s"], strict=True))
    medians = [np.median([total for seed, total in pairs if seed == each]) for each in seeds]
    return float((max(medians) - min(medians)) / np.median(medians))


def _memory(rows, dense: Mapping, narrow: Mapping, baseline: str) -> list[str]:
    removed = 1 - narrow["parameters"] / dense["parameters"]
    cache = max((r for r in rows if r["run"] == baseline), key=lambda r: r["kv_cache_bytes"])
    return [
        f"Weights shrink from {dense['weights_bytes'] / 1e6:,.2f} to "
        f"{narrow['weights_bytes'] / 1e6:,.2f} MB ({removed:.0%} less); the key-value cache, "
        f"{cache['kv_cache_bytes'] / 1e6:,.2f} MB at {job_name(cache, rows)}, does not depend "
        "on the width."
    ]


def alignment_sentences(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What alignment is worth, per multiple and phase: how often, how much, and the noise."""
    sentences = []
    for multiple in sorted({row["multiple"] for row in found}):
        for phase in dict.fromkeys(row["phase"] for row in found):
            mine = [r for r in found if (r["multiple"], r["phase"]) == (multiple, phase)]
            apart = [row for row in mine if not row["same"]]
            if not apart:
                continue
            best = max(apart, key=lambda row: row["ratio"])
            faster = sum(row["differs"] and row["ratio"] > 1 for row in apart)
            sentences.append(
                f"Rounded down to a multiple of {multiple}, {phase}: measurably faster in {faster} "
                f"of {len(apart)} comparisons, {np.median([r['ratio'] for r in apart]):.2f} times "
                f"the speed in the middle and {best['ratio']:.2f} times at the most "
                f"({best['neurons']:,} against {best['aligned_neurons']:,} neurons, "
                f"{job_name(best, found)}; {best['limit_ratio']:.3f} by the neurons alone)."
            )
    same = [abs(row["ratio"] - 1) for row in found if row["same"]]
    if same:
        sentences.append(
            f"{len(same)} comparisons are of a width with itself, aligned already: they differ by "
            f"up to {max(same):.1%}, which is noise."
        )
    return sentences


def energy_sentences(
    measured: Mapping[str, Any], described: Sequence[Mapping[str, Any]], baseline: str
) -> list[str]:
    """Idle power, and joules per token of the dense and the narrowest model."""
    if not measured["rows"]:
        return []
    idle = [each["all"] for each in measured["idle_w"]]
    narrow = min(described, key=lambda w: w["intermediate_size"])["run"]
    rows = {(row["run"], *job(row)): row for row in measured["rows"]}
    sentences = [
        f"Idle, with the model loaded, draws {np.median(idle):.1f} W ({min(idle):.1f} to "
        f"{max(idle):.1f} W over {len(idle)} windows)."
    ]
    for row in measured["rows"]:
        if row["run"] != baseline:
            continue
        other = rows[narrow, *job(row)]
        for name, what in (("prompt", "prompt"), ("generated", "generated")):
            key = f"joules_per_{name}_token"
            sentences.append(
                f"{job_name(row, measured['rows']).capitalize()}: {1e3 * row[key]:.3g} mJ per "
                f"{what} token dense, {1e3 * other[key]:.3g} mJ at {narrow} "
                f"({100 * (other[key] / row[key] - 1):+.1f}%)."
            )
    return sentences
