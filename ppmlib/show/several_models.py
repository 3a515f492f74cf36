"""Several models in words: what they have in common, and where they differ."""

from collections.abc import Sequence

import pandas as pd

from ppmlib.analyse.across import CHANGES, Model, agreement, common_tasks, shared_ratios
from ppmlib.show.table import table_of
from ppmlib.show.verdict_tables import HOLDS
from ppmlib.show.wording import difference_text, joined, percent


def describe_differences(models: Sequence[Model]) -> list[str]:
    """Tasks that were left out, and differences that do not prevent a comparison."""
    common, said = common_tasks(models), []
    for model in models:
        rest = [task for task in model.tasks if task not in common]
        if rest:
            said.append(f"Only in {model.study}: {joined(rest)}.")
    for name in ("torch", "transformers", "device"):
        values = {
            model.study: model.dense["inputs"]["model"].get("device", "unknown")
            if name == "device"
            else model.dense["inputs"]["versions"][name]
            for model in models
        }
        if len(set(values.values())) > 1:
            listed = joined(f"{study} {value}" for study, value in values.items())
            said.append(f"Not the same {name}: {listed}.")
    return said


def describe_models(table: pd.DataFrame, models: Sequence[Model]) -> list[str]:
    """What the models have in common at their narrowest common ratio, and where they differ."""
    names = [model.study for model in models]
    if len(models) == 1:
        return [f"One study ({names[0]}): nothing to compare with."]
    counts, ratios = agreement(table), shared_ratios(table)
    said = []
    compared = (
        f"{len(models)} models ({joined(names)}), {table['task'].nunique()} tasks in common. "
        "Each model is one replicate: counts of models are given, no pooled p-values."
    )
    if not ratios:
        return [
            "The models have no pruning ratio in common: use the expansion ratios of the figure.",
            compared,
        ]
    last = counts[counts["pruning_ratio"] == ratios[-1]]
    for word in CHANGES:
        every = last[last[word] == last["models"]]["task"]
        if len(every):
            at = f"{word.capitalize()} in every model at {percent(ratios[-1])} removed"
            said.append(f"{at}: {joined(every)}.")
    parted = last[(last["worse"] > 0) & (last["better"] > 0)]["task"]
    mixed = last[last[CHANGES].max(axis=1) < last["models"]]["task"]
    partly = [task for task in table["task"].unique() if task not in set(last["task"])]
    if len(parted):
        said.append(f"Worse in one model and better in another: {joined(parted)}.")
    if len(mixed):
        details = [_each(table, task, ratios[-1]) for task in mixed]
        said.append(
            f"Not the same in every model at {percent(ratios[-1])} removed: {'; '.join(details)}."
        )
    if partly:
        said.append(
            f"Not evaluated in every model at {percent(ratios[-1])} removed: {joined(partly)}."
        )
    margins = table.groupby(["task", "pruning_ratio"], sort=False)["margin_points"]
    unlike = list(dict.fromkeys(task for (task, _), part in margins if part.nunique() > 1))
    if unlike:
        said.append(
            "The margin of 'equivalent' differs between the studies, as their claims declare it: "
            f"{joined(unlike)}."
        )
    return [*said, compared]


def tabulate_models(table: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Every common task of every model at one pruning ratio."""
    columns = {
        "task": "{task}",
        "study": "{study}",
        "expansion ratio": "{dense_expansion_ratio:.2f} → {expansion_ratio:.2f}",
        "dense": "{dense_value:score}",
        "pruned": "{value:score}",
        "change": difference_text,
        "verdict": "{change}",
        "level": "{level}",
    }
    one_line = ["expansion ratio", "change", "level"]
    return table_of(table[table["pruning_ratio"] == ratio], ["task", "study"], columns, one_line)


def tabulate_agreement(counts: pd.DataFrame) -> pd.DataFrame:
    """In how many models each task is worse, better, equivalent or inconclusive."""
    columns = {
        "task": "{task}",
        "neurons removed": "{pruning_ratio:percent}",
        "models": "{models}",
        **{name: f"{{{name}}}" for name in CHANGES},
        "changes": "{low_points:signed} to {high_points:change}",
    }
    return table_of(counts, ["task", "neurons removed"], columns, one_line=["changes"])


def tabulate_claims(models: Sequence[Model]) -> pd.DataFrame:
    """What each study declared and found, in the words of its analysis."""
    claims = [
        {"study": model.study, **claim, "found": HOLDS[claim["holds"]]}
        for model in models
        for claim in model.analysis["results"]["claims"]
    ]
    columns = {"study": "{study}", "claim": "{sentence}", "holds": "{found}"}
    return table_of(claims, "study", columns)


def _each(table: pd.DataFrame, task: str, ratio: float) -> str:
    part = table[(table["task"] == task) & (table["pruning_ratio"] == ratio)]
    found = [
        f"{row['study']} {row['change']} ({difference_text(row)})"
        for row in part.to_dict("records")
    ]
    return f"{task}: {joined(found)}"
