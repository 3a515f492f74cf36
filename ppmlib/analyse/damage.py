"""Instruction scores against perplexity, for every kind of damage: narrower, or only damaged?"""

from itertools import product

import numpy as np
import pandas as pd

from ppmlib.analyse.contrasts import gaps_to, over_seeds
from ppmlib.analyse.outcomes import in_points
from ppmlib.analyse.study_records import DENSE, NOISE, RUN_COLUMNS, Study, describe_run
from ppmlib.analyse.verdicts import headlines
from ppmlib.statistics import multiplicity

AXIS = "instruction"
MATCHED = 0.25  # of the rise in log perplexity: nearer than this counts as the same damage
DAMAGE_COLUMNS = ["kind", *RUN_COLUMNS, "task", "value", "perplexity_task", "perplexity"]
MATCHED_COLUMNS = [
    *("task", "run", "pruning_ratio", "value", "perplexity"),
    *("control", "control_ratio", "seeds", "control_value", "control_low", "control_high"),
    *("control_perplexity", "share_of_damage", "matched"),
    *("difference_points", "low", "high", "p_value", "p_adjusted"),
]


def damage_table(study: Study, verdicts: pd.DataFrame, *, criterion: str) -> pd.DataFrame:
    """Every run with an instruction score in points and a (first) perplexity: DAMAGE_COLUMNS.

    One row per run and instruction task; empty where no width of the criterion has both.
    """
    found = headlines(verdicts, criterion)
    tasks = found[(found["axis"] == AXIS) & (found["unit"] == "points")]["task"].unique()
    rows, texts = [], found[found["unit"] == "percent"]["task"].unique()[:1]
    for run in study.runs.values():
        for task, text in product(tasks, texts):
            score, perplexity = study.headline(run.key, task), study.headline(run.key, text)
            if score is not None and perplexity is not None:
                kind = "dense" if run.key == DENSE else run.criterion
                values = [task, score["value"], text, perplexity["value"]]
                rows.append([kind, *describe_run(run).values(), *values])
    mine = any(row[0] == criterion for row in rows)
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
        low, high = part["value"].min(), part["value"].max()
        tested = over_seeds(outcomes[0], np.array([own.totals for own in outcomes]), seed=seed)
        if tested:
            low, high = max(0.0, tested[0]), min(1.0, tested[1])
        rows.append(
            {
                "task": task,
                "pruning_ratio": ratio,
                "seeds": len(part),
                "runs": tuple(part["run"]),
                "value": part["value"].mean(),
                "low": low,
                "high": high,
                "is_range": tested is None,
                "perplexity": float(np.exp(np.log(part["perplexity"]).mean())),
            }
        )
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
        controls = {
            "noise": _against_noise(study, damage, mine, seed),
            "random": _against_random(study, random, mine, seed),
        }
        for control, found in controls.items():
            if found is None:
                continue
            perplexities = mine["perplexity"], found["control_perplexity"]
            ours, theirs = (np.log(each / dense[mine["task"]]) for each in perplexities)
            alike = abs(ours - theirs) <= MATCHED * max(abs(ours), abs(theirs))
            share = theirs / ours if ours else None
            about = {"control": control, "share_of_damage": share, "matched": bool(alike)}
            rows.append({**mine, **about, **found})
    table = pd.DataFrame(rows, columns=MATCHED_COLUMNS)
    tested = table["p_value"].notna()
    p_values = table.loc[tested, "p_value"].astype(float)
    table.loc[tested, "p_adjusted"] = multiplicity.benjamini_hochberg(p_values)
    return table.sort_values(["task", "control", "pruning_ratio"], ignore_index=True)


def _against_noise(study: Study, damage: pd.DataFrame, mine: dict, seed: int) -> dict | None:
    run = f"{NOISE}/{mine['run'].split('/')[1]}"
    found = damage[(damage["run"] == run) & (damage["task"] == mine["task"])]
    if found.empty:
        return None
    value, perplexity = found.iloc[0][["value", "perplexity"]]
    row = study.headline(mine["run"], mine["task"])
    change = study.change(mine["run"], row, seed=seed, reference=run)
    return {
        "control_ratio": 0.0,
        "seeds": 1,
        **dict.fromkeys(("control_value", "control_low", "control_high"), value),
        "control_perplexity": perplexity,
        **in_points(change, "difference_points"),
    }


def _against_random(study: Study, random: pd.DataFrame, mine: dict, seed: int) -> dict | None:
    found = random[random["task"] == mine["task"]] if len(random) else random
    if found.empty:
        return None
    other = found.loc[np.abs(np.log(found["perplexity"] / mine["perplexity"])).idxmin()]
    row = study.headline(mine["run"], mine["task"])
    own, gaps = gaps_to(study, mine["run"], row, other["runs"])
    against = {
        "control_ratio": other["pruning_ratio"],
        "seeds": other["seeds"],
        **{f"control_{name}": other[name] for name in ("value", "low", "high", "perplexity")},
        "difference_points": 100 * float(gaps.sum() / own.weight.sum() / len(gaps)),
    }
    tested = over_seeds(own, gaps, seed=seed)
    if tested is None:
        return against
    low, high, p_value = tested
    return {**against, "low": 100 * low, "high": 100 * high, "p_value": p_value}
