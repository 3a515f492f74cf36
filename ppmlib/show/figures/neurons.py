"""Figures of scores, cuts and kept neurons (notebooks 1 and 2)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from ppmlib.prune import neurons
from ppmlib.show.figures import BASELINE, CHANCE, Figure, drawing, figure, styled

BINS = 40
STRIP_COLUMNS = 512
VIOLIN = "#c9d6e2"
KEPT, REMOVED = "#0072B2", "#f2f2f2"
RIGHT = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "fontsize": "small"}


@styled()
def draw_distributions(
    model_scores: Tensor, counts: Mapping[str, int], *, selection: str
) -> Figure:
    """The distribution of scores in every layer, and where each width cuts it.

    Args:
        model_scores: (num_layers, I). counts: width name to neurons kept per layer.
    """
    num_layers, width = model_scores.shape
    table = neurons.tabulate_cuts(model_scores, counts)
    fig, axes = plt.subplots(figsize=(max(6.5, 0.42 * num_layers + 2.5), 4.2))
    values = model_scores.double().numpy()
    edges = np.linspace(values.min(), values.max(), BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    for layer, layer_scores in enumerate(values):
        density = np.histogram(layer_scores, edges)[0].astype(float)
        half = 0.42 * density / density.max()
        axes.fill_betweenx(centres, layer - half, layer + half, color=VIOLIN, linewidth=0)
    layers = table.index
    axes.hlines(table["median"], layers - 0.2, layers + 0.2, color="#555555", lw=1)
    shades = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, max(len(counts), 1)))
    for (name, k), shade in zip(counts.items(), shades, strict=False):
        heights = table[f"cut at {name}"]
        axes.hlines(heights, layers - 0.45, layers + 0.45, color=shade, lw=1.6)
        axes.plot([], [], color=shade, lw=1.6, label=f"{name}: {k} stay")
    axes.set(xlabel="layer", ylabel=f"{selection} score", xticks=_layer_ticks(num_layers))
    axes.grid(axis="x", visible=False)
    axes.legend(title="cut", **RIGHT)
    return figure(
        fig,
        name=f"scores-{selection}",
        title=f"{selection} scores of the {width} neurons of each layer. Shape: how many neurons "
        "have that score; grey line: median; coloured lines: the lowest score that stays.",
        alt=f"Distribution of {selection} scores in each of {num_layers} layers with the cut at "
        f"{len(counts)} widths; the numbers are in the table below.",
        table=table,
    )


def _layer_ticks(num_layers: int) -> range:
    return range(0, num_layers, max(1, num_layers // 14))


@styled()
def draw_agreement(shared: pd.DataFrame, table: pd.DataFrame, *, reference: str) -> Figure:
    """The share of the removed neurons that other selections remove too, against the ratio.

    Args:
        shared: from `neurons.compare_removals`. table: from `neurons.tabulate_widths`.
    """
    ratios = 100 * table["pruning ratio, achieved"]
    fig, axes = plt.subplots(figsize=(6.5, 3.8))
    others = [name for name in shared.columns if name != neurons.CHANCE]
    for name, look in drawing.with_looks(others):
        axes.plot(ratios, shared[name], label=name, **look)
    axes.plot(ratios, shared[neurons.CHANCE], label="random choice, expected", **CHANCE)
    label = f"also removed, of what\n{reference} removes (%)"
    axes.set(xlabel="neurons removed per layer (%)", ylabel=label, ylim=(0, 102))
    axes.legend(**RIGHT)
    return figure(
        fig,
        name=f"agreement-{reference}",
        title=f"Would another formula remove the same neurons as {reference}?",
        alt=f"Percentage of the neurons removed by {reference} that each other selection removes "
        "too, against the pruning ratio, with the share expected by chance.",
        table=shared,
    )


@styled()
def draw_kept_strip(keep: Tensor, model_scores: Tensor, *, run: str) -> Figure:
    """Which neurons stay, by layer and position, and their share of the score.

    Args:
        keep: (num_layers, k) kept indices. model_scores: (num_layers, I).
    """
    num_layers, width = model_scores.shape
    table = neurons.tabulate_layers(model_scores, keep)
    stays = (~neurons.mask_removed(keep, width)).double().numpy()
    blocks = np.array_split(np.arange(width), min(width, STRIP_COLUMNS))
    strip = np.stack([stays[:, block].mean(axis=1) for block in blocks], axis=1)
    height = min(6.0, max(2.4, 0.22 * num_layers + 1.4))
    fig, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(9, height), width_ratios=(3.2, 1))
    colours = LinearSegmentedColormap.from_list("kept", [REMOVED, KEPT])
    scale = {"cmap": colours, "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    left.imshow(strip, aspect="auto", extent=(0, width, num_layers - 0.5, -0.5), **scale)
    left.grid(visible=False)
    left.hlines(np.arange(1, num_layers) - 0.5, 0, width, color="white", lw=1)
    left.set(xlabel="neuron (position in the layer)", ylabel="layer", title="neurons kept (blue)")
    left.set_yticks(_layer_ticks(num_layers))
    right.plot(table["share of score kept (%)"], table.index, marker="o", markersize=4, color=KEPT)
    right.axvline(100 * keep.shape[1] / width, **BASELINE)
    right.set(xlabel="kept (%)", xlim=(0, 103))
    right.set_title("share of score (dots)\nand of neurons (dashes)", fontsize="small")
    return figure(
        fig,
        name=f"{run}/kept",
        title=f"{run}: which neurons stay in each layer, and their share of the layer's score.",
        alt=f"Positions of the {keep.shape[1]} neurons of {width} that stay in each of "
        f"{num_layers} layers, and the share of each layer's score that they hold.",
        table=table,
    )
