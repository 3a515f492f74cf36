"""Tables and computed sentences about scores and kept neurons (notebooks 1 and 2)."""

from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from ppmlib.model import glu
from ppmlib.prune import selection
from ppmlib.study_file.selection import Selection, is_random

CHANCE = "chance"


def widths(
    model: nn.Module,
    pruning_ratios: Iterable[float],
    expansion_ratios: Iterable[float] = (),
    keep_multiple_of: int = 1,
) -> pd.DataFrame:
    """Requested and achieved widths: one row per ratio, with the parameters it would leave.

    Raises:
        ValueError: if no ratio is given, or as `pruning.keep_count`.
    """
    width, hidden = glu.intermediate_size(model), glu.hidden_size(model)
    dense = glu.parameter_count(model)
    wanted = [Selection(pruning_ratio=p, keep_multiple_of=keep_multiple_of) for p in pruning_ratios]
    wanted += [
        Selection(expansion_ratio=e, keep_multiple_of=keep_multiple_of) for e in expansion_ratios
    ]
    if not wanted:
        raise ValueError("no width: give pruning_ratios or expansion_ratios")
    rows = {}
    for each in wanted:
        k = each.keep_count(width, hidden)
        parameters = glu.pruned_parameter_count(model, k)
        rows[each.width] = {
            "neurons kept per layer": k,
            "pruning ratio, achieved": 1 - k / width,
            "expansion ratio": k / hidden,
            "parameters": parameters,
            "parameter reduction": 1 - parameters / dense,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("width")


def kept_counts(table: pd.DataFrame) -> dict[str, int]:
    """Width name to neurons kept per layer, from the table of `widths`."""
    return {name: int(k) for name, k in table["neurons kept per layer"].items()}


def cuts(model_scores: Tensor, counts: Mapping[str, int]) -> pd.DataFrame:
    """Per layer: lowest, median and highest score, and the lowest score kept at each width."""
    ordered = model_scores.sort(dim=1, descending=True).values
    table = {
        "lowest": ordered[:, -1],
        "median": ordered.median(dim=1).values,
        "highest": ordered[:, 0],
    }
    table |= {f"cut at {name}": ordered[:, k - 1] for name, k in counts.items()}
    columns = {name: values.tolist() for name, values in table.items()}
    return pd.DataFrame(columns).rename_axis("layer")


def ties(model_scores: Tensor, counts: Mapping[str, int]) -> pd.DataFrame:
    """Per layer and width: neurons that share the score at the cut, some kept and some removed."""
    columns = {
        name: [selection.ties_at_cut(layer_scores, k) for layer_scores in model_scores]
        for name, k in counts.items()
    }
    return pd.DataFrame(columns).rename_axis("layer")


def removed_mask(keep: Tensor, intermediate_size: int) -> Tensor:
    """(num_layers, I) bool: which neurons go."""
    gone = torch.ones(keep.shape[0], intermediate_size, dtype=torch.bool)
    return gone.scatter(1, keep, False)


def shared_removals(
    scored: Mapping[str, Tensor], reference: str, counts: Mapping[str, int]
) -> pd.DataFrame:
    """How much other selections remove of what the reference removes, in percent, all layers.

    One row per width, one column per other selection; the last column is what a selection at
    random would share: the fraction removed.
    """
    width = scored[reference].shape[1]
    rows = {}
    for name, k in counts.items():
        gone = {
            each: removed_mask(selection.select_layers(values, k), width)
            for each, values in scored.items()
        }
        own = gone.pop(reference)
        total = max(int(own.sum()), 1)
        row = {other: 100 * int((mask & own).sum()) / total for other, mask in gone.items()}
        rows[name] = row | {CHANCE: 100 * (1 - k / width)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("width")


def rank_correlations(scored: Mapping[str, Tensor]) -> pd.DataFrame:
    """Spearman's rank correlation of every two selections, the mean over layers."""
    names = list(scored)
    stacked = torch.stack([scored[name] for name in names], dim=2)  # (L, I, selections)
    layers = [pd.DataFrame(layer.numpy(), columns=names).corr("spearman") for layer in stacked]
    return sum(layers) / len(layers)


def layer_table(model_scores: Tensor, keep: Tensor) -> pd.DataFrame:
    """One run, layer by layer: neurons kept and removed, their mean scores, share of score kept.

    The share is of the sum of absolute scores, in percent.
    """
    gone = removed_mask(keep, model_scores.shape[1])
    size = model_scores.abs()
    rows = []
    for layer_scores, sizes, mask, kept in zip(model_scores, size, gone, keep, strict=True):
        removed = layer_scores[mask]
        rows.append(
            {
                "neurons kept": len(kept),
                "neurons removed": int(mask.sum()),
                "mean score, kept": float(layer_scores[kept].mean()),
                "mean score, removed": float(removed.mean()) if len(removed) else None,
                "share of score kept (%)": float(100 * sizes[kept].sum() / sizes.sum()),
                "tied at the cut": selection.ties_at_cut(layer_scores, len(kept)),
            }
        )
    return pd.DataFrame(rows).rename_axis("layer")


def scoring_conclusions(
    scored: Mapping[str, Tensor], reference: str, counts: Mapping[str, int]
) -> list[str]:
    """What the scoring notebook found, in sentences computed from the scores."""
    own = scored[reference]
    num_layers, width = own.shape
    sentences = [
        f"The {reference} scores of {num_layers} layers of {width} neurons lie between "
        f"{own.min():.4g} and {own.max():.4g}."
    ]
    for name, k in counts.items():
        table = layer_table(own, selection.select_layers(own, k))
        ratio = table["mean score, removed"].mean() / table["mean score, kept"].mean()
        sentences.append(
            f"At {name}, {width - k} of {width} neurons go in each layer; their mean score is "
            f"{100 * ratio:.1f}% of that of the neurons that stay, and "
            f"{table['share of score kept (%)'].mean():.1f}% of the score stays with "
            f"{100 * k / width:.1f}% of the neurons."
        )
    tied = ties(own, counts)
    groups, pairs = int((tied > 0).sum().sum()), tied.size
    sentences.append(
        f"Scores are tied at the cut in {groups} of {pairs} layers and widths"
        + (f", at most {int(tied.max().max())} neurons at a time" if groups else "")
        + "; of tied neurons the one of lower index stays."
    )
    shared = shared_removals(scored, reference, counts)
    if len(shared) and len(scored) > 1:
        name = shared.index[len(shared) // 2]
        row = shared.loc[name]
        others = ", ".join(f"{other} {row[other]:.1f}%" for other in row.index if other != CHANCE)
        sentences.append(
            f"Of what {reference} removes at {name}, the other selections remove: {others}. "
            f"A random choice would share {row[CHANCE]:.1f}%."
        )
    return sentences


def pruning_conclusions(table: pd.DataFrame, results: Mapping) -> list[str]:
    """What the pruning notebook found, in sentences computed from its record's results."""
    dense, width = results["intermediate_size_dense"], results["intermediate_size"]
    if width == dense:
        return [
            f"The dense model: all {dense} neurons of each of {results['num_layers']} layers stay, "
            f"{results['parameters']:,} parameters, expansion ratio "
            f"{results['expansion_ratio']:.4g}. It is what every width is compared with."
        ]
    tied = [count for count in results["ties_at_cut"] if count]
    sentences = [
        f"{dense - width} of {dense} neurons go in each of {results['num_layers']} layers "
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
        + "; of tied neurons the one of lower index stays."
    )
    return sentences
