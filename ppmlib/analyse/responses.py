"""How answers changed: their length, repetition and ends, the kinds of instruction, examples."""

import numpy as np
import pandas as pd

from ppmlib.analyse.outcomes import in_points
from ppmlib.analyse.study_records import DENSE, Study, describe_run
from ppmlib.evaluation.responses import repetition
from ppmlib.statistics import multiplicity, paired

REPEATS_FROM = 0.5  # share of repeated word 4-grams from which an answer counts as repeating
EXAMPLES = 12
IDS = "instruction_ids"
STRICT = "inst_level_strict_acc,none"
RESPONSE_COLUMNS = [
    *("task", "run", "selection", "pruning_ratio", "expansion_ratio", "n", "median_tokens"),
    *("shorter", "longer", "stopped", "repeating", "empty"),
    *("change_points", "from_degenerate_points", "from_proper_points", "degenerate"),
    *("gained", "gained_shorter", "gained_degenerate", "lost", "lost_degenerate"),
]
KIND_VALUES = ["dense", "pruned", "permuted"]
KIND_COLUMNS = ["kind", "n", *KIND_VALUES, "diff_points", "low", "high", "p_value", "p_adjusted"]


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Per document of a generation task: tokens, stopped, empty, repeating, degenerate.

    An answer is degenerate if it is empty, repeats itself or ran into the token limit.
    """
    found = pd.DataFrame({"tokens": table["response_tokens"].astype(float)})
    found["stopped"] = table["stopped"].astype(bool)
    found["empty"] = table["response"].str.strip() == ""
    found["repeating"] = table["response"].map(repetition) >= REPEATS_FROM
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
        for run, row in study.scored(task, criterion):
            own, base = study.outcome(run.key, row), study.outcome(DENSE, row)
            if "none" in (own.unit, base.unit):
                continue
            gap = own.totals - base.totals
            mine = features(study.samples(run.key, task))
            about = {"task": task, **describe_run(run), "n": len(mine)}
            rows.append({**about, **_describe_answers(dense, mine, gap, own.weight.sum())})
    return pd.DataFrame(rows, columns=RESPONSE_COLUMNS)


def _describe_answers(dense: pd.DataFrame, mine: pd.DataFrame, gap: np.ndarray, weight: float):
    shorter, longer = mine["tokens"] < dense["tokens"], mine["tokens"] > dense["tokens"]
    gained, lost, bad = gap > 0, gap < 0, mine["degenerate"].to_numpy()
    shares = {"shorter": shorter, "longer": longer, **mine.drop(columns="tokens")}
    parts = {"change": gap, "from_degenerate": gap[bad], "from_proper": gap[~bad]}
    counted = {
        "gained": gained,
        "gained_shorter": gained & shorter,
        "gained_degenerate": gained & bad,
        "lost": lost,
        "lost_degenerate": lost & bad,
    }
    return {
        "median_tokens": float(mine["tokens"].median()),
        **{name: float(which.mean()) for name, which in shares.items()},
        **{f"{name}_points": 100 * float(part.sum() / weight) for name, part in parts.items()},
        **{name: int(which.sum()) for name, which in counted.items()},
    }


def task_with_kinds(study: Study, tasks) -> str | None:
    """The first task whose documents name their kinds of instruction, or None."""
    named = (t for t in generation_tasks(study, tasks) if IDS in study.samples(DENSE, t))
    return next(named, None)


def kinds_table(study: Study, task: str | None, run: str, *, seed: int) -> pd.DataFrame:
    """Each kind of instruction at one width against the dense model, most fallen first.

    The strict instruction-level outcomes, a document as one unit; Tango and McNemar where a
    document has a kind once, else bootstrap and sign flips. p-values adjusted by
    Benjamini-Hochberg over the kinds. `permuted`: the share of the same answers handed to other
    documents. Kinds of fewer than two documents have no row; without a task there is none.
    """
    evaluated = task is not None and study.headline(run, task) is not None
    tables = [study.samples(key, task) for key in (DENSE, run)] if evaluated else []
    rows = []
    if tables and all(STRICT in table for table in tables):
        for kind, part in _split_kinds(*tables).groupby("kind", sort=True):
            documents = part.groupby("document", sort=False)
            units, counts = documents[KIND_VALUES].sum(), documents.size().to_numpy(float)
            if len(units) < 2:
                continue
            weights = None if (counts == 1).all() else counts
            change = paired.compare(units["dense"], units["pruned"], weights=weights, seed=seed)
            about = {"kind": kind, "n": len(units), **part[KIND_VALUES].mean()}
            rows.append({**about, **in_points(change, "diff_points")})
    table = pd.DataFrame(rows, columns=KIND_COLUMNS)
    table["p_adjusted"] = multiplicity.benjamini_hochberg(table["p_value"].astype(float))
    return table.sort_values("diff_points", ignore_index=True)


def _split_kinds(dense: pd.DataFrame, pruned: pd.DataFrame) -> pd.DataFrame:
    """One row per document and instruction."""
    unknown = dense[IDS].map(lambda kinds: [np.nan] * len(kinds))
    columns = [dense[IDS], dense[STRICT], pruned[STRICT], pruned.get(f"permuted:{STRICT}", unknown)]
    names = ["kind", *KIND_VALUES]
    long = pd.DataFrame(dict(zip(names, columns, strict=True))).explode(names)
    long = long.dropna(subset="kind").astype(dict.fromkeys(KIND_VALUES, float))
    return long.rename_axis("document").reset_index()


def draw_examples(study: Study, task: str | None, run: str, *, seed: int, count: int = EXAMPLES):
    """Documents gained and lost at one width, half of each where there are enough, by seed.

    `dense` and `pruned` are the answers. Empty without a task, or where no document changed.
    """
    row = None if task is None else study.headline(run, task)
    if row is None:
        return pd.DataFrame()
    gap = study.outcome(run, row).totals - study.outcome(DENSE, row).totals
    dense, pruned = study.samples(DENSE, task), study.samples(run, task)
    generator = np.random.default_rng(seed)
    gained, lost = np.flatnonzero(gap > 0), np.flatnonzero(gap < 0)
    take = min(len(gained), max(count // 2, count - len(lost)))
    picked = {
        "gained": np.sort(generator.permutation(gained)[:take]),
        "lost": np.sort(generator.permutation(lost)[: count - take]),
    }
    columns = {
        "document": dense["doc_id"],
        "prompt_end": dense["prompt_end"],
        "dense": dense["response"],
        "pruned": pruned["response"],
        "dense_tokens": dense["response_tokens"],
        "pruned_tokens": pruned["response_tokens"],
    }
    parts = {outcome: pd.DataFrame(columns).loc[rows] for outcome, rows in picked.items()}
    return pd.concat(parts, names=["outcome"]).reset_index("outcome").reset_index(drop=True)
