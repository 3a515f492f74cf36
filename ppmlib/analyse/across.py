"""Several finished studies compared: each model a replicate, nothing pooled.

load            the studies' analyses, refused where they were not evaluated alike
changes_table   every common headline of every model and width
agreement       task by task, in how many models it fell, held or rose
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ppmlib.analyse.sources import flat
from ppmlib.analyse.study_records import DENSE
from ppmlib.record import evaluation_records, records
from ppmlib.record.records import RecordError

SETTINGS = "settings"
NOT_COMPARED = ("settings.floors", "settings.engine")
OF_THE_MODEL = ("model.dtype",)
TASK_FIELDS = ("definition_sha256", "code_sha256", "groups_sha256", "version", "num_fewshot", "n",
               "max_gen_toks", "doc_sha256", "target_sha256", "fewshot_sha256")  # fmt: skip
COLUMNS = [
    "study", "model", "task", "metric", "axis", "run", "pruning_ratio", "expansion_ratio",
    "dense_expansion_ratio", "n", "unit", "dense_value", "value", "diff_points", "ci_low_points",
    "ci_high_points", "change", "level",
]  # fmt: skip


class Model(NamedTuple):
    """One finished study: its name, its analysis record and its dense evaluation."""

    study: str
    analysis: dict[str, Any]
    dense: dict[str, Any]

    @property
    def criterion(self) -> str:
        """The selection that the study judges."""
        return self.analysis["inputs"]["criterion"]

    @property
    def tasks(self) -> list[str]:
        """The study's tasks in their order."""
        return [task["name"] for task in self.analysis["inputs"]["tasks"]]


def load(folders: Sequence[Path]) -> list[Model]:
    """Read finished studies, refused where their numbers cannot stand beside each other.

    Args:
        folders: each a study's folder with its analysis record.
    Raises:
        RecordError: for a folder without a verified analysis, a study given twice, or studies that
            differ in lm-eval's version, a setting of the evaluation (BOS, batch size, ...), or the
            documents of a common task; it names the field and both values.
    """
    models = []
    for folder in map(Path, folders):
        analysis = records.read(folder, "5_analysis")
        dense = evaluation_records.one(folder, DENSE)
        if dense is None:
            raise RecordError(f"{folder}: no evaluation of the dense model")
        models.append(Model(analysis["results"]["study"], analysis, dense))
    names = [model.study for model in models]
    for name in names:
        if names.count(name) > 1:
            raise RecordError(f"study {name} is given twice: each model counts once")
    for other in models[1:]:
        _refuse_unlike(models[0], other)
    if not common_tasks(models):
        raise RecordError(f"{' and '.join(names)} have no task in common")
    return models


def _compared(model: Model) -> dict[str, Any]:
    inputs = model.dense["inputs"]
    found = {"versions.lm_eval": inputs["versions"]["lm_eval"]}
    found["criterion"] = model.criterion
    for name, value in flat(inputs).items():
        of_settings = f"{name}.".startswith(f"{SETTINGS}.") and not name.startswith(NOT_COMPARED)
        if of_settings or name in OF_THE_MODEL:
            found[name] = value
    return found


def _refuse_unlike(first: Model, second: Model) -> None:
    fields = [(name, a.get(name), b.get(name)) for a, b in [(_compared(first), _compared(second))]
              for name in sorted({*a, *b})]  # fmt: skip
    mine, other = (model.dense["inputs"]["tasks"] for model in (first, second))
    for task in first.tasks:
        if task in mine and task in other:
            fields += [(f"{task}: {name}", mine[task].get(name), other[task].get(name))
                       for name in TASK_FIELDS]  # fmt: skip
    for name, a, b in fields:
        if a != b:
            raise RecordError(
                f"{first.study} and {second.study} cannot be compared: {name} is {a!r} and {b!r}"
            )


def common_tasks(models: Sequence[Model]) -> list[str]:
    """Tasks with a headline verdict in every model, in the first one's order."""
    judged = [{row["task"] for row in model.analysis["results"]["verdicts"] if row["headline"]
               and row["selection"] == model.criterion} for model in models]  # fmt: skip
    return [task for task in models[0].tasks if all(task in found for found in judged)]


def changes_table(models: Sequence[Model]) -> pd.DataFrame:
    """Every common headline of every model and width, against that model's own dense scores.

    Returns:
        a DataFrame of COLUMNS, tasks in order, models in order, widest first.
    """
    common, rows = common_tasks(models), []
    for task in common:
        for model in models:
            found = [row for row in model.analysis["results"]["verdicts"]
                     if row["task"] == task and row["headline"]
                     and row["selection"] == model.criterion]  # fmt: skip
            for row in sorted(found, key=lambda row: -row["expansion_ratio"]):
                about = {
                    "study": model.study, "model": model.analysis["results"]["model"],
                    "dense_expansion_ratio": model.dense["results"]["expansion_ratio"],
                }  # fmt: skip
                rows.append({name: {**row, **about}[name] for name in COLUMNS})
    return pd.DataFrame(rows, columns=COLUMNS)


def shared_ratios(table: pd.DataFrame) -> list[float]:
    """Pruning ratios that every model was pruned at."""
    sets = [set(part["pruning_ratio"]) for _, part in table.groupby("study")]
    return sorted(set.intersection(*sets)) if sets else []


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Task by task at each common pruning ratio: how many models are worse, better, or neither.

    Counts of models, no p-value: two or three models are no sample.

    Returns:
        task, pruning_ratio, models, worse, better, equivalent, inconclusive, low_points and
        high_points (the range of the changes over models).
    """
    rows = []
    ratios = shared_ratios(table)
    at = table[table["pruning_ratio"].isin(ratios)]
    for (task, ratio), part in at.groupby(["task", "pruning_ratio"], sort=False):
        counts = part["change"].value_counts()
        rows.append({
            "task": task, "pruning_ratio": ratio, "models": len(part),
            **{name: int(counts.get(name, 0))
               for name in ("worse", "better", "equivalent", "inconclusive")},
            "unit": part["unit"].iloc[0], "low_points": part["diff_points"].min(),
            "high_points": part["diff_points"].max(),
        })  # fmt: skip
    return pd.DataFrame(rows)
