"""A study's conclusions in sentences, each computed from the tables.

A sentence that says 'equivalent' names its margin, and one that says 'not distinguishable' the
size of the effects that were not detectable.
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
    """The answer in one plain sentence, then what is lost first, how much, and what improves.

    Planted tasks are left out: they test the instrument and are judged separately.
    """
    family = headlines(verdicts, criterion)
    rows = family[family["axis"] != PLANTED_AXIS]
    if rows.empty:
        return ["Only planted tasks were evaluated: they test the instrument, not the model."]
    ratios = sorted(set(rows["pruning_ratio"]))
    last, total = rows[rows["pruning_ratio"] == ratios[-1]], rows["change"].value_counts()
    return [
        _answer(last, rows["task"].nunique()),
        _order_of_loss(rows, ratios),
        *_largest_losses(last),
        *_gains(rows, ratios),
        f"Over {counted(rows['task'].nunique(), 'task')} and {counted(len(ratios), 'width')}: "
        + ", ".join(f"{total.get(name, 0)} {name}" for name in CHANGES)
        + " (p-values adjusted by Benjamini-Hochberg over "
        + f"{counted(len(family), 'headline comparison')}).",
    ]


def _answer(last: pd.DataFrame, tasks: int) -> str:
    """The change of every task at the narrowest width, and which levels mean nothing there."""
    parts = [
        f"{_name_tasks(found['task'], len(last))} {CHANGES[change]}"
        for change in CHANGES
        if len(found := last[last["change"] == change])
    ]
    low = last[last["level"].isin(["not above floor", "below floor"])]
    if len(low):
        whose = "its baseline" if len(low) == 1 else "their baselines"
        parts.append(f"{_name_tasks(low['task'], len(last))} not above {whose}")
    ratio, expansion = last[["pruning_ratio", "expansion_ratio"]].iloc[0]
    evaluated = f"; {len(last)} of {tasks} tasks evaluated" if len(last) < tasks else ""
    at = f"{percent(ratio)} of the neurons removed ({expansion:.2f}x{evaluated})"
    return f"With {at}, {'; '.join(parts)}."


def _name_tasks(tasks: pd.Series, total: int, named: int = 4) -> str:
    """`ifeval and gsm8k are`, or `all 7 tasks are` and `6 of 7 tasks are` where names are many."""
    if len(tasks) > named:
        return f"{'all' if len(tasks) == total else f'{len(tasks)} of'} {total} tasks are"
    return f"{joined(tasks)} {'is' if len(tasks) == 1 else 'are'}"


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
    """Every task that improves somewhere, with a warning where it is not above its baseline."""
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
                f"; {at} it is not above its baseline, so the gain is not evidence of an ability"
            )
        sentences.append(
            f"{task} is better than dense at {widths_text(found['pruning_ratio'], ratios)}, at "
            f"most by {difference_text(best)} at {percent(best['pruning_ratio'])}{warning}."
        )
    return sentences or ["No task is better than the dense model at any width."]


def task_sentence(verdicts: pd.DataFrame, task: str, criterion: str) -> str:
    """One task over all widths: where it changed, what was not detectable, and its baseline."""
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
    """The effects that were not detectable in inconclusive rows."""
    sizes = rows["mde_points"].dropna()
    unit = "%" if rows["unit"].iloc[0] == "percent" else " points"
    if sizes.empty:
        return "too few documents to detect any effect"
    return f"an effect smaller than {sizes.max():.1f}{unit} was not detectable"


def level_text(rows: pd.DataFrame, ratios: list[float]) -> str:
    """Where a task's scores lie against their baseline, over its widths; empty without one.

    Args:
        ratios: of all the study's widths, narrowest last; the task may lack some.
    """
    known = rows[rows["floor_kind"] != "none"]
    if known.empty:
        return ""
    kind = known["floor_kind"].iloc[0]
    name = {"chance": "chance", "permuted responses": "permuted"}[kind]
    last = known.iloc[-1]
    if kind != "chance":
        name += f", at {percent(last['pruning_ratio'])} removed"
    parts = [
        f"{level.replace('floor', 'it')} at {widths_text(found['pruning_ratio'], ratios)}"
        for level, found in known.groupby("level", sort=False)
    ]
    everywhere = {
        "above floor": "above it at every width",
        "not above floor": "not above it at any width",
        "below floor": "below it at every width",
    }
    whole = len(parts) == 1 and set(known["pruning_ratio"]) == set(ratios)
    where = everywhere[known["level"].iloc[0]] if whole else "; ".join(parts)
    return f"Its baseline is {score_text(last['floor'], 'points')} ({name}); the score is {where}."


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
        verdict = "The claim is contradicted: the change has the opposite sign"
    return (
        f"Declared: {declared}. Found: {difference_text(claim)} ({level} interval), "
        f"Holm {p_text(claim['p_holm'])}. {verdict}."
    )


def control_sentences(controls: pd.DataFrame, criterion: str) -> list[str]:
    """The criterion against each other selection, over all tasks and widths but planted ones."""
    if controls.empty:
        return [
            "No control selection was evaluated, so these changes may be the same for any pruning "
            "of this size."
        ]
    others = controls[controls["axis"] != PLANTED_AXIS]
    if others.empty:
        return [
            "Control selections were evaluated on planted tasks only: they test the instrument."
        ]
    sentences = []
    for control, rows in others.groupby("control"):
        ahead, behind = rows[rows["beats_all"]], rows[rows["beaten_by_all"]]
        seeds = int(rows["seeds"].max())
        many = f"each of {seeds} random selections" if seeds > 1 else "the random selection"
        against = many if control == "random" else control
        text = (
            f"{criterion} is better than {against} {_name_comparisons(ahead, len(rows))} and worse "
            f"{_name_comparisons(behind, len(rows))}."
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
                f" Significant (Benjamini-Hochberg): better in {int((sure['lead'] > 0).sum())}, "
                f"worse in {int((sure['lead'] < 0).sum())}."
            )
        biggest = rows[rows["unit"] == "points"].nlargest(1, "lead")
        for row in biggest[biggest["lead"] > 0].to_dict("records"):
            text += (
                f" The largest lead is {row['lead']:.1f} points, {row['task']} at "
                f"{percent(row['pruning_ratio'])} removed."
            )
        sentences.append(text)
    return sentences


def _name_comparisons(rows: pd.DataFrame, total: int) -> str:
    """`on ifeval at 20% removed`, or `in 12 of 42 comparisons` where they are many or none."""
    if not 1 <= len(rows) <= 3:
        return f"in {len(rows)} of {total} comparisons (tasks and widths)"
    return "on " + joined(
        f"{r.task} at {percent(r.pruning_ratio)} removed" for r in rows.itertuples()
    )


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
            " The instruction score is not above its baseline at "
            f"{widths_text(set(rows['pruning_ratio']), ratios)}: a score kept there is not "
            "evidence of an ability."
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
        return "No trade-off is stated: the study has no knowledge task in points."
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
                    f"disagree at {at}: {joined(pairs)}."
                )
    return sentences or ["Where a task has several metrics, they agree with its headline metric."]


def noise_sentences(flips: pd.DataFrame, headlines: pd.DataFrame) -> list[str]:
    """Whether a verdict rests on a change no larger than the differences of the A/A repeat.

    Args:
        flips: `noise_floor.flips`. headlines: verdict rows with `within_noise`.
    """
    if flips.empty:
        return [
            "There was no A/A repeat: the number of documents that change without pruning is "
            "unknown."
        ]
    flipped = flips[flips["flips"] > 0]
    text = (
        "A/A repeat: the dense model, evaluated again with another batch size, gives a different "
        f"outcome in {int(flips['flips'].sum())} of {int(flips['n'].sum())} cases "
        f"({len(flipped)} of {len(flips)} metrics)."
    )
    sure = headlines[headlines["change"].isin(["better", "worse"])]
    small = sure[sure["within_noise"] == True]  # noqa: E712 - None where no noise was measured
    if small.empty:
        return [f"{text} No change called better or worse is that small."]
    named = [f"{row.task} at {percent(row.pruning_ratio)} removed" for row in small.itertuples()]
    small = f"Called better or worse, but no larger than the A/A differences: {', '.join(named)}."
    return [f"{text} {small}"]
