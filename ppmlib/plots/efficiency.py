"""Time and memory against width (notebooks 4 and 5)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from ppmlib.plots import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure

PHASES = {
    "ttft_s": ("First token (prefill)", "ttft_limit_s"),
    "tpot_s": ("Each later token (decode)", "tpot_limit_s"),
}


def _joined(rows: Sequence[Mapping], described: Sequence[Mapping]) -> pd.DataFrame:
    flat = pd.DataFrame(rows).drop(columns="repeats")
    return flat.merge(pd.DataFrame(described), on="run").sort_values("expansion_ratio")


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
        for (batch, part), color, marker in zip(
            table.groupby("batch_size"), PALETTE, MARKERS, strict=False
        ):
            median = 1e3 * part[key]
            error = [median - 1e3 * part[f"{key}_q25"], 1e3 * part[f"{key}_q75"] - median]
            axis.errorbar(
                part["expansion_ratio"], median, yerr=error, color=color, marker=marker,
                capsize=3, capthick=1.5, label=f"batch {batch}",
            )  # fmt: skip
            axis.plot(part["expansion_ratio"], 1e3 * part[limit], **CHANCE | {"color": color})
        axis.plot([], [], **CHANCE, label="hardware limit")
        axis.axvline(table["expansion_ratio"].max(), **BASELINE, label="dense")
        axis.set(title=title, xlabel="expansion ratio", ylabel="milliseconds")
        axis.set_ylim(bottom=0)
    legend = axes[1].get_legend_handles_labels()
    fig.legend(*legend, loc="outside lower center", ncols=len(legend[1]))
    return figure(
        fig,
        name=name,
        title="Time against width: median and interquartile range of the repeats, same work for "
        "every width; dotted: the least time the device's measured rates allow.",
        alt=_times_alt(table),
        table=table.set_index(["run", "batch_size"]),
        root=root,
    )


def _times_alt(table: pd.DataFrame) -> str:
    parts = []
    for batch, part in table.groupby("batch_size"):
        ends = part.iloc[[-1, 0]]
        for key, what in (("ttft_s", "first token"), ("tpot_s", "each later token")):
            dense, narrow = 1e3 * ends[key]
            parts.append(f"batch {batch}, {what}: {dense:.3g} ms dense, {narrow:.3g} ms narrowest")
    return "Two line charts of milliseconds against expansion ratio; " + "; ".join(parts) + "."


def memory(
    rows: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    *,
    root: Path | None = None,
    name: str = "memory",
) -> Figure:
    """Bytes of weights and, stacked on them, of the key-value cache, per width and batch size."""
    table = _joined(rows, described)
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
