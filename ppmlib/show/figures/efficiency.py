"""Time, speed, memory and energy against width (notebooks 4 and 5).

One row of charts per workload, prefill and decode side by side, one line per batch size.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from ppmlib.profile.ratios import job, job_name
from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure

PHASES = {"prefill": "First token (prefill)", "decode": "Each later token (decode)"}
ENERGY = {"prefill": "Per prompt token", "decode": "Per generated token"}
LOG_FROM = 40  # times the smallest value: below the largest, it would lie on the axis


def _joined(rows: Sequence[Mapping], described: Sequence[Mapping]) -> pd.DataFrame:
    """Rows with their widths, wide last; only those of the study's own `keep_multiple_of`."""
    own = described[0]["keep_multiple_of"]
    flat = pd.DataFrame(rows).drop(columns="repeats")
    flat["work"] = [job_name(row, rows) for row in rows]
    table = flat.merge(pd.DataFrame(described), on="run")
    return table[table["keep_multiple_of"] == own].sort_values("expansion_ratio", kind="stable")


def times(
    rows: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    *,
    root: Path | None = None,
    name: str = "times",
) -> Figure:
    """Time to first token and time per later token against expansion ratio, with their limits.

    Args:
        rows: measured rows with limits (`limits.add_limits`).
        described: `Widths.describe` of every run.
        root, name: as `figures.figure`.
    """
    table = _joined(rows, described)
    fig, axes, panels = _panels(table)
    for axis, part, phase in panels:
        key = {"prefill": "ttft", "decode": "tpot"}[phase]
        for batch, line, look in _lines(part):
            median = 1e3 * line[f"{key}_s"]
            error = [median - 1e3 * line[f"{key}_s_q25"], 1e3 * line[f"{key}_s_q75"] - median]
            axis.errorbar(line["expansion_ratio"], median, yerr=error, **look, label=batch)
            limit = 1e3 * line[f"{key}_limit_s"]
            axis.plot(line["expansion_ratio"], limit, **CHANCE | {"color": look["color"]})
        axis.plot([], [], **CHANCE, label="hardware limit")
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set(xlabel="expansion ratio", ylabel="milliseconds")
        _from_zero_or_log(axis, part[[f"{key}_s", f"{key}_limit_s"]])
    _legend(fig, axes)
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


def _panels(table: pd.DataFrame, titles: Mapping[str, str] = PHASES, *, sharey: bool = False):
    """A figure of two charts per workload: it, its axes, and (axis, rows, phase) of each chart."""
    workloads = list(dict.fromkeys(table["workload"]))
    size = (10, 3.4 * len(workloads) + 0.6)
    fig, axes = plt.subplots(len(workloads), 2, figsize=size, squeeze=False, sharey=sharey)
    panels = []
    for line, workload in zip(axes, workloads, strict=True):
        for axis, (phase, title) in zip(line, titles.items(), strict=True):
            named = f"{workload}: {title[0].lower()}{title[1:]}" if len(workloads) > 1 else title
            axis.set_title(named)
            panels.append((axis, table[table["workload"] == workload], phase))
    return fig, axes, panels


def _lines(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Per batch size: its name, its rows, and how its line looks."""
    for (batch, part), color, marker in zip(
        table.groupby("batch_size"), cycle(PALETTE), cycle(MARKERS), strict=False
    ):
        look = {"color": color, "marker": marker, "capsize": 3, "capthick": 1.5}
        yield f"batch {batch}", part, look


def _from_zero_or_log(axis, drawn: pd.DataFrame) -> None:
    if drawn.max(axis=None) < LOG_FROM * drawn.min(axis=None):
        axis.set_ylim(bottom=0)
        return
    axis.set_yscale("log")
    axis.set_ylabel(f"{axis.get_ylabel()}, log scale")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _legend(fig, axes, columns: int = 4) -> None:
    handles, labels = axes[0, 1].get_legend_handles_labels()
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
        gains: `ratios.speed_ups`. described: the widths, the dense run among them.
        dense: the run whose speed is 1. root, name: as `figures.figure`.
    """
    parameters = {width["run"]: width["parameters"] for width in described}
    own = {w["run"] for w in described if w["keep_multiple_of"] == described[0]["keep_multiple_of"]}
    table = pd.DataFrame([gain for gain in gains if gain["run"] in own])
    table["work"] = [job_name(gain, gains) for gain in table.to_dict("records")]
    table["removed"] = [100 * (1 - parameters[run] / parameters[dense]) for run in table["run"]]
    table = table.sort_values("removed", kind="stable")
    fig, axes, panels = _panels(table, sharey=True)
    for axis, part, phase in panels:
        axis.axhline(1, **BASELINE, label="dense")
        for batch, line, look in _lines(part[part["phase"] == phase]):
            low = line["speed_up"] - line["speed_up_q25"]
            high = line["speed_up_q75"] - line["speed_up"]
            axis.errorbar(line["removed"], line["speed_up"], yerr=[low, high], **look, label=batch)
            ends = [0, *line["removed"]], [1, *line["limit_speed_up"]]
            axis.plot(*ends, **CHANCE | {"color": look["color"]})
        axis.plot([], [], **CHANCE, label="the limit's own speed-up")
        axis.set(xlabel="parameters removed, %")
    for axis in axes[:, 0]:
        axis.set_ylabel("speed, dense = 1")
    _legend(fig, axes)
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
        found: `ratios.alignment`. root, name: as `figures.figure`.
    """
    table = pd.DataFrame(found)
    table["work"] = [job_name(row, found) for row in found]
    asked = list(dict.fromkeys(table["requested"]))
    groups = list(dict.fromkeys(zip(table["batch_size"], table["multiple"], strict=True)))
    fig, axes, panels = _panels(table, sharey=True)
    for axis, rows, phase in panels:
        axis.axhline(1, **BASELINE, label="no difference")
        for place, ((batch, multiple), color, marker) in enumerate(
            zip(groups, cycle(PALETTE), cycle(MARKERS), strict=False)
        ):
            mine = (rows["phase"] == phase) & (rows["batch_size"] == batch)
            part = rows[mine & (rows["multiple"] == multiple)]
            shift = 0.6 * ((place + 0.5) / len(groups) - 0.5)
            low, high = part["ratio"] - part["ratio_q25"], part["ratio_q75"] - part["ratio"]
            axis.errorbar(
                [asked.index(each) + shift for each in part["requested"]], part["ratio"],
                yerr=[low, high], linestyle="none", capsize=2, color=color, marker=marker,
                label=f"batch {batch}, multiple of {multiple}",
            )  # fmt: skip
        axis.set_xticks(np.arange(len(asked)), asked)
        axis.set(xlabel="pruning ratio asked for")
    for axis in axes[:, 0]:
        axis.set_ylabel("time / time when aligned")
    _legend(fig, axes, columns=3)
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
        root, name: as `figures.figure`.
    """
    table = _joined(rows, described)
    repeats = {(row["run"], *job(row)): row["repeats"] for row in rows}
    fig, axes, panels = _panels(table, ENERGY)
    for axis, part, phase in panels:
        what = {"prefill": "prompt", "decode": "generated"}[phase]
        key = f"joules_per_{what}_token"
        for batch, line, look in _lines(part):
            values = [[1e3 * each[key] for each in repeats[r.run, r.workload, r.batch_size]]
                      for r in line.itertuples()]  # fmt: skip
            middle = 1e3 * line[key]
            error = [middle - [min(v) for v in values], [max(v) for v in values] - middle]
            axis.errorbar(line["expansion_ratio"], middle, yerr=error, **look, label=batch)
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set(xlabel="expansion ratio", ylabel="millijoules")
        _from_zero_or_log(axis, 1e3 * part[[key]])
    _legend(fig, axes)
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
