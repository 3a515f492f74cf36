"""Figures of the published numbers (notebook 6)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm

from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, drawing, figure, styled
from ppmlib.statistics.proportions import LEVEL

MODELS = ("1B", "3B", "1B-Instruct")
LOOKS = {
    model: {"color": color, "marker": marker}
    for model, color, marker in zip(MODELS, PALETTE, MARKERS, strict=False)
}
TASKS = {
    "mmlu": "MMLU",
    "boolq": "BoolQ",
    "leaderboard_musr": "MUSR",
    "truthfulqa_mc1": "TruthfulQA MC1",
    "truthfulqa_mc2": "TruthfulQA MC2",
}
CLAIMED = TASKS | {"ifeval": "IFEval", "gsm8k": "GSM8K", "truthfulqa_mc2": "MC2"}
BANDS = (
    ("constant", 'answer "the"', '"the"', "#E69F00"),
    ("echo", "echoed prompt", "echo prompt once", "#CC79A7"),
)  # of trivial answers: kind, label, the response drawn as a line, colour
ZERO = CHANCE | {"color": "#444444"}


def _add_model(axis, rows: pd.DataFrame, value: pd.Series, error, *, model: str, **look) -> None:
    """One model's values against expansion ratio, with error bars."""
    x = rows["expansion_ratio"]
    axis.errorbar(x, value, yerr=error, capsize=3, **LOOKS[model], **look)


def _of_model(table: pd.DataFrame, model: str) -> pd.DataFrame:
    return table[table["model"] == model].sort_values("expansion_ratio")


@styled()
def draw_ifeval(
    scores: pd.DataFrame, responders: pd.DataFrame, judged: pd.DataFrame, *, alpha: float = LEVEL
) -> Figure:
    """Published IFEval against expansion ratio, one panel per model, and the trivial baselines.

    The claimed rises (`verdicts.judge`) are named above the axis; error bars are at 1 - alpha.
    """
    table = scores[(scores["task"] == "ifeval") & scores["headline"]]
    line_at = responders.set_index("response")["value"]
    spans = responders.groupby("kind")["value"].agg(["min", "max"])
    fig, axes = plt.subplots(1, 3, figsize=(10, 4), sharey=True)
    for axis, model in zip(axes, MODELS, strict=True):
        part = _of_model(table, model)
        for kind, label, response, color in BANDS:
            axis.axhspan(*spans.loc[kind], color=color, alpha=0.35, lw=0, label=label)
            axis.axhline(line_at[response], color=color, lw=1.4)
        dense = part[part["pruning_ratio"] == 0].iloc[0]
        axis.axhline(dense["value"], **BASELINE, label="dense model")
        error = norm.isf(alpha / 2) * part["se"]
        _add_model(axis, part, part["value"], error, model=model, label="published score")
        rises = judged.query("task == 'ifeval' and scope == @model and direction == 'better'")
        for claim in rises.itertuples():
            x = part.loc[part["pruning_ratio"] == claim.pruning_ratio, "expansion_ratio"].iloc[0]
            text = f"{claim.published:+.0f}%\n{claim.version.replace(' and ', ', ')}"
            axis.annotate(text, (x, 0.005), ha="center", fontsize="x-small", color="#444444")
        axis.set(title=f"Llama-3.2-{model}", xlabel="expansion ratio")
        axis.invert_xaxis()
    axes[0].set_ylabel("IFEval, prompt-level strict")
    axes[0].set_ylim(bottom=0)
    drawing.add_legend(axes, 4, where="lower", fontsize=None)
    shown = table[["model", "pruning_ratio", "expansion_ratio", "value", "se"]].copy()
    for kind, _, response, _ in BANDS:
        columns = [f"{kind}_{name_of}" for name_of in ("value", "min", "max")]
        shown[columns] = line_at[response], *spans.loc[kind]
    parts = []
    for model, part in table.groupby("model", sort=False):
        dense = part.loc[part["pruning_ratio"] == 0, "value"].iloc[0]
        pruned = part.loc[part["pruning_ratio"] > 0, "value"]
        parts.append(f"{model} {dense:.3f} dense, {pruned.min():.3f} to {pruned.max():.3f} pruned")
    floors = ", ".join(f"{label} {line_at[response]:.3f}" for _, label, response, _ in BANDS)
    return figure(
        fig,
        name="published/ifeval",
        title="Published IFEval scores of Llama-3.2 (arXiv 2512.22671) against expansion ratio, "
        f"{1 - alpha:.0%} intervals from the published standard errors. Bands: scores of trivial "
        "baselines on the same 541 prompts; lines: the two named in the legend. Above the axis: "
        "the claimed rises.",
        alt="Three line charts with error bars of IFEval against expansion ratio: "
        f"{'; '.join(parts)}. Horizontal lines: {floors}.",
        table=shown.set_index(["model", "pruning_ratio"]),
    )


@styled()
def draw_claims(judged: pd.DataFrame) -> Figure:
    """Claimed rises and falls (`verdicts.judge`) with intervals and detectable sizes."""
    tested = judged[judged["kind"] == "difference"]
    sides = {"better": "Claimed rises", "worse": "Claimed falls"}
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    for axis, (direction, title) in zip(axes, sides.items(), strict=True):
        part = tested[tested["direction"] == direction].iloc[::-1]
        for place, row in enumerate(part.itertuples()):
            shown = " shown" in f" {row.verdict}" and "not shown" not in row.verdict
            color = PALETTE[0] if shown else PALETTE[1]
            look = {"color": color, "markerfacecolor": color if shown else "white"}
            reach, middle = 100 * row.detectable, 100 * row.difference
            axis.plot([-reach, reach], [place, place], color="#DDDDDD", lw=9, solid_capstyle="butt")
            error = [[middle - 100 * row.low], [100 * row.high - middle]]
            bar = {"marker": "o", "capsize": 3, "markeredgewidth": 1.5}
            axis.errorbar(middle, place, xerr=error, **bar, **look)
        axis.axvline(0, **BASELINE)
        labels = [
            f"{row.scope} {CLAIMED[row.task]} {row.pruning_ratio:.0%}"
            + (" (V3)" if row.v3 == "restated" else "")
            for row in part.itertuples()
        ]
        axis.set(title=title, xlabel="points against the dense model")
        axis.set_yticks(range(len(part)), labels)
        axis.grid(axis="y", visible=False)
    columns = ["v3", "difference", "low", "high", "z", "p_value", "p_holm", "detectable", "verdict"]
    listed = "; ".join(f"{row.id} {100 * row.difference:+.1f}" for row in tested.itertuples())
    return figure(
        fig,
        name="published/claims",
        title="The paper's claimed differences (unpaired): filled = shown after Holm's correction, "
        "open = not shown; grey: changes not detectable with 80% power, uncorrected. Percent: "
        "neurons removed.",
        alt=f"Two forest plots of claimed differences in points with intervals: {listed}.",
        table=tested.set_index("id")[columns],
    )


@styled()
def draw_above_chance(
    levels: pd.DataFrame, retention: pd.DataFrame, *, alpha: float = LEVEL
) -> Figure:
    """Base models' scores minus chance (or majority, or uniform), and what MMLU keeps above it."""
    table = levels[levels["task"].isin(TASKS) & levels["model"].isin(MODELS[:2])]
    mmlu = retention[retention["task"] == "mmlu"]
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.2))
    for axis, (task, label) in zip(axes.flat, TASKS.items(), strict=False):
        rows = table[table["task"] == task]
        for model in MODELS[:2]:
            part = _of_model(rows, model)
            error = 100 * float(norm.isf(alpha / 2)) * part["se"]
            look = {"model": model, "label": f"Llama-3.2-{model}"}
            _add_model(axis, part, 100 * part["above"], error, **look)
        axis.set(title=label, ylabel=f"points above {part['floor'].iloc[0]}")
    axes[0, 0].legend()
    for model in MODELS[:2]:
        part = _of_model(mmlu, model)
        kept = 100 * part["kept_above_floor"]
        error = [kept - 100 * part["low"], 100 * part["high"] - kept]
        _add_model(axes[1, 2], part, kept, error, model=model)
        x, published = part["expansion_ratio"], 100 * part["kept_as_published"]
        axes[1, 2].plot(x, published, ls="--", color=LOOKS[model]["color"])
    axes[1, 2].set(title="MMLU kept", ylabel="percent of the dense model")
    for axis in axes.flat:
        axis.axhline(0, **ZERO)
        axis.set_xlabel("expansion ratio")
        axis.invert_xaxis()
    index = ["task", "model", "pruning_ratio"]
    columns = [*index, "expansion_ratio", "floor", "floor_value", "value", "above", "low", "high"]
    kept = retention[[*index, "kept_as_published", "kept_above_floor"]]
    merged = table[[*columns, "level"]].merge(kept, on=index, how="left")
    count = table[table["level"] == "above floor"].groupby("task").size()
    size = table.groupby("task").size()
    parts = [f"{label} {count.get(task, 0)} of {size[task]}" for task, label in TASKS.items()]
    return figure(
        fig,
        name="published/above-chance",
        title=f"Published scores minus chance, {1 - alpha:.0%} intervals. Last "
        "panel: share of MMLU kept, as published (dashed) and above chance (solid, Fieller).",
        alt="Five charts of points above chance against expansion ratio for two models; scores "
        f"significantly above: {', '.join(parts)}. A sixth chart of the share of MMLU kept.",
        table=merged.set_index(index).astype(object).fillna("–"),
    )


@styled()
def draw_correlation(scores: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """MMLU against MC2 with lines fitted with and without the dense model."""
    used = scores[scores["headline"] & scores["task"].isin(["mmlu", "truthfulqa_mc2"])]
    wide = used.pivot(index=["model", "pruning_ratio"], columns="task", values="value")
    wide = wide.loc[["1B", "3B"]].reset_index()
    r = correlations[correlations["of"] == "MMLU and MC2"].set_index(["scope", "dense_point"])["r"]
    fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, model in zip(axes, MODELS[:2], strict=True):
        part = wide[wide["model"] == model]
        pruned, dense = part[part["pruning_ratio"] > 0], part[part["pruning_ratio"] == 0]
        look = LOOKS[model] | {"linestyle": "none"}
        axis.plot(pruned["mmlu"], pruned["truthfulqa_mc2"], **look)
        star = {"marker": "*", "markersize": 14, "markerfacecolor": "white", "markeredgewidth": 1.5}
        axis.plot(dense["mmlu"], dense["truthfulqa_mc2"], **look | star)
        for points, style, word in ((part, "-", "with"), (pruned, "--", "without")):
            x = np.array([points["mmlu"].min(), points["mmlu"].max()])
            slope, start = np.polyfit(points["mmlu"], points["truthfulqa_mc2"], 1)
            label = f"{word} the dense model: r = {r[(model, word == 'with')]:.3f}"
            axis.plot(x, start + slope * x, style, color="#444444", lw=1.2, label=label)
        for row in part.itertuples():
            text = f"{row.pruning_ratio:.0%}" if row.pruning_ratio else "dense"
            offset = {"xytext": (6, 4), "textcoords": "offset points"}
            axis.annotate(text, (row.mmlu, row.truthfulqa_mc2), fontsize="small", **offset)
        axis.set(title=f"Llama-3.2-{model}", xlabel="MMLU accuracy")
        axis.legend(fontsize="small")
        axis.margins(x=0.12)
    axes[0].set_ylabel("TruthfulQA MC2")
    listed = "; ".join(
        f"{s} r = {r[(s, True)]:.3f} with, {r[(s, False)]:.3f} without the dense model"
        for s in MODELS[:2]
    )
    return figure(
        fig,
        name="published/correlation",
        title="The correlation of V1 (gone from V3's abstract): published MMLU against MC2, "
        "labelled by the share of neurons removed; the star is the dense model.",
        alt=f"Two scatter plots of MC2 against MMLU over seven widths each: {listed}.",
        table=wide.set_index(["model", "pruning_ratio"]),
    )
