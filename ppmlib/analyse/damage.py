"""Instruction scores against perplexity, for every kind of damage: narrower, or only damaged?

damage_table    instruction score and perplexity of every run that has both
matched_table   each width of the criterion against other damage of about the same perplexity
"""

from typing import Any

import numpy as np
import pandas as pd

from ppmlib.analyse.contrasts import SEEDS_FOR_A_TEST
from ppmlib.analyse.study_records import DENSE, NOISE, Study, describe_run
from ppmlib.analyse.verdicts import headlines
from ppmlib.statistics import crossed, multiplicity

AXIS = "instruction"
MATCHED = 0.25  # of the rise in log perplexity: nearer than this counts as the same damage
DAMAGE_COLUMNS = ["kind", "run", "selection", "criterion", "seed", "pruning_ratio",
                  "expansion_ratio", "task", "value", "perplexity_task",
                  "perplexity"]  # fmt: skip
MATCHED_COLUMNS = [
    "task", "run", "pruning_ratio", "value", "perplexity", "control", "control_ratio", "seeds",
    "control_value", "control_low", "control_high", "control_perplexity", "share_of_damage",
    "matched", "difference_points", "low", "high", "p_value", "p_adjusted",
]  # fmt: skip


def axes_of_damage(verdicts: pd.DataFrame, criterion: str) -> tuple[list[str], str | None]:
    """The instruction tasks in points, and the first word perplexity among the headlines."""
    rows = headlines(verdicts, criterion)
    tasks = rows[(rows["axis"] == AXIS) & (rows["unit"] == "points")]["task"].unique()
    perplexities = rows[rows["unit"] == "percent"]["task"].unique()
    return list(tasks), perplexities[0] if len(perplexities) else None


def damage_table(study: Study, verdicts: pd.DataFrame, *, criterion: str) -> pd.DataFrame:
    """Every run with an instruction score and a perplexity, one row per run and instruction task.

    Returns:
        a DataFrame of DAMAGE_COLUMNS; empty where no width of the criterion has both.
    """
    tasks, text = axes_of_damage(verdicts, criterion)
    rows = []
    for run in study.runs.values():
        for task in tasks if text else ():
            score, perplexity = study.headline(run.key, task), study.headline(run.key, text)
            if score is not None and perplexity is not None:
                kind = "dense" if run.key == DENSE else run.criterion
                rows.append({"kind": kind, **describe_run(run), "task": task,
                             "value": score["value"], "perplexity_task": text,
                             "perplexity": perplexity["value"]})  # fmt: skip
    mine = any(row["kind"] == criterion for row in rows)
    return pd.DataFrame(rows if mine else [], columns=DAMAGE_COLUMNS)


def pooled(damage: pd.DataFrame, study: Study, *, seed: int) -> pd.DataFrame:
    """Random selections of one width as one point: mean, interval, mean log perplexity.

    With five seeds or more the interval is of a bootstrap over documents and seeds; below that it
    is the range over the seeds (`is_range`).
    """
    rows = []
    random = damage[damage["criterion"] == "random"]
    for (task, ratio), part in random.groupby(["task", "pruning_ratio"], sort=True):
        outcomes = [study.outcome(run, study.headline(run, task)) for run in part["run"]]
        low, high, tested = part["value"].min(), part["value"].max(), False
        if len(part) >= SEEDS_FOR_A_TEST:
            weight = outcomes[0].weights
            weight = np.ones(outcomes[0].totals.size) if weight is None else weight
            values = np.array([own.totals for own in outcomes])
            ends = crossed.over_documents_and_seeds(values, weight, outcomes[0].clusters, seed=seed)
            low, high, tested = max(0.0, ends[0]), min(1.0, ends[1]), True
        rows.append({"task": task, "pruning_ratio": ratio, "seeds": len(part),
                     "runs": tuple(part["run"]), "value": part["value"].mean(), "low": low,
                     "high": high, "is_range": not tested,
                     "perplexity": float(np.exp(np.log(part["perplexity"]).mean()))})  # fmt: skip
    return pd.DataFrame(rows)


def matched_table(study: Study, damage: pd.DataFrame, *, criterion: str, seed: int) -> pd.DataFrame:
    """Each width of the criterion against noise tuned to it, and the random width nearest to it.

    Damage is the rise of log perplexity over the dense model; the nearest of all random widths is
    taken. `share_of_damage` is the control's over the criterion's; `matched` says whether they
    differ by at most a quarter of the larger: otherwise the difference is not that of equal damage
    (a tenth of the perplexity would count a barely hurt model as equal). Noise is paired by
    document; random selections are compared by a bootstrap over documents and seeds, and with
    fewer than five seeds there is a range and no p-value. `p_adjusted`: Benjamini-Hochberg over
    the table (exploratory).
    """
    rows, random = [], pooled(damage, study, seed=seed)
    dense = damage[damage["kind"] == "dense"].set_index("task")["perplexity"]
    for mine in damage[damage["selection"] == criterion].to_dict("records"):
        for name, found in (("noise", _noise(study, damage, mine, seed)),
                            ("random", _random(study, random, mine, seed))):  # fmt: skip
            if found is not None:
                ours, theirs = (np.log(value / dense[mine["task"]]) for value in (
                    mine["perplexity"], found["control_perplexity"]))  # fmt: skip
                alike = abs(ours - theirs) <= MATCHED * max(abs(ours), abs(theirs))
                rows.append({**{k: mine[k] for k in ("task", "run", "pruning_ratio", "value",
                                                     "perplexity")},
                             "control": name, **found, "matched": bool(alike),
                             "share_of_damage": theirs / ours if ours else None})  # fmt: skip
    table = pd.DataFrame(rows, columns=MATCHED_COLUMNS)
    tested = table["p_value"].notna()
    table.loc[tested, "p_adjusted"] = multiplicity.benjamini_hochberg(
        table.loc[tested, "p_value"].astype(float)
    )
    return table.sort_values(["task", "control", "pruning_ratio"], ignore_index=True)


def _noise(study: Study, damage: pd.DataFrame, mine: dict, seed: int) -> dict[str, Any] | None:
    run = f"{NOISE}/{mine['run'].split('/')[1]}"
    found = damage[(damage["run"] == run) & (damage["task"] == mine["task"])]
    if found.empty:
        return None
    other = found.iloc[0]
    row = study.headline(mine["run"], mine["task"])
    change = study.change(mine["run"], row, seed=seed, reference=run)
    return {"control_ratio": 0.0, "seeds": 1, "control_value": other["value"],
            "control_low": other["value"], "control_high": other["value"],
            "control_perplexity": other["perplexity"],
            "difference_points": 100 * change.difference, "low": 100 * change.low,
            "high": 100 * change.high, "p_value": change.p_value}  # fmt: skip


def _random(study: Study, random: pd.DataFrame, mine: dict, seed: int) -> dict[str, Any] | None:
    found = random[random["task"] == mine["task"]] if len(random) else random
    if found.empty:
        return None
    nearest = np.abs(np.log(found["perplexity"] / mine["perplexity"])).idxmin()
    other = found.loc[nearest]
    row = study.headline(mine["run"], mine["task"])
    own = study.outcome(mine["run"], row)
    outcomes = [study.outcome(run, study.headline(run, mine["task"])) for run in other["runs"]]
    weight = np.ones(own.totals.size) if own.weights is None else own.weights
    gaps = np.array([own.totals - each.totals for each in outcomes])
    told = {"control_ratio": other["pruning_ratio"], "seeds": other["seeds"],
            "control_value": other["value"], "control_low": other["low"],
            "control_high": other["high"], "control_perplexity": other["perplexity"],
            "difference_points": 100 * float(gaps.sum() / weight.sum() / len(gaps))}  # fmt: skip
    if other["is_range"]:
        return told
    low, high, p = crossed.over_documents_and_seeds(gaps, weight, own.clusters, seed=seed)
    return {**told, "low": 100 * low, "high": 100 * high, "p_value": p}
