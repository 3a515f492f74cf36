"""The conclusions about the published numbers, computed from them (notebook 6).

conclusions  one or two sentences per question, in the order a reviewer asks them
LIMITS       limitations of the published tables, whatever the numbers are
"""

import pandas as pd

from ppmlib import published as paper
from ppmlib.published import comparison
from ppmlib.published.verdicts import ABOVE, BELOW, NOT_ABOVE, reproduced
from ppmlib.show.published_claims import difference_text, points
from ppmlib.show.wording import joined, p_text
from ppmlib.statistics.proportions import LEVEL

SIZES = ("1B", "3B")
LIMITS = (
    "One greedy run per point: the errors are those of drawing documents, not of training, "
    "prompts or software.",
    "Unpaired: which documents each width got right was not published. A paired test of the same "
    "scores would usually be sharper, so 'not shown' means not shown by these tables.",
    "Standard errors are stored for GSM8K, IFEval (prompt level) and MUSR only; the others are "
    "binomial, from numbers of documents that for MMLU, ARC, HellaSwag, WinoGrande, PIQA and BoolQ "
    "were not verified at their source. Perplexities have none and are not tested.",
    "The IFEval baselines are scores of chosen answers on the 541 prompts; another answer could "
    "score higher. The BoolQ majority and the MUSR chance are standard figures, ARC and TruthfulQA "
    "chances are approximate. GSM8K has no measured baseline.",
    "A baseline counts as a known constant. Chance for MUSR is that of uniform guesses: always "
    "choosing the position that is right most often could score above it.",
    "Of V3 only the abstract was read: 'withdrawn' means gone from the abstract.",
    "lm-eval 0.4.9.1 gave Llama no beginning-of-text token; the effect is unknown.",
)


def _overall(claims: pd.DataFrame, alpha: float) -> str:
    tested = claims[claims["p_holm"].notna()]
    shown = tested[tested["p_holm"] <= alpha]
    rises = shown[shown["direction"] == "better"]
    where = rises["verdict"].str.removeprefix("rise shown, ").value_counts(sort=False)
    numbers = claims[claims["published"].notna()]
    kinds = shown["direction"].value_counts()
    agree = int(reproduced(numbers).sum())
    return (
        f"Of the paper's {len(claims)} claims {len(tested)} can be tested; after Holm's correction "
        f"over these, {len(shown)} are shown: {kinds.get('worse', 0)} falls and "
        f"{kinds.get('better', 0)} rises "
        f"({joined(f'{count} {kind}' for kind, count in where.items())}). "
        f"{agree} of the {len(numbers)} published figures follow from the published tables."
    )


def _rises(scores: pd.DataFrame, alpha: float) -> str:
    parts, above, total = [], 0, 0
    for model in SIZES:
        found = comparison.average_change(scores, model, "ifeval", alpha)
        change = f"{points(found.difference)} points in {model}"
        parts.append(f"{change} (z {found.z:+.2f}, {p_text(found.p_value)})")
    for row in comparison.changes(scores, alpha).query("task == 'ifeval'").itertuples():
        if row.model != "1B-Instruct":
            above, total = above + (row.difference > 0), total + 1
    return (
        f"IFEval of the base models: {above} of {total} pruned widths score above the dense model, "
        f"on average by {joined(parts)}, taking the widths of a model as fully dependent (our own "
        "summary of the trend, not a claim of the paper)."
    )


def _where_to(levels: pd.DataFrame) -> str:
    base = levels.query("task == 'ifeval' and model != '1B-Instruct'")
    constant, echo = (base[base["floor"] == name] for name in base["floor"].unique())
    pruned, dense = (constant[constant["pruning_ratio"] > 0], constant.query("pruning_ratio == 0"))
    n, under = len(pruned), int((dense["level"] == BELOW).sum())
    clear = (pruned["level"] == ABOVE).sum()
    below = (echo.loc[echo["pruning_ratio"] > 0, "level"] == BELOW).sum()
    text = (
        f"The pruned base models score {pruned['value'].min():.4f} to {pruned['value'].max():.4f}. "
        f"The answer 'the' to every prompt scores {constant['floor_value'].iloc[0]:.4f}, echoing "
        f"the prompt {echo['floor_value'].iloc[0]:.4f}."
    )
    return text + (
        f" Significantly above the constant answer: {clear} of {n} widths; significantly below the "
        f"echo: {below} of {n}. Of the dense base models {under} of {len(dense)} are below the "
        "constant answer."
    )


def _kept(claims: pd.DataFrame, alpha: float) -> str:
    kept = claims[claims["v3"] == "restated"]
    parts = [
        f"{points(row.difference)} points in {row.scope} ({p_text(row.p_value)} alone, "
        f"{row.p_holm_v3:.2g} among these {len(kept)}, {row.p_holm:.2g} among all; detectable "
        f"with 80% power: {100 * row.detectable:.1f} points)"
        for row in kept.itertuples()
    ]
    shown = int((kept["p_holm_v3"] <= alpha).sum())
    removed = joined(f"{row.pruning_ratio:.0%} removed in {row.scope}" for row in kept.itertuples())
    return (
        f"V3's abstract keeps {len(kept)} rises, at the same expansion ratio but at different "
        f"pruning ratios ({removed}): {joined(parts)}. If they are the only claims, {shown} of "
        f"{len(kept)} is shown. A rise that is not shown may still exist."
    )


def _instruct(claims: pd.DataFrame, scores: pd.DataFrame, levels: pd.DataFrame) -> str:
    mine = claims[claims["scope"] == "1B-Instruct"]
    ifeval = levels[(levels["task"] == "ifeval") & (levels["floor"] == 'constant "the"')]
    at = ifeval[ifeval["pruning_ratio"] == 0.6].set_index("model")
    same = int((at["level"] == NOT_ABOVE).sum())
    agree = mine["verdict"].str.startswith("fall shown").all()
    texts = (difference_text(claim) for claim in mine.to_dict("records"))
    changes = joined([text.split("; ")[0] for text in texts])
    return (
        "The author himself reports (V1, Appendix B) that the dichotomy does not replicate in the "
        f"Instruct model, and his numbers {'agree' if agree else 'do not show it'}: IFEval "
        f"changes by {changes}. At 60% removed the three models score "
        f"{joined(f'{value:.4f}' for value in at['value'])}: {same} of {len(at)} are not "
        "distinguishable from the constant answer."
    )


def _mmlu(retention: pd.DataFrame) -> str:
    table = retention[retention["task"] == "mmlu"].set_index(["model", "pruning_ratio"])
    parts = []
    for model, ratio in (("1B", 0.4), ("3B", 0.1), ("1B", 0.6), ("3B", 0.6)):
        row = table.loc[(model, ratio)]
        parts.append(
            f"{model} at {row['expansion_ratio']:.2f}x {row['kept_as_published']:.1%} as "
            f"published, {row['kept_above_floor']:.0%} [{row['low']:.0%}, {row['high']:.0%}] "
            "above chance"
        )
    return f"MMLU kept, of the whole score and of what lies above chance: {'; '.join(parts)}."


def _musr(scores: pd.DataFrame, levels: pd.DataFrame, alpha: float) -> str:
    changes = comparison.changes(scores, alpha).query("task == 'leaderboard_musr'")
    base = changes[changes["model"] != "1B-Instruct"]
    shown = base[base["p_adjusted"] <= alpha]
    others = base[base["p_adjusted"] > alpha]
    levels = levels.query("task == 'leaderboard_musr' and model != '1B-Instruct'")
    dense = levels.query("pruning_ratio == 0")
    where = joined(f"{row.model} at {row.expansion_ratio:.2f}x" for row in shown.itertuples())
    above = levels[(levels["pruning_ratio"] > 0) & (levels["level"] == ABOVE)]
    return (
        f"MUSR: {(dense['level'] == NOT_ABOVE).sum()} of {len(dense)} dense base models are not "
        f"above chance. {len(shown)} of {len(base)} widths change (exploratory, "
        f"Benjamini-Hochberg): {where}; {len(above)} are above chance. The other intervals "
        f"reach from {points(others['low'].min())} to {points(others['high'].max())} points: they "
        "show neither a change nor its absence."
    )


def _at_chance(levels: pd.DataFrame) -> str:
    mc2 = levels[(levels["task"] == "truthfulqa_mc2") & (levels["model"] != "1B-Instruct")]
    dense, pruned = mc2.query("pruning_ratio == 0"), mc2.query("pruning_ratio > 0")
    mc1 = levels[(levels["task"] == "truthfulqa_mc1") & (levels["model"] != "1B-Instruct")]
    boolq = levels[(levels["task"] == "boolq") & (levels["pruning_ratio"] > 0)]
    one = boolq[boolq["model"] == "1B"]
    return (
        f"MC2 against equal probabilities for all answers ({mc2['floor_value'].iloc[0]:.4f}): "
        f"{(dense['level'] == 'below floor').sum()} of {len(dense)} dense base models lie below, "
        f"{(pruned['level'] == 'above floor').sum()} of {len(pruned)} pruned widths above. MC1: "
        f"{(mc1['level'] == NOT_ABOVE).sum()} of {len(mc1)} base scores are not above chance. "
        f"BoolQ: {(one['level'] == NOT_ABOVE).sum()} of {len(one)} pruned 1B widths are not "
        "distinguishable from always answering yes; over both models "
        f"{(boolq['level'] == BELOW).sum()} of {len(boolq)} are below it."
    )


def _correlation(correlations: pd.DataFrame) -> str:
    claim = correlations[correlations["of"] == "MMLU and MC2"].set_index(["scope", "dense_point"])
    dose = correlations[correlations["dense_point"]].set_index(["of", "scope"])["r"]
    parts = []
    for scope in ("1B", "3B", "pooled"):
        full, without = claim.loc[(scope, True)], claim.loc[(scope, False)]
        parts.append(
            f"{scope} r = {full['r']:.3f} ({p_text(full['p_t'])}), without the dense point "
            f"{without['r']:.3f} ({p_text(without['p_t'])}), Spearman {full['rho']:.2f} "
            f"({p_text(full['rho_p_permutation'])})"
        )
    mc2, mmlu = (
        joined(
            f"{dose[(f'fraction removed and {task}', scope)]:+.2f} in {scope}" for scope in SIZES
        )
        for task in ("MC2", "MMLU")
    )
    return (
        f"MMLU against MC2, the claim gone from V3's abstract: {'; '.join(parts)}. Against the "
        f"fraction removed, r of MC2 is {mc2}, of MMLU {mmlu}: seven ordered widths cannot "
        "separate a trade-off between the two from a common trend."
    )


def conclusions(claims: pd.DataFrame, alpha: float = LEVEL) -> list[str]:
    """The answers of the notebook as sentences, from `verdicts.judge` and the published tables."""
    scores, floors = paper.scores(), paper.floors()
    levels = comparison.levels(scores, floors, alpha)
    return [
        _overall(claims, alpha),
        _rises(scores, alpha),
        _where_to(levels),
        _kept(claims, alpha),
        _instruct(claims, scores, levels),
        _mmlu(comparison.retention(scores, floors, alpha)),
        _musr(scores, levels, alpha),
        _at_chance(levels),
        _correlation(comparison.correlations(scores, alpha)),
    ]
