"""How answers changed: their length, repetition and ends, the kinds of instruction, examples.

response_table   length, self-stopping, repetition of every width; which answers the change is in
kinds_table      which kinds of instruction moved at one width
draw_examples    documents gained and lost, drawn with a seed
"""

import numpy as np
import pandas as pd

from ppmlib.analyse.outcomes import Outcome
from ppmlib.analyse.study_records import DENSE, Study, describe_run
from ppmlib.evaluation.responses import repetition
from ppmlib.statistics import multiplicity, paired

REPEATS_FROM = 0.5  # share of repeated word 4-grams from which an answer counts as repeating
EXAMPLES = 12
RESPONSE_COLUMNS = [
    "task", "run", "selection", "pruning_ratio", "expansion_ratio", "n", "median_tokens",
    "shorter", "longer", "stopped", "repeating", "empty", "change_points", "from_degenerate_points",
    "from_proper_points", "degenerate", "gained", "gained_shorter", "gained_degenerate", "lost",
    "lost_degenerate",
]  # fmt: skip
KIND_COLUMNS = ["kind", "n", "dense", "pruned", "permuted", "diff_points", "low", "high", "p_value",
                "p_adjusted"]  # fmt: skip


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Per document of a generation task: tokens, stopped, empty, repeating, degenerate.

    An answer is degenerate if it is empty, repeats itself or ran into the token limit.
    """
    text = table["response"]
    found = pd.DataFrame({
        "tokens": table["response_tokens"].astype(float), "stopped": table["stopped"].astype(bool),
        "empty": text.str.strip() == "",
        "repeating": text.map(repetition) >= REPEATS_FROM,
    })  # fmt: skip
    found["degenerate"] = found["empty"] | found["repeating"] | ~found["stopped"]
    return found


def generation_tasks(study: Study, tasks) -> list[str]:
    """Those of the tasks whose dense records hold written answers with their lengths."""
    wanted = {"response", "response_tokens", "stopped"}
    evaluated = [task for task in tasks if study.headline(DENSE, task) is not None]
    return [task for task in evaluated if wanted <= set(study.samples(DENSE, task))]


def response_table(study: Study, tasks, *, criterion: str) -> pd.DataFrame:
    """Every width's answers, and how much of its change lies in degenerate ones.

    The change in points is the sum of `from_degenerate_points` (documents whose pruned answer is
    degenerate) and `from_proper_points` (all others). Shares are of documents. `shorter` and
    `longer` than the dense model's answer to the same document.
    """
    rows = []
    for task in generation_tasks(study, tasks):
        dense = features(study.samples(DENSE, task))
        for run in [study.runs[DENSE], *study.widths(criterion)]:
            row = study.headline(run.key, task)
            if row is None or not study.has_outcomes(run.key, row):
                continue
            own, base = study.outcome(run.key, row), study.outcome(DENSE, row)
            mine = features(study.samples(run.key, task))
            rows.append({"task": task, **describe_run(run), **_answers(dense, mine),
                         **_shares(base, own, dense, mine)})  # fmt: skip
    return pd.DataFrame(rows, columns=RESPONSE_COLUMNS)


def _answers(dense: pd.DataFrame, mine: pd.DataFrame) -> dict[str, float]:
    return {
        "n": len(mine), "median_tokens": float(mine["tokens"].median()),
        "shorter": float((mine["tokens"] < dense["tokens"]).mean()),
        "longer": float((mine["tokens"] > dense["tokens"]).mean()),
        **{name: float(mine[name].mean())
           for name in ("stopped", "repeating", "empty", "degenerate")},
    }  # fmt: skip


def _shares(base: Outcome, own: Outcome, dense: pd.DataFrame, mine: pd.DataFrame) -> dict:
    gap = own.totals - base.totals
    weight = gap.size if own.weights is None else own.weights.sum()
    bad, gained, lost = mine["degenerate"].to_numpy(), gap > 0, gap < 0
    return {
        "change_points": 100 * float(gap.sum() / weight),
        "from_degenerate_points": 100 * float(gap[bad].sum() / weight),
        "from_proper_points": 100 * float(gap[~bad].sum() / weight),
        "gained": int(gained.sum()), "lost": int(lost.sum()),
        "gained_shorter": int((gained & (mine["tokens"] < dense["tokens"]).to_numpy()).sum()),
        "gained_degenerate": int((gained & bad).sum()),
        "lost_degenerate": int((lost & bad).sum()),
    }  # fmt: skip


def task_with_kinds(study: Study, tasks) -> str | None:
    """The first task whose documents name their kinds of instruction, or None."""
    found = [t for t in generation_tasks(study, tasks)
             if "instruction_ids" in study.samples(DENSE, t)]  # fmt: skip
    return found[0] if found else None


def kinds_table(study: Study, task: str | None, run: str, *, seed: int) -> pd.DataFrame:
    """Each kind of instruction at one width against the dense model, most fallen first.

    The strict instruction-level outcomes, a document as one unit; Tango and McNemar where a
    document has a kind once, else bootstrap and sign flips. p-values adjusted by
    Benjamini-Hochberg over the kinds. `permuted`: the share of the same answers handed to other
    documents. Kinds of fewer than two documents have no row; without a task there is none.
    """
    column = "inst_level_strict_acc,none"
    if task is None or study.headline(run, task) is None:
        return pd.DataFrame(columns=KIND_COLUMNS)
    tables = {key: study.samples(key, task) for key in (DENSE, run)}
    if any(column not in table for table in tables.values()):
        return pd.DataFrame(columns=KIND_COLUMNS)
    long = _by_kind(tables[DENSE], tables[run], column)
    rows = []
    for kind, part in long.groupby("kind", sort=True):
        units = part.groupby("document", sort=False)[["dense", "pruned", "permuted"]].sum()
        counts = part.groupby("document", sort=False).size().to_numpy(float)
        if len(units) < 2:
            continue
        weights = None if (counts == 1).all() else counts
        change = paired.compare(units["dense"], units["pruned"], weights=weights, seed=seed)
        rows.append({"kind": kind, "n": len(units), "dense": part["dense"].mean(),
                     "pruned": part["pruned"].mean(), "permuted": part["permuted"].mean(),
                     "diff_points": 100 * change.difference, "low": 100 * change.low,
                     "high": 100 * change.high, "p_value": change.p_value})  # fmt: skip
    table = pd.DataFrame(rows, columns=KIND_COLUMNS)
    table["p_adjusted"] = multiplicity.benjamini_hochberg(table["p_value"].astype(float))
    return table.sort_values("diff_points", ignore_index=True)


def _by_kind(dense: pd.DataFrame, pruned: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per document and instruction."""
    permuted = pruned.get(f"permuted:{column}")
    rows = []
    for at, kinds in enumerate(dense["instruction_ids"]):
        for place, kind in enumerate(kinds):
            rows.append({"document": at, "kind": kind, "dense": dense[column][at][place],
                         "pruned": pruned[column][at][place],
                         "permuted": np.nan if permuted is None
                         else permuted[at][place]})  # fmt: skip
    return pd.DataFrame(rows, columns=["document", "kind", "dense", "pruned", "permuted"])


def draw_examples(study: Study, task: str | None, run: str, *, seed: int, count: int = EXAMPLES):
    """Documents gained and lost at one width, half of each where there are enough, by seed.

    Returns:
        a DataFrame: outcome (`gained` or `lost`), document, prompt_end, dense, pruned (answers),
        dense_tokens, pruned_tokens. Empty without a task, or where no document changed.
    """
    row = None if task is None else study.headline(run, task)
    if row is None:
        return pd.DataFrame()
    gap = study.outcome(run, row).totals - study.outcome(DENSE, row).totals
    dense, pruned = study.samples(DENSE, task), study.samples(run, task)
    generator, chosen = np.random.default_rng(seed), []
    gained, lost = np.flatnonzero(gap > 0), np.flatnonzero(gap < 0)
    take = min(len(gained), max(count // 2, count - len(lost)))
    for name, found, number in (("gained", gained, take), ("lost", lost, count - take)):
        picked = np.sort(generator.permutation(found)[:number])
        chosen += [(name, at) for at in picked]
    return pd.DataFrame(
        {
            "outcome": name,
            "document": dense["doc_id"][at],
            "prompt_end": dense["prompt_end"][at],
            "dense": dense["response"][at],
            "pruned": pruned["response"][at],
            "dense_tokens": dense["response_tokens"][at],
            "pruned_tokens": pruned["response_tokens"][at],
        }
        for name, at in chosen
    )
