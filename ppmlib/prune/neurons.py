"""Tables about scores and kept neurons (notebooks 1 and 2)."""

from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from ppmlib.model import glu
from ppmlib.prune import selection
from ppmlib.study_file.selection import Selection

CHANCE = "chance"


def tabulate_widths(
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
    rounded = Selection(keep_multiple_of=keep_multiple_of)
    wanted = rounded.with_ratios(pruning_ratios, expansion_ratios)
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


def count_kept(table: pd.DataFrame) -> dict[str, int]:
    """Width name to neurons kept per layer, from the table of `tabulate_widths`."""
    return {name: int(k) for name, k in table["neurons kept per layer"].items()}


def tabulate_cuts(model_scores: Tensor, counts: Mapping[str, int]) -> pd.DataFrame:
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


def count_ties(model_scores: Tensor, counts: Mapping[str, int]) -> pd.DataFrame:
    """Per layer and width: neurons that share the score at the cut, some kept and some removed."""
    columns = {
        name: [selection.count_ties_at_cut(layer_scores, k) for layer_scores in model_scores]
        for name, k in counts.items()
    }
    return pd.DataFrame(columns).rename_axis("layer")


def mask_removed(keep: Tensor, intermediate_size: int) -> Tensor:
    """(num_layers, I) bool: which neurons go."""
    gone = torch.ones(keep.shape[0], intermediate_size, dtype=torch.bool)
    return gone.scatter(1, keep, False)


def compare_removals(
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
            each: mask_removed(selection.select_layers(values, k), width)
            for each, values in scored.items()
        }
        own = gone.pop(reference)
        total = max(int(own.sum()), 1)
        row = {other: 100 * int((mask & own).sum()) / total for other, mask in gone.items()}
        rows[name] = row | {CHANCE: 100 * (1 - k / width)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("width")


def correlate_ranks(scored: Mapping[str, Tensor]) -> pd.DataFrame:
    """Spearman's rank correlation of every two selections, the mean over layers."""
    names = list(scored)
    stacked = torch.stack([scored[name] for name in names], dim=2)  # (L, I, selections)
    layers = [pd.DataFrame(layer.numpy(), columns=names).corr("spearman") for layer in stacked]
    return sum(layers) / len(layers)


def tabulate_layers(model_scores: Tensor, keep: Tensor) -> pd.DataFrame:
    """One run, layer by layer: neurons kept and removed, their mean scores, share of score kept.

    The share is of the sum of absolute scores, in percent.
    """
    gone = mask_removed(keep, model_scores.shape[1])
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
                "tied at the cut": selection.count_ties_at_cut(layer_scores, len(kept)),
            }
        )
    return pd.DataFrame(rows).rename_axis("layer")
