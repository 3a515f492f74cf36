"""Perplexity against the strength of weight noise (notebook 2_noise)."""

import matplotlib.pyplot as plt
import pandas as pd

from ppmlib.prune.noise import Matched
from ppmlib.show.figures import BASELINE, CHANCE, PALETTE, Figure, figure, styled


@styled()
def draw_tuning(found: Matched, *, run: str) -> Figure:
    """Word perplexity on the calibration text against the noise's sigma, with the one to match."""
    table = pd.DataFrame(found.trials, columns=["sigma", "word perplexity"])
    table = table.drop_duplicates().sort_values("sigma", ignore_index=True)
    pruned = {"color": PALETTE[1], "linewidth": 1.4, "label": "pruned"}
    fig, axes = plt.subplots(figsize=(6.5, 3.4))
    axes.plot(*table.to_numpy().T, marker="o", color=PALETTE[0], label="with noise")
    axes.axhline(found.word_perplexity_dense, **BASELINE, label="dense")
    axes.axhline(found.word_perplexity_pruned, **pruned)
    axes.axvline(found.sigma, **CHANCE, label=f"sigma {found.sigma:.4g}")
    axes.set(xlabel="sigma (in standard deviations of each matrix)", ylabel="word perplexity")
    axes.set_yscale("log")
    axes.legend(fontsize="small")
    return figure(
        fig,
        name=f"{run}/tuning",
        title="Word perplexity of the calibration text against the strength of the noise.",
        alt=f"Word perplexity rises with the noise; at sigma {found.sigma:.4g} it is "
        f"{found.word_perplexity_noise:.4g}, the pruned model's is "
        f"{found.word_perplexity_pruned:.4g}, the dense model's "
        f"{found.word_perplexity_dense:.4g}.",
        table=table,
    )
