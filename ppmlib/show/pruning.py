"""Conclusions of scoring, pruning and tuned noise, computed (notebooks 1 and 2)."""

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

from ppmlib.prune import calibration, neurons, noise, selection
from ppmlib.study_file.selection import is_random


def describe_scores(
    scored: Mapping[str, Tensor], reference: str, counts: Mapping[str, int]
) -> list[str]:
    """Conclusions of the scoring notebook, computed from the scores."""
    own = scored[reference]
    num_layers, width = own.shape
    sentences = [
        f"The {reference} scores of {num_layers} layers of {width} neurons lie between "
        f"{own.min():.4g} and {own.max():.4g}."
    ]
    for name, k in counts.items():
        table = neurons.tabulate_layers(own, selection.select_layers(own, k))
        ratio = table["mean score, removed"].mean() / table["mean score, kept"].mean()
        sentences.append(
            f"At {name}, {width - k} of {width} neurons are removed in each layer; their mean "
            f"score is {100 * ratio:.1f}% of that of the kept neurons. {100 * k / width:.1f}% of "
            f"the neurons keep {table['share of score kept (%)'].mean():.1f}% of the score."
        )
    tied = neurons.count_ties(own, counts)
    groups, pairs = int((tied > 0).sum().sum()), tied.size
    sentences.append(
        f"Scores are tied at the cut in {groups} of {pairs} layers and widths"
        + (f", at most {int(tied.max().max())} neurons at a time" if groups else "")
        + "; of tied neurons the one with the lower index stays."
    )
    shared = neurons.compare_removals(scored, reference, counts)
    if len(shared) and len(scored) > 1:
        name = shared.index[len(shared) // 2]
        row = shared.loc[name]
        others = ", ".join(
            f"{other} {row[other]:.1f}%" for other in row.index if other != neurons.CHANCE
        )
        sentences.append(
            f"Of the neurons that {reference} removes at {name}, the other selections remove: "
            f"{others}. A random selection would remove {row[neurons.CHANCE]:.1f}%."
        )
    return sentences


def describe_pruned_run(table: pd.DataFrame, results: Mapping) -> list[str]:
    """Conclusions of the pruning notebook, computed from its record's results."""
    dense, width = results["intermediate_size_dense"], results["intermediate_size"]
    if width == dense:
        return [
            f"The dense model: all {dense} neurons of each of {results['num_layers']} layers stay, "
            f"{results['parameters']:,} parameters, expansion ratio "
            f"{results['expansion_ratio']:.4g}. Every width is compared with it."
        ]
    tied = [count for count in results["ties_at_cut"] if count]
    sentences = [
        f"{dense - width} of {dense} neurons are removed in each of {results['num_layers']} layers "
        f"(achieved pruning ratio {results['pruning_ratio']:.4f}, expansion ratio "
        f"{results['expansion_ratio']:.4g}).",
        f"The model has {results['parameters']:,} parameters instead of "
        f"{results['parameters_dense']:,}: {results['parameter_reduction']:.1%} fewer.",
    ]
    if not is_random(results["criterion"], results["seed"]):
        share = table["share of score kept (%)"]
        sentences.append(
            f"The {100 * width / dense:.1f}% of neurons that stay hold {share.min():.1f}% to "
            f"{share.max():.1f}% of a layer's score."
        )
    sentences.append(
        f"Scores are tied at the cut in {len(tied)} of {results['num_layers']} layers"
        + (f" ({', '.join(map(str, tied))} neurons)" if tied else "")
        + "; of tied neurons the one with the lower index stays."
    )
    return sentences


def describe_noise(found: noise.Matched, text: calibration.Text, matched: str) -> list[str]:
    """Conclusions of the tuning."""
    gap = 100 * (found.word_perplexity_noise / found.word_perplexity_pruned - 1)
    return [
        f"Noise of {found.sigma:.4g} of each GLU matrix's standard deviation (seed {found.seed}) "
        f"raises the word perplexity of {text.name} from {found.word_perplexity_dense:.4g} to "
        f"{found.word_perplexity_noise:.4g}; {matched} raises it to "
        f"{found.word_perplexity_pruned:.4g} ({gap:+.2f} % apart).",
        f"The text has {len(text.documents):,} documents, {text.words:,} words. No neuron is "
        "removed, so any loss of this model is due to the damage, not to a smaller width.",
    ]
