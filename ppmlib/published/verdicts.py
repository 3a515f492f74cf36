"""The claims of the paper, each with its verdict and the numbers behind it.

    judge        every claim of claims.csv, judged
    tested_table, floors_table, others_table, given_table  the same for a page

A verdict is read off numbers: is the change shown after Holm's correction over all claims with a
p-value, and does the score lie above what answers without knowledge get? 'Not shown' says what
could have been missed; it never says that there is no effect.
"""

import math
from typing import Any

import pandas as pd
from scipy.stats import ttest_ind_from_stats

from ppmlib import published as paper
from ppmlib.published import comparison
from ppmlib.statistics import multiplicity
from ppmlib.statistics.proportions import LEVEL

IN_V3 = {
    "restated": "kept in V3's abstract",
    "withdrawn": "withdrawn: gone from V3's abstract",
    "unknown": "not in V3's abstract, its body was not read",
}
ABOVE, NOT_ABOVE, BELOW = "above floor", "not above floor", "below floor"


def points(value: float) -> str:
    """A fraction as signed points: `+4.8`."""
    return f"{100 * value:+.1f}"


def p_text(value: float) -> str:
    """A p-value to two digits, tiny ones as a bound."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def p_short(value: float) -> str:
    """The same for a column of p-values."""
    return p_text(value).removeprefix("p ").removeprefix("= ")


def _recomputed(unit: str, dense: float, value: float) -> float:
    change = {"% change": value / dense - 1, "% of dense": value / dense, "points": value - dense}
    return 100 * change[unit]


def _difference(claim, scores, levels, alpha) -> dict[str, Any]:
    where = {"model": claim.scope, "task": claim.task, "metric": claim.metric}
    row = comparison.one(scores, pruning_ratio=claim.pruning_ratio, **where)
    dense = comparison.one(scores, pruning_ratio=0.0, **where)
    found = comparison.change(scores, row, alpha)
    of_model = levels.query("model == @claim.scope and task == @claim.task")
    here = of_model[of_model["pruning_ratio"] == claim.pruning_ratio]
    widths = scores[(scores[list(where)] == pd.Series(where)).all(axis=1)]
    pruned = widths.loc[widths["pruning_ratio"] > 0, "value"]
    peak = claim.direction == "better" and row["value"] == pruned.max()
    return {
        "recomputed": _recomputed(claim.unit, dense["value"], row["value"]),
        "dense": dense["value"], "value": row["value"], "se_source": row["se_source"],
        "n": int(row["n"]), "n_verified": bool(row["n_verified"]),
        "difference": found.difference, "low": found.low, "high": found.high, "z": found.z,
        "p_value": found.p_value, "detectable": found.detectable,
        "levels": here[["floor", "floor_value", "above", "low", "high", "level"]]
        .to_dict("records"),
        "peak_of": len(pruned) if peak else 0,
    }  # fmt: skip


def _correlation(claim, correlations) -> dict[str, Any]:
    table = correlations[correlations["of"] == "MMLU and MC2"].set_index(["scope", "dense_point"])
    found, without = table.loc[(claim.scope, True)], table.loc[(claim.scope, False)]
    text = (
        f"r = {found.r:.3f} [{found.low:.2f}, {found.high:.2f}] over {found.points:.0f} points, "
        f"permutation {p_text(found.p_permutation)}; Spearman {found.rho:.2f} "
        f"(permutation {p_text(found.rho_p_permutation)}); without the dense "
        f"{'points' if claim.scope == 'pooled' else 'point'} r = {without.r:.3f} "
        f"({p_text(without.p_t)}, permutation {p_text(without.p_permutation)})"
    )
    return {"recomputed": found.r, "p_value": found.p_t, "without_dense": without.r, "text": text}


def _monotonic(claim, steps, alpha) -> dict[str, Any]:
    mine = steps[(steps["model"] == claim.scope) & (steps["task"] == claim.task)]
    sign = 1 if claim.direction == "better" else -1
    wrong = mine[sign * mine["step"] < 0]
    if wrong.empty:
        largest = mine["z"].abs().max()
        return {
            "verdict": "holds in its table",
            "text": f"{len(mine)} of {len(mine)} steps go that way; largest step z = {largest:.2f}",
        }
    listed = ", ".join(
        f"{w['from']:.0%} to {w['to']:.0%} {points(w['step'])} points (z {w['z']:+.2f})"
        for _, w in wrong.iterrows()
    )
    beyond = int((wrong["p_value"] <= alpha).sum())
    kind = "beyond error" if beyond else "within error"
    return {
        "verdict": f"contradicted by its own table, {kind}",
        "text": f"{len(wrong)} of {len(mine)} steps go the other way: {listed}",
    }


def _cost(claim) -> dict[str, Any]:
    rows = paper.read("efficiency").query(
        "model == 'meta-llama/Llama-3.2-1B' and workload == @claim.task and metric == @claim.metric"
    ).set_index("pruning_ratio")  # fmt: skip
    dense, narrow = rows.loc[0.0], rows.loc[claim.pruning_ratio]
    test = ttest_ind_from_stats(
        narrow["mean"], narrow["std"], int(narrow["n"]), dense["mean"], dense["std"],
        int(dense["n"]), equal_var=False,
    )  # fmt: skip
    cost = comparison.cost()
    ratio = cost.loc[claim.pruning_ratio] / cost.loc[0.0]
    tokens, per_token = ratio["tokens_per_answer"], ratio["ms_per_token"]
    spread = f"Welch over {int(dense['n'])} prompt sets {p_text(test.pvalue)}"
    if claim.metric == "ttlt":
        share = math.log(tokens) / math.log(tokens * per_token)
        verdict = "longer answers, not slower" if share > 0.5 else "slower"
        text = (f"tokens per answer {tokens - 1:+.1%}, time per token {per_token - 1:+.1%}: "
                f"{share:.0%} of the rise is length; {spread}")  # fmt: skip
    else:
        verdict = "ratio reproduces, unit wrong"
        text = (f"kg of CO2 read as kWh: joules are {1 / cost['unit_factor'].iloc[0]:.2f} times "
                f"the published; per answer {ratio['joules_per_answer'] - 1:+.1%} as answers grow "
                f"by {tokens - 1:+.1%}; {spread}")  # fmt: skip
    recomputed = 100 * (narrow["mean"] / dense["mean"] - 1)
    return {"recomputed": recomputed, "verdict": verdict, "text": text}


def _batching(claim) -> dict[str, Any]:
    one, eight = (
        comparison.cost("1B", "mmlu_latency_b1"),
        comparison.cost("1B", "mmlu_throughput_b8"),
    )
    gain = one["joules_per_token_published"] / eight["joules_per_token_published"]
    here, dense = gain[claim.pruning_ratio], gain[0.0]
    verdict = "not a gain of pruning" if dense >= here else "larger than in the dense model"
    text = f"batching gains {here:.2f} times here and {dense:.2f} times in the dense model"
    return {"recomputed": here, "verdict": verdict, "text": text}


def _catastrophic() -> dict[str, Any]:
    table = paper.read("selection").set_index(["run", "criterion"])
    lambada = table["lambada_perplexity"].unstack()
    ratios = lambada[["vow", "pon"]].div(lambada["ppm"], axis=0)
    n = paper.read("documents").set_index("task").loc["piqa", "n"]
    piqa = table["piqa_acc"].unstack().loc["Jun 2026"]
    error = (piqa * (1 - piqa) / n) ** 0.5
    z = {name: comparison.compare(piqa["ppm"], error["ppm"], piqa[name], error[name]).z
         for name in ("vow", "pon")}  # fmt: skip
    return {
        "verdict": "far worse at the one ratio tested",
        "text": f"LAMBADA perplexity {ratios.min().min():.0f} to {ratios.max().max():.0f} times "
        f"that of PPM in 3 runs of one model at 10%, without error bars; PIQA z {z['vow']:+.1f} "
        f"(VOW), {z['pon']:+.1f} (PON); PON's LAMBADA perplexity ranges from "
        f"{lambada['pon'].min():.0f} to {lambada['pon'].max():.0f} over the runs; no control",
    }


def _specific() -> dict[str, Any]:
    table = paper.read("selection").set_index(["run", "criterion"]).loc["Jun 2026"]
    n = paper.read("documents").set_index("task").loc["boolq", "n"]
    p = table["boolq_acc"]
    error = (p * (1 - p) / n) ** 0.5
    found = comparison.compare(p["ppm"], error["ppm"], p["vow"], error["vow"])
    return {
        "verdict": "not tested",
        "text": "no other selection was run beyond 10% or on IFEval, MUSR, MC2, MMLU or GSM8K, and "
        f"none at random; BoolQ at 10%: VOW minus PPM {points(found.difference)} points "
        f"(z {found.z:+.2f})",
    }


def _rise_or_fall(claim, found, shown: bool) -> str:
    rise = claim.direction == "better"
    word = "rise" if rise else "fall"
    if not shown:
        return f"{word} not shown"
    if (found["difference"] > 0) != rise:
        return f"contradicted: a {'fall' if rise else 'rise'} shown"
    states = [level["level"] for level in found["levels"]]
    if not states:
        return f"{word} shown, no floor measured"
    if not rise:
        return f"fall shown, {'still above' if states[0] == ABOVE else 'down to'} the floor"
    if states[0] != ABOVE:
        return "rise shown, not above the floor"
    return "rise shown, " + ("above the floor" if all(s == ABOVE for s in states)
                             else "between two floors")  # fmt: skip


def _level_text(levels: list[dict[str, Any]]) -> str:
    if not levels:
        return "no measured floor"
    return "; ".join(
        f"{level['floor']} ({level['floor_value']:.4f}): {points(level['above'])} points "
        f"[{points(level['low'])}, {points(level['high'])}], {level['level']}"
        for level in levels
    )


def _difference_text(found: dict[str, Any]) -> str:
    text = (
        f"{points(found['difference'])} points [{points(found['low'])}, {points(found['high'])}], "
        f"z {found['z']:+.2f}; 80% power for {100 * found['detectable']:.1f} points"
    )
    if found["peak_of"] > 0:
        text += f"; the highest of {found['peak_of']:.0f} widths, which flatters it"
    return text


def judge(alpha: float = LEVEL) -> pd.DataFrame:
    """Every claim of claims.csv with its numbers and verdict, one row per claim.

    Holm's correction runs over all claims with a p-value (`p_holm`), and again over those that V3
    keeps (`p_holm_v3`). The verdict follows `p_holm`. `recomputed` is the published figure computed
    again from the published table.
    """
    scores, floors = paper.scores(), paper.floors()
    levels = comparison.levels(scores, floors, alpha)
    correlations = comparison.correlations(scores, alpha)
    steps = comparison.monotonicity(scores, alpha)
    judges = {
        "difference": lambda claim: _difference(claim, scores, levels, alpha),
        "correlation": lambda claim: _correlation(claim, correlations),
        "monotonic": lambda claim: _monotonic(claim, steps, alpha),
        "cost": _cost, "batching": _batching,
        "selection": lambda claim: _catastrophic() if claim.id == "catastrophic" else _specific(),
        "quoted": lambda claim: {"verdict": "quoted, not tested", "text": "no test is declared"},
    }  # fmt: skip
    claims = paper.read("claims")
    found = [judges[claim.kind](claim) for claim in claims.itertuples()]
    table = pd.concat([claims, pd.DataFrame(found)], axis=1)
    family, kept = table["p_value"].notna(), table["v3"] == "restated"
    for column, members in (("p_holm", family), ("p_holm_v3", family & kept)):
        table.loc[members, column] = multiplicity.holm(table.loc[members, "p_value"])
    for index, row in table[family].iterrows():
        table.loc[index, "verdict"] = _verdict(row, alpha)
    tested = table["kind"] == "difference"
    table.loc[tested, "text"] = [_difference_text(row) for _, row in table[tested].iterrows()]
    table.loc[tested, "level"] = [_level_text(levels) for levels in table.loc[tested, "levels"]]
    return table


def _verdict(row: pd.Series, alpha: float) -> str:
    if row["kind"] == "correlation":
        return "correlation " + ("shown" if row["p_holm"] <= alpha else "not shown")
    verdict = _rise_or_fall(row, row, row["p_holm"] <= alpha)
    if row["p_holm"] > alpha >= row["p_holm_v3"]:
        verdict += "; shown if V3's claims are the only ones"
    return verdict


def reproduced(claims: pd.DataFrame, tolerance: float = 0.06) -> pd.Series:
    """Whether the published figure follows from the published table, up to its last digit."""
    return (claims["published"] - claims["recomputed"]).abs() <= tolerance


def tested_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims with a p-value: verdict, size with interval, p-values, what could be seen."""
    rows = []
    for row in claims[claims["p_holm"].notna()].itertuples():
        difference = row.kind == "difference"
        size = _difference_size(row) if difference else row.text.split(" over ")[0]
        rows.append({
            "claim": row.what, "in": _where(row), "verdict": row.verdict,
            "difference, points": size, "z": f"{row.z:+.2f}" if difference else "–",
            "p": p_short(row.p_value),
            "p (Holm)": p_short(row.p_holm),
            "80% power for": f"{100 * row.detectable:.1f} points" if difference else "–",
            "standard errors": _errors(row) if difference else "–",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("claim")


def _difference_size(row) -> str:
    best = f", highest of {row.peak_of:.0f} widths" if row.peak_of > 0 else ""
    return f"{points(row.difference)} [{points(row.low)}, {points(row.high)}]{best}"


def _errors(row) -> str:
    return f"{row.se_source}, n {row.n:.0f}{'' if row.n_verified else ' (UNVERIFIED)'}"


def _where(row) -> str:
    return {"restated": "V1 and V3", "withdrawn": "V1; withdrawn", "unknown": "V1"}[row.v3]


def floors_table(claims: pd.DataFrame) -> pd.DataFrame:
    """Each claimed score beside every floor of its task, and the verdict on its level."""
    rows = []
    for row in claims[claims["kind"] == "difference"].itertuples():
        for level in row.levels or [None]:
            known = level is not None
            rows.append({
                "claim": row.what, "score": f"{row.value:.4f}",
                "floor": f"{level['floor']} {level['floor_value']:.4f}" if known else "none",
                "above it, points": f"{points(level['above'])} [{points(level['low'])}, "
                f"{points(level['high'])}]" if known else "–",
                "level": level["level"] if known else "–",
            })  # fmt: skip
    return pd.DataFrame(rows).set_index("claim")


def others_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims without a p-value: verdict and numbers."""
    claims = claims[claims["p_holm"].isna()]
    shown = pd.DataFrame({
        "claim": claims["what"], "in": [_where(row) for row in claims.itertuples()],
        "verdict": claims["verdict"], "numbers": claims["text"],
        "published": _figure(claims, "published"), "recomputed": _figure(claims, "recomputed"),
    })  # fmt: skip
    return shown.set_index("claim")


def given_table(claims: pd.DataFrame) -> pd.DataFrame:
    """Figures the paper gives, beside the same figures from its own tables."""
    claims = claims[claims["published"].notna()]
    shown = pd.DataFrame({
        "claim": claims["what"], "in V3": claims["v3"].map(IN_V3),
        "published": _figure(claims, "published"), "recomputed": _figure(claims, "recomputed"),
        "follows": reproduced(claims).map({True: "yes", False: "no"}),
    })  # fmt: skip
    return shown.set_index("claim")


def _figure(claims: pd.DataFrame, column: str) -> list[str]:
    form = {"% change": "{:+.1f}%", "% of dense": "{:.1f}%", "points": "{:+.1f} points",
            "r": "{:.3f}", "times": "{:.1f} times"}  # fmt: skip
    return ["–" if pd.isna(value) else form[unit].format(value)
            for value, unit in zip(claims[column], claims["unit"], strict=True)]  # fmt: skip
