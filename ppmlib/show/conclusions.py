"""A study's conclusions in sentences, each computed from the tables; nothing is typed by hand.

`holds` is said only of what was tested: 'equivalent' needs its margin, and where a change was not
distinguishable the sentence says how large one could have been missed.
"""

import pandas as pd

from ppmlib.analyse.contrasts import PLANTED_AXIS, SEEDS_FOR_A_TEST
from ppmlib.analyse.verdicts import headlines
from ppmlib.show.wording import (
    counted,
    difference_text,
    interval_text,
    joined,
    p_text,
    percent,
    score_text,
    signed,
    widths_text,
)
from ppmlib.statistics import multiplicity
from ppmlib.statistics.proportions import LEVEL

CHANGES = {
    "worse": "worse than the dense model",
    "better": "better than the dense model",
    "equivalent": "equivalent to the dense model within the margin",
    "inconclusive": "not distinguishable from the dense model",
}


def summary(verdicts: pd.DataFrame, criterion: str) -> list[str]:
    """The answer in one plain sentence, then what goes first, how far, and what improves.

    Planted tasks are left out here: they test the instrument and are judged on their own.
    """
    family = headlines(verdicts, criterion)
    rows = family[family["axis"] != PLANTED_AXIS]
    if rows.empty:
        return ["Only planted tasks were evaluated: they test the instrument, not the model."]
    ratios = sorted(set(rows["pruning_ratio"]))
    last, total = rows[rows["pruning_ratio"] == ratios[-1]], rows["change"].value_counts()
    counts = last["change"].value_counts()
    at = f"{percent(ratios[-1])} of the neurons removed ({last['expansion_ratio'].iloc[0]:.2f}x)"
    found = [
        f"{counts[name]} {'is' if counts[name] == 1 else 'are'} {words}"
        for name, words in CHANGES.items()
        if name in counts
    ]
    there = " evaluated there" if len(last) < rows["task"].nunique() else ""
    answer = f"of {len(last)} tasks{there} {joined(found)}"
    if len(last) == 1:
        answer = f"{last['task'].iloc[0]} is {CHANGES[counts.index[0]]}"
    elif len(counts) == 1:
        answer = f"all {len(last)} tasks{there} are {CHANGES[counts.index[0]]}"
    return [
        f"With {at}, {answer}.",
        _order_of_loss(rows, ratios),
        *_largest_losses(last),
        *_gains(rows, ratios),
        f"Over {counted(rows['task'].nunique(), 'task')} and {counted(len(ratios), 'width')}: "
        + ", ".join(f"{total.get(name, 0)} {name}" for name in CHANGES)
        + " (p-values adjusted by Benjamini-Hochberg over "
        + f"{counted(len(family), 'headline comparison')}).",
    ]


def _order_of_loss(rows: pd.DataFrame, ratios: list[float]) -> str:
    """At which width each task is worse for the first time."""
    worse = rows[rows["change"] == "worse"]
    first = worse.groupby("task", sort=False)["pruning_ratio"].min()
    parts = [
        f"{joined(first.index[first == ratio])} at {percent(ratio)} removed"
        for ratio in ratios
        if (first == ratio).any()
    ]
    never = [task for task in rows["task"].unique() if task not in first.index]
    text = f"First found worse: {'; '.join(parts)}." if parts else "No task is found worse."
    return text + (f" Never found worse: {joined(never)}." if parts and never else "")


def _largest_losses(last: pd.DataFrame, shown: int = 3) -> list[str]:
    """The largest losses at the narrowest width, in points; perplexities have another unit."""
    lost = last[(last["change"] == "worse") & (last["unit"] == "points")]
    lost = lost.sort_values("diff_points").head(shown)
    named = [f"{row['task']} {difference_text(row)}" for row in lost.to_dict("records")]
    where = f"at {percent(last['pruning_ratio'].iloc[0])} removed"
    return [f"The largest losses {where}: {', '.join(named)}."] if named else []


def _gains(rows: pd.DataFrame, ratios: list[float]) -> list[str]:
    """Every task that improves somewhere, with a warning where its level is not above its floor."""
    sentences, better = [], rows[rows["change"] == "better"]
    for task, found in better.groupby("task", sort=False):
        best = found.loc[found["diff_points"].abs().idxmax()].to_dict()
        unmasked = found[found["level"].isin(["not above floor", "below floor"])]
        warning = ""
        if len(unmasked):
            at = (
                "there"
                if len(unmasked) == len(found)
                else (f"at {widths_text(unmasked['pruning_ratio'], ratios)}")
            )
            warning = (
                f"; {at} its level is not above its floor, so the gain cannot be read as an ability"
            )
        sentences.append(
            f"{task} is better than dense at {widths_text(found['pruning_ratio'], ratios)}, at "
            f"most by {difference_text(best)} at {percent(best['pruning_ratio'])}{warning}."
        )
    return sentences or ["No task is better than the dense model at any width."]


def task_sentence(verdicts: pd.DataFrame, task: str, criterion: str) -> str:
    """One task over all widths: where it changed, what could not be told, and its floor."""
    family = headlines(verdicts, criterion)
    rows = family[family["task"] == task].sort_values("pruning_ratio")
    ratios, first = sorted(set(family["pruning_ratio"])), rows.iloc[0]
    parts = []
    for change in ("worse", "better"):
        found = rows[rows["change"] == change]
        if len(found):
            top = found.loc[found["diff_points"].abs().idxmax()].to_dict()
            parts.append(
                f"{change} at {widths_text(found['pruning_ratio'], ratios)}, most at "
                f"{percent(top['pruning_ratio'])}: {difference_text(top)}"
            )
    for margin, same in rows[rows["change"] == "equivalent"].groupby("margin_points"):
        parts.append(
            f"equivalent within {margin:g} points at {widths_text(same['pruning_ratio'], ratios)}"
        )
    unclear = rows[rows["change"] == "inconclusive"]
    if len(unclear):
        parts.append(
            f"not distinguishable at {widths_text(unclear['pruning_ratio'], ratios)} "
            f"({missed(unclear)})"
        )
    text = (
        f"{task} ({first['metric']}, n = {first['n']}, dense "
        f"{score_text(first['dense_value'], first['unit'])}): {'; '.join(parts)}."
    )
    return f"{text} {level_text(rows, ratios)}".strip()


def missed(rows: pd.DataFrame) -> str:
    """How large an effect could have been missed in inconclusive rows."""
    sizes = rows["mde_points"].dropna()
    unit = "%" if rows["unit"].iloc[0] == "percent" else " points"
    if sizes.empty:
        return "too few documents to show any effect"
    return f"an effect smaller than {sizes.max():.1f}{unit} could not have been seen"


def level_text(rows: pd.DataFrame, ratios: list[float]) -> str:
    """Where a task's scores lie against their floor, over its widths; empty without a floor.

    Args:
        ratios: of all the study's widths, narrowest last; the task may lack some.
    """
    known = rows[rows["floor_kind"] != "none"]
    if known.empty:
        return ""
    kind = known["floor_kind"].iloc[0]
    name = {"chance": "by chance", "permuted responses": "with its own answers permuted"}[kind]
    last = known.iloc[-1]
    if kind != "chance":
        name += f" at {percent(last['pruning_ratio'])} removed"
    parts = [
        f"{level.replace('floor', 'it')} at {widths_text(found['pruning_ratio'], ratios)}"
        for level, found in known.groupby("level", sort=False)
    ]
    everywhere = {
        "above floor": "above it at every width",
        "not above floor": "above it at no width",
        "below floor": "below it at every width",
    }
    whole = len(parts) == 1 and set(known["pruning_ratio"]) == set(ratios)
    where = everywhere[known["level"].iloc[0]] if whole else "; ".join(parts)
    return f"Its floor is {score_text(last['floor'], 'points')} {name}; the score is {where}."


def claim_sentence(claim: dict) -> str:
    """One declared claim and what was found."""
    unit = "%" if claim["unit"] == "percent" else " points"
    margin = f" by more than {claim['margin_points']:g}{unit}" if claim["margin_points"] else ""
    if claim["direction"] == "equivalent":
        margin = f" within {claim['margin_points']:g}{unit}"
    at = f"at {percent(claim['pruning_ratio'])} removed"
    declared = f"{claim['task']} is {claim['direction']}{margin} {at}"
    if claim["holds"] is None:
        return f"Declared: {declared}. Not tested: {claim['reason']}."
    level = "90%" if claim["direction"] == "equivalent" else "95%"
    verdict = "The claim holds" if claim["holds"] else "The claim is not shown"
    opposite = {"better": claim["ci_high_points"] < 0, "worse": claim["ci_low_points"] > 0}
    if not claim["holds"] and claim["unit"] == "points" and opposite.get(claim["direction"]):
        verdict = "The claim is contradicted: the change has the other sign"
    return (
        f"Declared: {declared}. Found: {difference_text(claim)} ({level} interval), "
        f"Holm {p_text(claim['p_holm'])}. {verdict}."
    )


def control_sentences(controls: pd.DataFrame, criterion: str) -> list[str]:
    """The criterion against each other selection, over all tasks and widths but planted ones."""
    if controls.empty:
        return [
            "There is no control selection: whether these changes are particular to "
            f"{criterion} or follow any pruning of this size cannot be told."
        ]
    others = controls[controls["axis"] != PLANTED_AXIS]
    if others.empty:
        return [
            "Control selections were evaluated on planted tasks only: they test the instrument."
        ]
    sentences = []
    for control, rows in others.groupby("control"):
        ahead, behind = int(rows["beats_all"].sum()), int(rows["beaten_by_all"].sum())
        seeds = int(rows["seeds"].max())
        many = (
            f"every one of {seeds} random selections" if seeds > 1 else "the one random selection"
        )
        against = many if control == "random" else control
        text = (
            f"{criterion} scores better than {against} in {ahead} of {len(rows)} comparisons "
            f"(tasks and widths) and worse than {against} in {behind}."
        )
        if control == "random" and seeds < SEEDS_FOR_A_TEST:
            text += (
                f" With {counted(seeds, 'seed')} this is a range, not a test: random "
                f"selections differ among themselves by an unknown amount "
                f"({SEEDS_FOR_A_TEST} seeds are needed)."
            )
        elif "p_value" in rows:
            tested = rows[rows["p_value"].notna()]
            sure = tested[multiplicity.benjamini_hochberg(tested["p_value"]) <= LEVEL]
            text += (
                f" Of these, {int((sure['lead'] > 0).sum())} leads and "
                f"{int((sure['lead'] < 0).sum())} lags are significant "
                "(Benjamini-Hochberg)."
            )
        biggest = rows[rows["unit"] == "points"].nlargest(1, "lead")
        for row in biggest[biggest["lead"] > 0].to_dict("records"):
            text += (
                f" The largest lead is {row['lead']:.1f} points, {row['task']} at "
                f"{percent(row['pruning_ratio'])} removed."
            )
        sentences.append(text)
    return sentences


def dichotomy_sentence(table: pd.DataFrame, verdicts: pd.DataFrame, criterion: str) -> str:
    """Whether instructions and knowledge change differently, with the numbers."""
    if table.empty:
        return (
            "The dichotomy cannot be tested: no width was evaluated on both a knowledge and an "
            "instruction task in points."
        )
    family = headlines(verdicts, criterion)
    ratios = sorted(set(family["pruning_ratio"]))
    names = f"{table['instruction'].iloc[0]} minus {table['knowledge'].iloc[0]}"
    sure = table[table["p_holm"] <= LEVEL]
    for_it, against = sure[sure["difference_points"] > 0], sure[sure["difference_points"] < 0]
    top = table.loc[table["difference_points"].abs().idxmax()]
    numbers = (
        f"the largest difference of the changes ({names}) is "
        f"{signed(top['difference_points'])} points {interval_text(top['low'], top['high'])} "
        f"at {percent(top['pruning_ratio'])} removed, Holm {p_text(top['p_holm'])}"
    )
    odds = (
        f"in log-odds that is {signed(top['log_odds'], 2)} "
        f"[{signed(top['log_odds_low'], 2)}, {signed(top['log_odds_high'], 2)}]"
    )
    head = _dichotomy_head(for_it, against, ratios)
    rows = family[
        (family["axis"] == "instruction") & family["level"].isin(["not above floor", "below floor"])
    ]
    floor = ""
    if len(rows):
        floor = (
            " The instruction score is not above its floor at "
            f"{widths_text(set(rows['pruning_ratio']), ratios)}: what is held there cannot be "
            "read as an ability."
        )
    return f"{head}; {numbers}; {odds}.{floor}"


def _dichotomy_head(for_it: pd.DataFrame, against: pd.DataFrame, ratios: list[float]) -> str:
    """The answer: it counts only at widths where points and log-odds agree."""
    if len(for_it) and len(against):
        return (
            "Dichotomy: its sign depends on the width. In points instructions hold better than "
            f"knowledge at {widths_text(for_it['pruning_ratio'], ratios)} and worse at "
            f"{widths_text(against['pruning_ratio'], ratios)}"
        )
    sure, kept, lost = for_it, "instructions hold", "knowledge"
    agreed = for_it[for_it["log_odds_low"] > 0]
    if len(against):
        sure, kept, lost = against, "knowledge holds", "instructions"
        agreed = against[against["log_odds_high"] < 0]
    if len(agreed):
        answer = "yes" if len(for_it) else "the other way round"
        at = widths_text(agreed["pruning_ratio"], ratios)
        return f"Dichotomy: {answer}. In points and in log-odds {kept} better than {lost} at {at}"
    if len(sure):
        return (
            f"Dichotomy: not established. In points {kept} better than {lost} at "
            f"{widths_text(sure['pruning_ratio'], ratios)}, but not in log-odds, which allow for "
            "scores that are near 0 or 1 to begin with"
        )
    return "Dichotomy: not shown at any width"


def trade_off_sentence(found: dict) -> str:
    """The largest ratio without a knowledge loss beyond the margin, or none."""
    if not found["tasks"]:
        return "A trade-off cannot be named: the study has no knowledge task in points."
    loss = f"loss of {joined(found['tasks'])} beyond {found['margin_points']:g} points"
    if found["ratio"] is None:
        return f"Best trade-off: none. At no pruning ratio is a {loss} excluded (one-sided 95%)."
    return (
        f"Best trade-off: {percent(found['ratio'])} removed is the largest ratio up to which a "
        f"{loss} is excluded (one-sided 95%)."
    )


def strict_loose_sentences(verdicts: pd.DataFrame, criterion: str) -> list[str]:
    """Where the other metrics of a task (loose, instruction level, raw) judge otherwise."""
    mine, sentences = verdicts[verdicts["selection"] == criterion], []
    for task, rows in mine.groupby("task", sort=False):
        if rows["metric"].nunique() < 2:
            continue
        head = rows[rows["headline"]].set_index("run")
        sign = {"better": 1, "worse": -1}
        for metric, others in rows[~rows["headline"]].groupby("metric", sort=False):
            other = others.set_index("run").reindex(head.index)
            unlike = [
                run
                for run in head.index
                if sign.get(head.loc[run, "change"], 0) != sign.get(other.loc[run, "change"], 0)
            ]
            if unlike:
                at = widths_text(head.loc[unlike, "pruning_ratio"], set(mine["pruning_ratio"]))
                pairs = dict.fromkeys(
                    f"{other.loc[run, 'change']} against {head.loc[run, 'change']}"
                    for run in unlike
                )
                sentences.append(
                    f"{task}: {metric} (unadjusted) and the headline {head['metric'].iloc[0]} "
                    f"judge differently at {at}: {joined(pairs)}."
                )
    return sentences or ["Where a task has several metrics, they agree with its headline."]


def noise_sentences(flips: pd.DataFrame, headlines: pd.DataFrame) -> list[str]:
    """Whether anything was called a change that other batches alone could make.

    Args:
        flips: `noise_floor.flips`. headlines: verdict rows with `within_noise`.
    """
    if flips.empty:
        return [
            "The dense model was not run again in other batches: how many documents flip by "
            "themselves is not known."
        ]
    flipped = flips[flips["flips"] > 0]
    text = (
        f"Run again in other batches, the dense model gives another outcome in "
        f"{int(flips['flips'].sum())} of {int(flips['n'].sum())} outcomes "
        f"({len(flipped)} of {len(flips)} metrics)."
    )
    sure = headlines[headlines["change"].isin(["better", "worse"])]
    small = sure[sure["within_noise"] == True]  # noqa: E712 - None where no noise was measured
    if small.empty:
        return [f"{text} No change called better or worse is that small."]
    named = [f"{row.task} at {percent(row.pruning_ratio)} removed" for row in small.itertuples()]
    return [f"{text} Called better or worse, but no larger than that: {', '.join(named)}."]
