"""Figures of the published numbers (notebook 6)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm

from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure
from ppmlib.statistics.proportions import LEVEL

COLORS = {"1B": PALETTE[0], "3B": PALETTE[1], "1B-Instruct": PALETTE[2]}
SHAPES = {"1B": MARKERS[0], "3B": MARKERS[1], "1B-Instruct": MARKERS[2]}
TASKS = {
    "mmlu": "MMLU",
    "boolq": "BoolQ",
    "leaderboard_musr": "MUSR",
    "truthfulqa_mc1": "TruthfulQA MC1",
    "truthfulqa_mc2": "TruthfulQA MC2",
}
CLAIMED = TASKS | {"ifeval": "IFEval", "gsm8k": "GSM8K", "truthfulqa_mc2": "MC2"}
BAND = {"constant": "#E69F00", "echo": "#CC79A7"}


def _reach(alpha: float) -> float:
    return float(norm.isf(alpha / 2))


def ifeval(
    scores: pd.DataFrame,
    responders: pd.DataFrame,
    judged: pd.DataFrame,
    *,
    alpha: float = LEVEL,
    root: Path | None = None,
    name: str = "ifeval",
) -> Figure:
    """Published IFEval against expansion ratio, one panel per model, and what trivial answers get.

    Args:
        scores: `published.scores`; responders: `published.trivial_responders`.
        judged: `verdicts.judge`; the claims name their rises above the axis.
        alpha: error bars are at 1 - alpha.
        root, name: as `figures.figure`.
    """
    table = scores[(scores["task"] == "ifeval") & scores["headline"]]
    told = responders.set_index("response")["value"]
    spans = responders.groupby("kind")["value"].agg(["min", "max"])
    bands = [("constant", 'answer "the"', {"value": told['"the"'], **spans.loc["constant"]}),
             ("echo", "echoed prompt", {"value": told["echo prompt once"], **spans.loc["echo"]}),
             ]  # fmt: skip
    models = list(COLORS)
    fig, axes = plt.subplots(1, 3, figsize=(10, 4), sharey=True)
    for axis, model in zip(axes, models, strict=True):
        part = table[table["model"] == model].sort_values("expansion_ratio")
        for kind, label, row in bands:
            axis.axhspan(row["min"], row["max"], color=BAND[kind], alpha=0.35, lw=0, label=label)
            axis.axhline(row["value"], color=BAND[kind], lw=1.4)
        dense = part[part["pruning_ratio"] == 0].iloc[0]
        axis.axhline(dense["value"], **BASELINE, label="dense model")
        axis.errorbar(
            part["expansion_ratio"], part["value"], yerr=_reach(alpha) * part["se"], capsize=3,
            color=COLORS[model], marker=SHAPES[model], label="published score",
        )  # fmt: skip
        rises = judged.query("task == 'ifeval' and scope == @model and direction == 'better'")
        for claim in rises.itertuples():
            x = part.loc[part["pruning_ratio"] == claim.pruning_ratio, "expansion_ratio"].iloc[0]
            said = f"{claim.published:+.0f}%\n{claim.version.replace(' and ', ', ')}"
            axis.annotate(said, (x, 0.005), ha="center", fontsize="x-small", color="#444444")
        axis.set(title=f"Llama-3.2-{model}", xlabel="expansion ratio")
        axis.invert_xaxis()
    axes[0].set_ylabel("IFEval, prompt-level strict")
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    shown = table[["model", "pruning_ratio", "expansion_ratio", "value", "se"]].copy()
    for kind, _, row in bands:
        for name_of, value in row.items():
            shown[f"{kind}_{name_of}"] = value
    return figure(
        fig,
        name=name,
        title="Published IFEval scores of Llama-3.2 (arXiv 2512.22671) against expansion ratio, "
        f"{1 - alpha:.0%} intervals from the published standard errors. Bands: what answers that "
        "understand nothing score on the same 541 prompts; lines: the two answers named. Above "
        "the axis: the claimed rises.",
        alt=_ifeval_alt(table, bands),
        table=shown.set_index(["model", "pruning_ratio"]),
        root=root,
    )


def _ifeval_alt(table: pd.DataFrame, bands: list) -> str:
    parts = []
    for model, part in table.groupby("model", sort=False):
        dense, pruned = part[part["pruning_ratio"] == 0], part[part["pruning_ratio"] > 0]
        parts.append(f"{model} {dense['value'].iloc[0]:.3f} dense, {pruned['value'].min():.3f} to "
                     f"{pruned['value'].max():.3f} pruned")  # fmt: skip
    floors = ", ".join(f"{label} {row['value']:.3f}" for _, label, row in bands)
    return (
        "Three line charts with error bars of IFEval against expansion ratio: "
        f"{'; '.join(parts)}. Horizontal lines: {floors}."
    )


def claims(judged: pd.DataFrame, *, root: Path | None = None, name: str = "claims") -> Figure:
    """Forest plot of the claimed rises and falls with intervals and detectable sizes.

    Args:
        judged: `verdicts.judge`.
        root, name: as `figures.figure`.
    """
    tested = judged[judged["kind"] == "difference"]
    sides = [("better", "Claimed rises"), ("worse", "Claimed falls")]
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    for axis, (direction, title) in zip(axes, sides, strict=True):
        part = tested[tested["direction"] == direction].iloc[::-1]
        for place, row in enumerate(part.itertuples()):
            shown = " shown" in f" {row.verdict}" and "not shown" not in row.verdict
            reach = 100 * row.detectable
            axis.plot([-reach, reach], [place, place], color="#DDDDDD", lw=9, solid_capstyle="butt")
            middle = 100 * row.difference
            axis.errorbar(
                middle, place, xerr=[[middle - 100 * row.low], [100 * row.high - middle]],
                marker="o", capsize=3, color=PALETTE[0] if shown else PALETTE[1],
                markerfacecolor=PALETTE[0] if shown else "white", markeredgewidth=1.5,
            )  # fmt: skip
        axis.axvline(0, **BASELINE)
        labels = [_claim_label(row) for row in part.itertuples()]
        axis.set(title=title, xlabel="points against the dense model", yticks=range(len(part)))
        axis.set_yticklabels(labels)
        axis.grid(axis="y", visible=False)
    columns = ["id", "v3", "difference", "low", "high", "z", "p_value", "p_holm", "detectable"]
    table = tested[[*columns, "verdict"]].set_index("id")
    listed = "; ".join(f"{row.id} {100 * row.difference:+.1f}" for row in tested.itertuples())
    return figure(
        fig,
        name=name,
        title="The paper's claimed differences (unpaired): filled = shown after Holm's correction, "
        "open = not shown; grey: sizes that 80% power would miss, uncorrected. Percent: neurons "
        "removed.",
        alt=f"Two forest plots of claimed differences in points with intervals: {listed}.",
        table=table,
        root=root,
    )


def _claim_label(row) -> str:
    kept = " (V3)" if row.v3 == "restated" else ""
    return f"{row.scope} {CLAIMED[row.task]} {row.pruning_ratio:.0%}{kept}"


def above_chance(
    levels: pd.DataFrame,
    retention: pd.DataFrame,
    *,
    alpha: float = LEVEL,
    root: Path | None = None,
    name: str = "above-chance",
) -> Figure:
    """Base models' scores minus chance (or majority, or uniform), and what MMLU keeps above it.

    Args:
        levels: `published.levels`; retention: `published.retention`.
        root, name: as `figures.figure`.
    """
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.2))
    for axis, (task, label) in zip(axes.flat, TASKS.items(), strict=False):
        for model in ("1B", "3B"):
            part = levels[(levels["task"] == task) & (levels["model"] == model)]
            part = part.sort_values("expansion_ratio")
            axis.errorbar(
                part["expansion_ratio"], 100 * part["above"], yerr=100 * _reach(alpha) * part["se"],
                color=COLORS[model], marker=SHAPES[model], capsize=3, label=f"Llama-3.2-{model}",
            )  # fmt: skip
        axis.axhline(0, **CHANCE | {"color": "#444444"})
        floor = part["floor"].iloc[0]
        axis.set(title=label, ylabel=f"points above {floor}", xlabel="expansion ratio")
        axis.invert_xaxis()
    axes[0, 0].legend()
    _kept(axes[1, 2], retention[retention["task"] == "mmlu"])
    columns = ["task", "model", "pruning_ratio", "expansion_ratio", "floor", "floor_value", "value",
               "above", "low", "high", "level"]  # fmt: skip
    table = levels[levels["task"].isin(TASKS) & levels["model"].isin(["1B", "3B"])][columns]
    merged = table.merge(
        retention[["task", "model", "pruning_ratio", "kept_as_published", "kept_above_floor"]],
        on=["task", "model", "pruning_ratio"], how="left",
    )  # fmt: skip
    count = table[table["level"] == "above floor"].groupby("task").size()
    size = table.groupby("task").size()
    parts = [f"{label} {count.get(task, 0)} of {size[task]}" for task, label in TASKS.items()]
    return figure(
        fig,
        name=name,
        title=f"Published scores minus what guessing scores, {1 - alpha:.0%} intervals. Last "
        "panel: share of MMLU kept, as published (dashed) and above chance (solid, Fieller).",
        alt="Five charts of points above chance against expansion ratio for two models; scores "
        f"surely above: {', '.join(parts)}. A sixth chart of the share of MMLU kept.",
        table=merged.set_index(["task", "model", "pruning_ratio"]).astype(object).fillna("–"),
        root=root,
    )


def _kept(axis, mmlu: pd.DataFrame) -> None:
    for model in ("1B", "3B"):
        part = mmlu[mmlu["model"] == model].sort_values("expansion_ratio")
        kept, look = 100 * part["kept_above_floor"], {"color": COLORS[model]}
        error = [kept - 100 * part["low"], 100 * part["high"] - kept]
        axis.errorbar(part["expansion_ratio"], kept, yerr=error, marker=SHAPES[model], capsize=3,
                      **look)  # fmt: skip
        axis.plot(part["expansion_ratio"], 100 * part["kept_as_published"], ls="--", **look)
    axis.axhline(0, **CHANCE | {"color": "#444444"})
    axis.set(title="MMLU kept", ylabel="percent of the dense model", xlabel="expansion ratio")
    axis.invert_xaxis()


def correlation(
    scores: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    root: Path | None = None,
    name: str = "correlation",
) -> Figure:
    """MMLU against MC2 with lines fitted with and without the dense model.

    Args:
        scores: `published.scores`; correlations: `published.correlations`.
        root, name: as `figures.figure`.
    """
    used = scores[scores["headline"] & scores["task"].isin(["mmlu", "truthfulqa_mc2"])]
    wide = used.pivot(index=["model", "pruning_ratio"], columns="task", values="value")
    wide = wide.loc[["1B", "3B"]].reset_index()
    r = correlations[correlations["of"] == "MMLU and MC2"].set_index(["scope", "dense_point"])["r"]
    fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, model in zip(axes, ("1B", "3B"), strict=True):
        part = wide[wide["model"] == model]
        pruned, dense = part[part["pruning_ratio"] > 0], part[part["pruning_ratio"] == 0]
        axis.plot(pruned["mmlu"], pruned["truthfulqa_mc2"], SHAPES[model], color=COLORS[model])
        axis.plot(dense["mmlu"], dense["truthfulqa_mc2"], "*", ms=14, mfc="white",
                  mew=1.5, color=COLORS[model])  # fmt: skip
        for points, style, word in ((part, "-", "with"), (pruned, "--", "without")):
            x = np.array([points["mmlu"].min(), points["mmlu"].max()])
            slope, start = np.polyfit(points["mmlu"], points["truthfulqa_mc2"], 1)
            label = f"{word} the dense model: r = {r[(model, word == 'with')]:.3f}"
            axis.plot(x, start + slope * x, style, color="#444444", lw=1.2, label=label)
        for row in part.itertuples():
            name_it = f"{row.pruning_ratio:.0%}" if row.pruning_ratio else "dense"
            axis.annotate(name_it, (row.mmlu, row.truthfulqa_mc2),
                          xytext=(6, 4), textcoords="offset points", fontsize="small")  # fmt: skip
        axis.set(title=f"Llama-3.2-{model}", xlabel="MMLU accuracy")
        axis.legend(fontsize="small")
        axis.margins(x=0.12)
    axes[0].set_ylabel("TruthfulQA MC2")
    said = "; ".join(f"{s} r = {r[(s, True)]:.3f} with, {r[(s, False)]:.3f} without the dense model"
                     for s in ("1B", "3B"))  # fmt: skip
    return figure(
        fig,
        name=name,
        title="The correlation of V1 (gone from V3's abstract): published MMLU against MC2, "
        "labelled by the share of neurons removed; the star is the dense model.",
        alt=f"Two scatter plots of MC2 against MMLU over seven widths each: {said}.",
        table=wide.set_index(["model", "pruning_ratio"]),
        root=root,
    )
