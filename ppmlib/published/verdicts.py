"""The claims of the paper, each with its verdict and the numbers behind it.

A verdict is read off numbers: is the change shown after Holm's correction over all claims with a
p-value, and is the score above the trivial baselines? 'Not shown' comes with the size that could
have been missed; it never means that there is no effect. `show.published_claims` puts the numbers
into words.
"""

import math
from typing import Any

import pandas as pd
from scipy.stats import ttest_ind_from_stats

from ppmlib import published as paper
from ppmlib.published import comparison
from ppmlib.statistics import multiplicity
from ppmlib.statistics.proportions import LEVEL

ABOVE, NOT_ABOVE, BELOW = "above floor", "not above floor", "below floor"
LEVEL_COLUMNS = ["floor", "floor_value", "above", "low", "high", "level"]


def judge(alpha: float = LEVEL) -> pd.DataFrame:
    """Every claim of claims.csv with its numbers and verdict, one row per claim.

    Holm's correction runs over all claims with a p-value (`p_holm`), and again over those that V3
    keeps (`p_holm_v3`). The verdict follows `p_holm`. `recomputed` is the published figure computed
    again from the published table, `levels` the claimed score against each baseline of its task.
    `numbers` holds what else the verdict rests on, by names that depend on the claim's kind.
    """
    scores, floors = paper.scores(), paper.floors()
    levels = comparison.levels(scores, floors, alpha)
    correlations = comparison.correlations(scores, alpha)
    steps = comparison.monotonicity(scores, alpha)
    judges = {
        "difference": lambda claim: _difference(claim, scores, levels, alpha),
        "correlation": lambda claim: _correlation(claim, correlations),
        "monotonic": lambda claim: _monotonic(claim, steps, alpha),
        "cost": _cost,
        "batching": _batching,
        "selection": lambda claim: _catastrophic() if claim.id == "catastrophic" else _specific(),
        "quoted": lambda claim: {"verdict": "quoted, not tested"},
    }
    claims = paper.read("claims")
    found = [judges[claim.kind](claim) for claim in claims.itertuples()]
    table = pd.concat([claims, pd.DataFrame(found)], axis=1)
    family, kept = table["p_value"].notna(), table["v3"] == "restated"
    for column, members in (("p_holm", family), ("p_holm_v3", family & kept)):
        table.loc[members, column] = multiplicity.holm(table.loc[members, "p_value"])
    for index, row in table[family].iterrows():
        table.loc[index, "verdict"] = _verdict(row, alpha)
    return table


def reproduced(claims: pd.DataFrame, tolerance: float = 0.06) -> pd.Series:
    """Whether the published figure follows from the published table, up to its last digit."""
    return (claims["published"] - claims["recomputed"]).abs() <= tolerance


def _difference(claim, scores, levels, alpha) -> dict[str, Any]:
    where = {"model": claim.scope, "task": claim.task, "metric": claim.metric}
    row = comparison.only_row(scores, pruning_ratio=claim.pruning_ratio, **where)
    dense = comparison.only_row(scores, pruning_ratio=0.0, **where)["value"]
    value = row["value"]
    figures = {"% change": value / dense - 1, "% of dense": value / dense, "points": value - dense}
    found = vars(comparison.change(scores, row, alpha))
    here = levels.query(
        "model == @claim.scope and task == @claim.task and pruning_ratio == @claim.pruning_ratio"
    )
    widths = scores[(scores[list(where)] == pd.Series(where)).all(axis=1)]
    pruned = widths.loc[widths["pruning_ratio"] > 0, "value"]
    peak = claim.direction == "better" and value == pruned.max()
    return {name: number for name, number in found.items() if name != "se"} | {
        "recomputed": 100 * figures[claim.unit],
        "dense": dense,
        "value": value,
        "se_source": row["se_source"],
        "n": int(row["n"]),
        "n_verified": bool(row["n_verified"]),
        "levels": here[LEVEL_COLUMNS].to_dict("records"),
        "peak_of": len(pruned) if peak else 0,
    }


def _correlation(claim, correlations) -> dict[str, Any]:
    table = correlations[correlations["of"] == "MMLU and MC2"].set_index(["scope", "dense_point"])
    found, without = table.loc[(claim.scope, True)], table.loc[(claim.scope, False)]
    return {
        "recomputed": found["r"],
        "p_value": found["p_t"],
        "without_dense": without["r"],
        "numbers": {"dense_in": found, "dense_out": without},
    }


def _monotonic(claim, steps, alpha) -> dict[str, Any]:
    of_claim = steps[(steps["model"] == claim.scope) & (steps["task"] == claim.task)]
    sign = 1 if claim.direction == "better" else -1
    wrong = of_claim[sign * of_claim["step"] < 0]
    verdict = "holds in its table"
    if len(wrong):
        beyond = (wrong["p_value"] <= alpha).any()
        verdict = f"contradicted by its own table, {'beyond' if beyond else 'within'} error"
    return {"verdict": verdict, "numbers": {"steps": of_claim, "wrong": wrong}}


def _cost(claim) -> dict[str, Any]:
    rows = paper.read("efficiency").set_index("pruning_ratio")
    rows = rows[rows["model"].map(paper.MODELS) == "1B"]
    rows = rows[(rows["workload"] == claim.task) & (rows["metric"] == claim.metric)]
    narrow, dense = rows.loc[claim.pruning_ratio], rows.loc[0.0]
    sets = [
        number for row in (narrow, dense) for number in (row["mean"], row["std"], int(row["n"]))
    ]
    cost = comparison.cost()
    ratio = cost.loc[claim.pruning_ratio] / cost.loc[0.0]
    numbers = {
        "tokens": ratio["tokens_per_answer"],
        "per_token": ratio["ms_per_token"],
        "joules": ratio["joules_per_answer"],
        "unit_factor": cost["unit_factor"].iloc[0],
        "sets": int(dense["n"]),
        "p_welch": ttest_ind_from_stats(*sets, equal_var=False).pvalue,
    }
    verdict = "ratio reproduces, unit wrong"
    if claim.metric == "ttlt":
        tokens, per_token = numbers["tokens"], numbers["per_token"]
        numbers["share"] = math.log(tokens) / math.log(tokens * per_token)
        verdict = "longer answers, not slower" if numbers["share"] > 0.5 else "slower"
    recomputed = 100 * (narrow["mean"] / dense["mean"] - 1)
    return {"recomputed": recomputed, "verdict": verdict, "numbers": numbers}


def _batching(claim) -> dict[str, Any]:
    alone, eight = (
        comparison.cost("1B", workload)["joules_per_token_published"]
        for workload in ("mmlu_latency_b1", "mmlu_throughput_b8")
    )
    here, dense = (alone / eight)[[claim.pruning_ratio, 0.0]]
    verdict = "not a gain of pruning" if dense >= here else "larger than in the dense model"
    numbers = {"here": here, "dense": dense}
    return {"recomputed": here, "verdict": verdict, "numbers": numbers}


def _selection(task: str, metric: str) -> tuple[pd.DataFrame, dict[str, comparison.Difference]]:
    """The table of other criteria, and each criterion minus PPM in its last run."""
    table = paper.read("selection").set_index(["run", "criterion"])
    n = paper.read("documents").set_index("task").loc[task, "n"]
    share = table.loc["Jun 2026", metric]
    error = (share * (1 - share) / n) ** 0.5
    ours = share["ppm"], error["ppm"]
    return table, {
        name: comparison.compare(*ours, share[name], error[name]) for name in ("vow", "pon")
    }


def _catastrophic() -> dict[str, Any]:
    table, piqa = _selection("piqa", "piqa_acc")
    lambada = table["lambada_perplexity"].unstack()
    numbers = {
        "ratios": lambada[["vow", "pon"]].div(lambada["ppm"], axis=0),
        "pon": lambada["pon"],
        "z": {name: found.z for name, found in piqa.items()},
    }
    return {"verdict": "far worse at the one ratio tested", "numbers": numbers}


def _specific() -> dict[str, Any]:
    _, boolq = _selection("boolq", "boolq_acc")
    return {"verdict": "not tested", "numbers": {"vow": boolq["vow"]}}


def _verdict(row: pd.Series, alpha: float) -> str:
    shown = row["p_holm"] <= alpha
    if row["kind"] == "correlation":
        return "correlation " + ("shown" if shown else "not shown")
    verdict = _rise_or_fall(row) if shown else f"{_word(row)} not shown"
    if row["p_holm"] > alpha >= row["p_holm_v3"]:
        verdict += "; shown if V3's claims are the only ones"
    return verdict


def _word(row: pd.Series) -> str:
    return "rise" if row["direction"] == "better" else "fall"


def _rise_or_fall(row: pd.Series) -> str:
    """The verdict on a claimed change where a change is shown."""
    rise = row["direction"] == "better"
    if (row["difference"] > 0) != rise:
        return f"contradicted: a {'fall' if rise else 'rise'} shown"
    above = [level["level"] == ABOVE for level in row["levels"]]
    if not above:
        return f"{_word(row)} shown, no floor measured"
    if not rise:
        return f"fall shown, {'still above' if above[0] else 'down to'} the floor"
    if not above[0]:
        return "rise shown, not above the floor"
    return "rise shown, " + ("above the floor" if all(above) else "between two floors")
