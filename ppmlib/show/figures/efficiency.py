"""Time, speed, memory and energy against width (notebooks 4 and 5).

One row of charts per workload, prefill and decode side by side, one line per batch size. The
tables of all functions: `rows` as measured, `described` by `Widths.describe` for every run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from ppmlib.profile.ratios import job, job_name
from ppmlib.show.figures import BASELINE, CHANCE, PALETTE, Figure, drawing, figure, styled

PHASES = {"prefill": "First token (prefill)", "decode": "Each later token (decode)"}
ENERGY = {"prefill": "Per prompt token", "decode": "Per generated token"}
LOG_FROM = 40  # times the smallest value: below the largest, it would lie on the axis
Rows = Sequence[Mapping[str, Any]]


def _join_widths(rows: Rows, described: Rows) -> pd.DataFrame:
    """Rows with their widths, wide last; only those of the study's own `keep_multiple_of`."""
    own = described[0]["keep_multiple_of"]
    flat = pd.DataFrame(rows).drop(columns="repeats")
    flat["work"] = [job_name(row, rows) for row in rows]
    table = flat.merge(pd.DataFrame(described), on="run")
    return table[table["keep_multiple_of"] == own].sort_values("expansion_ratio", kind="stable")


def _by_phase(
    table: pd.DataFrame,
    draw: Callable,
    *,
    titles: Mapping[str, str] = PHASES,
    x_label: str = "expansion ratio",
    y_label: str | None = None,
    legend_columns: int = 4,
):
    """A figure of two charts per workload, drawn by `draw(axis, rows of the workload, phase)`.

    With a `y_label` both charts of a workload share it and their y axis.
    """
    workloads = list(dict.fromkeys(table["workload"]))
    size, shared = (10, 3.4 * len(workloads) + 0.6), y_label is not None
    fig, axes = plt.subplots(len(workloads), 2, figsize=size, squeeze=False, sharey=shared)
    for line, workload in zip(axes, workloads, strict=True):
        for axis, (phase, title) in zip(line, titles.items(), strict=True):
            named = f"{workload}: {title[0].lower()}{title[1:]}" if len(workloads) > 1 else title
            axis.set(title=named, xlabel=x_label)
            draw(axis, table[table["workload"] == workload], phase)
        if shared:
            line[0].set_ylabel(y_label)
    drawing.add_legend(axes, legend_columns, where="lower", fontsize=None)
    return fig


def _batches(table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Per batch size: its rows, and how its line looks."""
    for (batch, part), look in drawing.with_looks(table.groupby("batch_size")):
        yield part, look | {"label": f"batch {batch}", "capthick": 1.5}


def _start_at_zero_or_log(axis, values: pd.DataFrame) -> None:
    if values.max(axis=None) < LOG_FROM * values.min(axis=None):
        axis.set_ylim(bottom=0)
        return
    axis.set_yscale("log")
    axis.set_ylabel(f"{axis.get_ylabel()}, log scale")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


@styled()
def draw_times(rows: Rows, described: Rows, *, name: str = "times") -> Figure:
    """Time to first token and time per later token against expansion ratio, with their limits."""
    table = _join_widths(rows, described)

    def draw(axis, part: pd.DataFrame, phase: str) -> None:
        key = {"prefill": "ttft", "decode": "tpot"}[phase]
        for line, look in _batches(part):
            x = line["expansion_ratio"]
            ends = 1e3 * line[[f"{key}_s", f"{key}_s_q25", f"{key}_s_q75"]]
            drawing.error_line(axis, x, ends, **look)
            axis.plot(x, 1e3 * line[f"{key}_limit_s"], **CHANCE | {"color": look["color"]})
        axis.plot([], [], **CHANCE, label="hardware limit")
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set_ylabel("milliseconds")
        _start_at_zero_or_log(axis, part[[f"{key}_s", f"{key}_limit_s"]])

    parts = []
    for work, part in table.groupby("work", sort=False):
        for key, what in (("ttft_s", "first token"), ("tpot_s", "each later token")):
            dense, narrow = 1e3 * part.iloc[[-1, 0]][key]
            parts.append(f"{work}, {what}: {dense:.3g} ms dense, {narrow:.3g} ms narrowest")
    return figure(
        _by_phase(table, draw),
        name=name,
        title="Time against width: median and interquartile range of the repeats, same work for "
        "every width; dotted: the least time at the device's measured rates.",
        alt="Two line charts of milliseconds against expansion ratio; " + "; ".join(parts) + ".",
        table=table.set_index(["run", "work"]),
    )


@styled()
def draw_memory(rows: Rows, described: Rows, *, name: str = "memory") -> Figure:
    """Bytes of weights and, stacked on them, of the key-value cache, per width and batch size.

    Of several workloads the one with the largest cache is drawn.
    """
    table = _join_widths(rows, described)
    largest = max(rows, key=lambda row: row["kv_cache_bytes"])["workload"]
    table = table[table["workload"] == largest]
    batches = table.groupby("batch_size")
    fig, axes = plt.subplots(1, len(batches), figsize=(10, 3.6), sharey=True, squeeze=False)
    for axis, (batch, part) in zip(axes[0], batches, strict=True):
        labels = [f"{ratio:.2f}x" for ratio in part["expansion_ratio"]]
        weights, cache = part["weights_bytes"] / 1e6, part["kv_cache_bytes"] / 1e6
        axis.bar(labels, weights, color=PALETTE[0], label="weights")
        axis.bar(labels, cache, bottom=weights, color=PALETTE[4], hatch="//", label="KV cache")
        axis.set(title=f"Batch {batch}", xlabel="expansion ratio")
    axes[0, 0].set_ylabel("MB")
    drawing.add_legend(axes[0, :1], columns=2, where="lower", fontsize=None)
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
    )


@styled()
def draw_speed(gains: Rows, described: Rows, *, dense: str, name: str = "speed") -> Figure:
    """Speed against the share of parameters removed, prefill and decode apart, with the limit.

    Args:
        gains: `ratios.speed_ups`. dense: the run whose speed is 1, among those described.
    """
    parameters = {width["run"]: width["parameters"] for width in described}
    own = {w["run"] for w in described if w["keep_multiple_of"] == described[0]["keep_multiple_of"]}
    table = pd.DataFrame([gain for gain in gains if gain["run"] in own])
    table["work"] = [job_name(gain, gains) for gain in table.to_dict("records")]
    table["removed"] = [100 * (1 - parameters[run] / parameters[dense]) for run in table["run"]]
    table = table.sort_values("removed", kind="stable")

    def draw(axis, part: pd.DataFrame, phase: str) -> None:
        axis.axhline(1, **BASELINE, label="dense")
        for line, look in _batches(part[part["phase"] == phase]):
            ends = line[["speed_up", "speed_up_q25", "speed_up_q75"]]
            drawing.error_line(axis, line["removed"], ends, **look)
            limit = [0, *line["removed"]], [1, *line["limit_speed_up"]]
            axis.plot(*limit, **CHANCE | {"color": look["color"]})
        axis.plot([], [], **CHANCE, label="speed-up of the hardware limit")

    labels = {"x_label": "parameters removed, %", "y_label": "speed, dense = 1"}
    last = table[table["removed"] == table["removed"].max()]
    words = "; ".join(f"{r.phase}, {r.work} {r.speed_up:.2f} times" for r in last.itertuples())
    return figure(
        _by_phase(table, draw, **labels),
        name=name,
        title="Speed against parameters removed: median and interquartile range over the rounds; "
        "dotted: the speed-up of the hardware limit.",
        alt="Two line charts of speed against the share of parameters removed; at the narrowest "
        f"width: {words} the dense speed.",
        table=table.set_index(["run", "work", "phase"]),
    )


@styled()
def draw_alignment(found: Rows, *, name: str = "alignment") -> Figure:
    """Time at the study's own widths over the time at aligned ones (`ratios.alignment`)."""
    table = pd.DataFrame(found)
    table["work"] = [job_name(row, found) for row in found]
    asked = list(dict.fromkeys(table["requested"]))
    groups = list(dict.fromkeys(zip(table["batch_size"], table["multiple"], strict=True)))

    def draw(axis, rows: pd.DataFrame, phase: str) -> None:
        axis.axhline(1, **BASELINE, label="no difference")
        for place, ((batch, multiple), look) in enumerate(drawing.with_looks(groups)):
            mine = (rows["phase"] == phase) & (rows["batch_size"] == batch)
            part = rows[mine & (rows["multiple"] == multiple)]
            shift = 0.6 * ((place + 0.5) / len(groups) - 0.5)
            x = [asked.index(each) + shift for each in part["requested"]]
            look |= {"linestyle": "none", "capsize": 2, "capthick": None}
            look["label"] = f"batch {batch}, multiple of {multiple}"
            drawing.error_line(axis, x, part[["ratio", "ratio_q25", "ratio_q75"]], **look)
        axis.set_xticks(np.arange(len(asked)), asked)

    labels = {"x_label": "requested pruning ratio", "y_label": "time / time when aligned"}
    largest = table.loc[table["ratio"].idxmax()]
    return figure(
        _by_phase(table, draw, **labels, legend_columns=3),
        name=name,
        title="The cost of unaligned widths: time at the study's widths over the time at the same "
        "ratio rounded down to a multiple; above 1, the aligned width is faster.",
        alt=f"Two charts of time ratios for {len(asked)} pruning ratios; the largest is "
        f"{largest['ratio']:.2f} ({largest['phase']}, {largest['work']}, "
        f"{largest['neurons']} against {largest['aligned_neurons']} neurons).",
        table=table.set_index(["requested", "multiple", "work", "phase"]),
    )


@styled()
def draw_energy(rows: Rows, described: Rows, *, name: str = "energy") -> Figure:
    """Joules per prompt token and per generated token against expansion ratio, with the range."""
    table = _join_widths(rows, described)
    repeats = {(row["run"], *job(row)): row["repeats"] for row in rows}

    def draw(axis, part: pd.DataFrame, phase: str) -> None:
        key = {"prefill": "joules_per_prompt_token", "decode": "joules_per_generated_token"}[phase]
        for line, look in _batches(part):
            each = [
                [1e3 * repeat[key] for repeat in repeats[r.run, r.workload, r.batch_size]]
                for r in line.itertuples()
            ]
            lines = {"value": 1e3 * line[key], "low": [*map(min, each)], "high": [*map(max, each)]}
            ends = pd.DataFrame(lines, index=line.index)
            drawing.error_line(axis, line["expansion_ratio"], ends, **look)
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set_ylabel("millijoules")
        _start_at_zero_or_log(axis, 1e3 * part[[key]])

    dense, narrow = table.iloc[[-1, 0]]["joules_per_generated_token"] * 1e3
    return figure(
        _by_phase(table, draw, titles=ENERGY),
        name=name,
        title="Energy against width: median and range of the windows, idle power included.",
        alt="Two line charts of millijoules per token against expansion ratio; per generated token "
        f"{dense:.3g} mJ dense and {narrow:.3g} mJ at the narrowest width.",
        table=table.set_index(["run", "work"]),
    )
