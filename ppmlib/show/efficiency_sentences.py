"""Sentences computed from the profiling rows (notebooks 4 and 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppmlib.profile.ratios import end_to_end_ratio, job, job_name, speed_ups


def rates_sentence(rates: Mapping[str, float], dtype: str) -> str:
    """The measured rates of the device, and whether it is made for `dtype`."""
    own, float32 = rates["matmul_flop_per_s"], rates["matmul_flop_per_s_float32"]
    other = "" if dtype == "float32" else f" (float32: {float32 / 1e9:,.0f})"
    slow = (
        f" {dtype} is slower than float32 here, probably because it is emulated: this measurement "
        f"says little about devices that support {dtype}."
    )
    return (
        f"This device copies {rates['copy_bytes_per_s'] / 1e9:,.1f} GB/s (read and write counted) "
        f"and multiplies {dtype} matrices at {own / 1e9:,.0f} GFLOP/s{other}: the faster of "
        f"two measurements, before and after the timing.{slow * (own < float32)}"
    )


def conclusions(
    rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]], baseline: str
) -> list[str]:
    """The conclusions of the profiling: speed at the narrowest width, utilisation, memory."""
    widths = {width["run"]: width for width in described}
    dense, narrow = widths[baseline], min(described, key=lambda w: w["intermediate_size"])
    removed = 1 - narrow["parameters"] / dense["parameters"]
    name = f"{narrow['run']} ({narrow['expansion_ratio']:.2f}x, {removed:.0%} fewer parameters)"
    gains = speed_ups(rows, baseline)
    sentences = []
    for gain in (g for g in gains if g["run"] == narrow["run"]):
        same = [g for g in gains if job(g) == job(gain) and g["phase"] == gain["phase"]]
        sentences.append(
            f"{job_name(gain, rows).capitalize()}, {gain['phase']}: {name} runs at "
            f"{gain['speed_up']:.2f} times the dense speed "
            f"[{gain['speed_up_q25']:.2f}, {gain['speed_up_q75']:.2f}]"
            f"{'' if gain['differs'] else ', no measurable difference'}; the hardware limit would "
            f"allow {gain['limit_speed_up']:.2f}. {sum(g['differs'] for g in same)} of {len(same)} "
            "narrower widths differ measurably from dense."
        )
    sentences.append(
        "A difference counts as measurable when the interquartile ranges of the two times are "
        "apart and every round agrees on its direction."
    )
    for row in (r for r in rows if r["run"] == baseline):
        sentences.append(
            f"Dense, {job_name(row, rows)}: prefill takes {1 / row['mfu']:.1f} times as "
            f"long as its arithmetic needs at the measured matmul rate (MFU {row['mfu']:.0%}), "
            f"decode {1 / row['mbu']:.1f} times as long as reading weights and cache needs at the "
            f"measured copy bandwidth (MBU {row['mbu']:.0%})."
        )
    return [*sentences, *_beyond(rows), *_checks(rows), *_memory(rows, dense, narrow, baseline)]


def _beyond(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    faster = [
        row[f"{phase}_limit_s"] / row[f"{phase}_s"]
        for row in rows
        for phase in ("ttft", "tpot")
        if row[f"{phase}_s"] < row[f"{phase}_limit_s"]
    ]
    if not faster:
        return []
    return [
        f"{len(faster)} of {2 * len(rows)} times are shorter than their limit, by a factor of up "
        f"to {max(faster):.2f}: weights that stay in a cache need no copying from memory, and a "
        "rate measured while other processes ran is too low. These limits are not valid."
    ]


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
            f"{apart:.1%}: time depends on the number of tokens, not on which tokens they are."
            if apart < 0.05
            else f"Over the {len(seeds)} prompt sets the medians of a generation differ by up to "
            f"{apart:.0%}, about as much as other load on the machine causes."
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
    """The effect of alignment, per multiple and phase: how often, how much, and the noise."""
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
                f"the speed in the median and {best['ratio']:.2f} times at most "
                f"({best['neurons']:,} against {best['aligned_neurons']:,} neurons, "
                f"{job_name(best, found)}; {best['limit_ratio']:.3f} by the neurons alone)."
            )
    same = [abs(row["ratio"] - 1) for row in found if row["same"]]
    if same:
        sentences.append(
            f"{len(same)} comparisons are of a width with itself (it is aligned already): they "
            f"differ by up to {max(same):.1%}, which is noise."
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
