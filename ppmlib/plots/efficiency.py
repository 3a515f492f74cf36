"""Time, speed, memory and energy against width (notebooks 4 and 5)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.cost.efficiency import job, job_name
from ppmlib.plots import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure

PHASES = {
    "ttft_s": ("First token (prefill)", "ttft_limit_s"),
    "tpot_s": ("Each later token (decode)", "tpot_limit_s"),
}
SPEED_PHASES = {"prefill": "First token (prefill)", "decode": "Each later token (decode)"}


def _joined(rows: Sequence[Mapping], described: Sequence[Mapping]) -> pd.DataFrame:
    """Rows with their widths, wide last; only those of the study's own `keep_multiple_of`."""
    own = described[0]["keep_multiple_of"]
    flat = pd.DataFrame(rows).drop(columns="repeats")
    flat["work"] = [job_name(row, rows) for row in rows]
    table = flat.merge(pd.DataFrame(described), on="run")
    return table[table["keep_multiple_of"] == own].sort_values("expansion_ratio")


def times(
    rows: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    *,
    root: Path | None = None,
    name: str = "times",
) -> Figure:
    """Time to first token and time per later token against expansion ratio, with their limits.

    Args:
        rows: measured rows with limits (`efficiency.add_limits`).
        described: `Widths.describe` of every run.
        root, name: as `plots.figure`.
    """
    table = _joined(rows, described)
    fig, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, (key, (title, limit)) in zip(axes, PHASES.items(), strict=True):
        for (work, part), color, marker in zip(
            table.groupby("work", sort=False), PALETTE, MARKERS, strict=False
        ):
            median = 1e3 * part[key]
            error = [median - 1e3 * part[f"{key}_q25"], 1e3 * part[f"{key}_q75"] - median]
            axis.errorbar(
                part["expansion_ratio"], median, yerr=error, color=color, marker=marker,
                capsize=3, capthick=1.5, label=work,
            )  # fmt: skip
            axis.plot(part["expansion_ratio"], 1e3 * part[limit], **CHANCE | {"color": color})
        axis.plot([], [], **CHANCE, label="hardware limit")
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set(title=title, xlabel="expansion ratio", ylabel="milliseconds")
        axis.set_ylim(bottom=0)
    _legend(fig, axes[1])
    return figure(
        fig,
        name=name,
        title="Time against width: median and interquartile range of the repeats, same work for "
        "every width; dotted: the least time the device's measured rates allow.",
        alt=_times_alt(table),
        table=table.set_index(["run", "work"]),
        root=root,
    )


def _times_alt(table: pd.DataFrame) -> str:
    parts = []
    for work, part in table.groupby("work", sort=False):
        ends = part.iloc[[-1, 0]]
        for key, what in (("ttft_s", "first token"), ("tpot_s", "each later token")):
            dense, narrow = 1e3 * ends[key]
            parts.append(f"{work}, {what}: {dense:.3g} ms dense, {narrow:.3g} ms narrowest")
    return "Two line charts of milliseconds against expansion ratio; " + "; ".join(parts) + "."


def _legend(fig, axis, columns: int = 4) -> None:
    handles, labels = axis.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def memory(
    rows: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    *,
    root: Path | None = None,
    name: str = "memory",
) -> Figure:
    """Bytes of weights and, stacked on them, of the key-value cache, per width and batch size.

    Of several workloads the one with the largest cache is drawn.
    """
    largest = max(rows, key=lambda row: row["kv_cache_bytes"])["workload"]
    table = _joined(rows, described)
    table = table[table["workload"] == largest]
    batches = sorted(table["batch_size"].unique())
    fig, axes = plt.subplots(1, len(batches), figsize=(10, 3.6), sharey=True, squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        part = table[table["batch_size"] == batch]
        labels = [f"{ratio:.2f}x" for ratio in part["expansion_ratio"]]
        weights, cache = part["weights_bytes"] / 1e6, part["kv_cache_bytes"] / 1e6
        axis.bar(labels, weights, color=PALETTE[0], label="weights")
        axis.bar(labels, cache, bottom=weights, color=PALETTE[4], hatch="//", label="KV cache")
        axis.set(title=f"Batch {batch}", xlabel="expansion ratio")
    axes[0, 0].set_ylabel("MB")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    dense, narrow = (table["weights_bytes"].iloc[i] / 1e6 for i in (-1, 0))
    cache = table["kv_cache_bytes"].max() / 1e6
    return figure(
        fig,
        name=name,
        title="Memory against width: weights and key-value cache, counted from the tensors.",
        alt="Stacked bars of megabytes per expansion ratio: weights fall from "
        f"{dense:.3g} MB dense to {narrow:.3g} MB at the narrowest width; the key-value cache is "
        f"at most {cache:.3g} MB and the same for every width.",
        table=table.set_index(["run", "batch_size"])[["weights_bytes", "kv_cache_bytes"]],
        root=root,
    )


def speed(
    gains: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    *,
    dense: str,
    root: Path | None = None,
    name: str = "speed",
) -> Figure:
    """Speed against the share of parameters removed, prefill and decode apart, with the limit.

    Args:
        gains: `efficiency.speed_ups`. described: the widths, the dense run among them.
        dense: the run whose speed is 1. root, name: as `plots.figure`.
    """
    parameters = {width["run"]: width["parameters"] for width in described}
    own = {w["run"] for w in described if w["keep_multiple_of"] == described[0]["keep_multiple_of"]}
    table = pd.DataFrame([gain for gain in gains if gain["run"] in own])
    table["work"] = [job_name(gain, gains) for gain in table.to_dict("records")]
    table["removed"] = [100 * (1 - parameters[run] / parameters[dense]) for run in table["run"]]
    table = table.sort_values("removed")
    fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, (phase, title) in zip(axes, SPEED_PHASES.items(), strict=True):
        axis.axhline(1, **BASELINE, label="dense")
        mine = table[table["phase"] == phase]
        for (work, part), color, marker in zip(
            mine.groupby("work", sort=False), PALETTE, MARKERS, strict=False
        ):
            low = part["speed_up"] - part["speed_up_q25"]
            high = part["speed_up_q75"] - part["speed_up"]
            axis.errorbar(
                part["removed"], part["speed_up"], yerr=[low, high], color=color, marker=marker,
                capsize=3, capthick=1.5, label=work,
            )  # fmt: skip
            ends = [0, *part["removed"]], [1, *part["limit_speed_up"]]
            axis.plot(*ends, **CHANCE | {"color": color})
        axis.plot([], [], **CHANCE, label="the limit's own speed-up")
        axis.set(title=title, xlabel="parameters removed, %")
    axes[0].set_ylabel("speed, dense = 1")
    _legend(fig, axes[1])
    last = table[table["removed"] == table["removed"].max()]
    words = "; ".join(f"{r.phase}, {r.work} {r.speed_up:.2f} times" for r in last.itertuples())
    return figure(
        fig,
        name=name,
        title="Speed against parameters removed: median and interquartile range over the rounds; "
        "dotted: how much faster the hardware's limit itself becomes.",
        alt="Two line charts of speed against the share of parameters removed; at the most: "
        f"{words} the dense speed.",
        table=table.set_index(["run", "work", "phase"]),
        root=root,
    )


def alignment(
    found: Sequence[Mapping[str, Any]], *, root: Path | None = None, name: str = "alignment"
) -> Figure:
    """Time at the study's own widths over the time at aligned ones, with interquartile ranges.

    Args:
        found: `efficiency.alignment`. root, name: as `plots.figure`.
    """
    table = pd.DataFrame(found)
    table["work"] = [job_name(row, found) for row in found]
    asked = list(dict.fromkeys(table["requested"]))
    fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    groups = list(dict.fromkeys(zip(table["work"], table["multiple"], strict=True)))
    for axis, (phase, title) in zip(axes, SPEED_PHASES.items(), strict=True):
        axis.axhline(1, **BASELINE, label="no difference")
        for place, (work, multiple) in enumerate(groups):
            mine = (table["phase"] == phase) & (table["work"] == work)
            part = table[mine & (table["multiple"] == multiple)]
            shift = 0.6 * ((place + 0.5) / len(groups) - 0.5)
            low, high = part["ratio"] - part["ratio_q25"], part["ratio_q75"] - part["ratio"]
            axis.errorbar(
                [asked.index(each) + shift for each in part["requested"]], part["ratio"],
                yerr=[low, high], linestyle="none", capsize=2,
                label=f"{work}, multiple of {multiple}",
                color=PALETTE[place % len(PALETTE)], marker=MARKERS[place % len(MARKERS)],
            )  # fmt: skip
        axis.set_xticks(np.arange(len(asked)), asked)
        axis.set(title=title, xlabel="pruning ratio asked for")
    axes[0].set_ylabel("time / time when aligned")
    _legend(fig, axes[1], columns=3)
    largest = table.loc[table["ratio"].idxmax()]
    return figure(
        fig,
        name=name,
        title="What odd widths cost: time at the study's own widths over the time at the same "
        "ratio rounded down to a multiple; above 1, alignment pays.",
        alt=f"Two charts of time ratios for {len(asked)} pruning ratios; the largest is "
        f"{largest['ratio']:.2f} ({largest['phase']}, {largest['work']}, "
        f"{largest['neurons']} against {largest['aligned_neurons']} neurons).",
        table=table.set_index(["requested", "multiple", "work", "phase"]),
        root=root,
    )


def energy(
    rows: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    *,
    root: Path | None = None,
    name: str = "energy",
) -> Figure:
    """Joules per prompt token and per generated token against expansion ratio, with the range.

    Args:
        rows: those of `energy.measure`, at least one. described: the widths.
        root, name: as `plots.figure`.
    """
    table = _joined(rows, described)
    repeats = {(row["run"], *job(row)): row["repeats"] for row in rows}
    fig, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, what in zip(axes, ("prompt", "generated"), strict=True):
        key = f"joules_per_{what}_token"
        for (work, part), color, marker in zip(
            table.groupby("work", sort=False), PALETTE, MARKERS, strict=False
        ):
            values = [[1e3 * each[key] for each in repeats[r.run, r.workload, r.batch_size]]
                      for r in part.itertuples()]  # fmt: skip
            middle = 1e3 * part[key]
            axis.errorbar(
                part["expansion_ratio"], middle, color=color, marker=marker, capsize=3, label=work,
                yerr=[middle - [min(v) for v in values], [max(v) for v in values] - middle],
            )  # fmt: skip
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set(title=f"Per {what} token", xlabel="expansion ratio", ylabel="millijoules")
        axis.set_ylim(bottom=0)
    _legend(fig, axes[1])
    ends = table.iloc[[-1, 0]]["joules_per_generated_token"] * 1e3
    return figure(
        fig,
        name=name,
        title="Energy against width: median and range of the windows, idle power included.",
        alt="Two line charts of millijoules per token against expansion ratio; per generated token "
        f"{ends.iloc[0]:.3g} mJ dense and {ends.iloc[1]:.3g} mJ at the narrowest width.",
        table=table.set_index(["run", "work"]),
        root=root,
    )
