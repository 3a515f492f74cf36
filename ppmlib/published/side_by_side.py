"""Published and measured numbers side by side, for studies of the models of arXiv 2512.22671.

    compare_scores  every published headline score that a study measured too, with a verdict
    of_study        the same from a study's records
    compare_costs   time and joules, width by width, each relative to its own dense model

Both sides of a score answered the same documents, so the error of their difference is smaller than
the errors of both suggest: 'differs' is sure, 'agrees' is what the errors allow. Where the paper
gives no error (perplexities), the measured one stands for both. Of costs only changes against the
dense model compare: the published tables give the time of a whole answer, and answers got longer as
widths fell; ours give the time of the same work.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy.stats import norm

from ppmlib import published as paper
from ppmlib.analyse import levels
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.statistics.proportions import LEVEL
from ppmlib.study_file.selection import ratio_of

# The paper's protocol (V1, section 3.3, and the defaults of lm-eval 0.4.9.1).
NUM_FEWSHOT = {"mmlu": 5, "gsm8k": 5}
SETTINGS = {"add_bos_token": False, "apply_chat_template": False, "subset": None}
REACH = float(norm.isf(0.025))
WIDTH = ["task", "metric", "pruning_ratio", "expansion_ratio"]
COLUMNS = [
    *WIDTH,
    *("published", "published_se", "measured", "measured_se", "unit"),
    *("published_change", "measured_change", "z", "p_value", "verdict", "reason"),
]
# Models of random weights have the published models' shapes, so their costs compare too.
COST_MODELS = {name: size for name, size in paper.MODELS.items() if size in ("1B", "3B")}
COST_MODELS |= {f"shape:llama-3.2-{size.lower()}": size for size in ("1B", "3B")}
WORKLOADS = {
    (name, batch): f"{name}_{kind}"
    for name in ("hellaswag", "mmlu", "ifeval")
    for batch, kind in ((1, "latency_b1"), (8, "throughput_b8"))
}
PUBLISHED = ["tokens_per_answer", "ms_per_token", "tokens_per_s", "joules_per_token_published"]
COSTS = ["answer_ms", *PUBLISHED, "work_ms", "tpot_ms", "work_j", "work_net_j"]


def of_study(study: Study, model: str) -> pd.DataFrame:
    """`compare_scores` for a study's records; empty for a model the paper did not score."""
    if model not in paper.MODELS:
        return pd.DataFrame(columns=COLUMNS)
    scores = levels.scores_table(study, all_metrics=True)
    return compare_scores(model, scores, study.evaluations[DENSE])


def compare_scores(model: str, scores: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """Published and measured scores of one model, width by width.

    Args:
        model: the study's model id; other than a published one gives an empty table.
        scores: `levels.scores_table` with all metrics.
        record: the study's dense evaluation record.
    Returns:
        a DataFrame of COLUMNS: `verdict` is agrees, differs or not comparable, `reason` says why;
        changes against dense are in points (percent of a perplexity).
    """
    if model not in paper.MODELS:
        return pd.DataFrame(columns=COLUMNS)
    table = paper.scores()
    table = table[(table["model"] == paper.MODELS[model]) & table["headline"]]
    measured = scores[scores["selection"].isin(["dense", "ppm"])]
    rows = []
    for row in table.to_dict("records"):
        metric, _, filter_key = row["metric"].partition(",")
        named = (measured["task"] == row["task"]) & (measured["metric"] == metric)
        width = measured["pruning_ratio"].round(4) == round(row["pruning_ratio"], 4)
        found = measured[named & (measured["filter"] == filter_key) & width]
        if len(found) == 1:
            rows.append(_compare(row, found.iloc[0], _other_settings(row["task"], record)))
    result = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("published", "measured"):
        dense = result[result["pruning_ratio"] == 0].set_index("task")[name]
        result[f"{name}_change"] = [
            _change(row, row[name], dense.get(row["task"])) for row in result.to_dict("records")
        ]
    return result.sort_values(["task", "pruning_ratio"], ignore_index=True)


def _change(row: Mapping[str, Any], value: float, dense: float | None) -> float | None:
    if dense is None or row["pruning_ratio"] == 0:
        return None
    return 100 * (value / dense - 1) if row["unit"] == "percent" else 100 * (value - dense)


def _other_settings(task: str, record: Mapping[str, Any]) -> list[str]:
    """In which settings a study differs from the published protocol."""
    settings = record["inputs"]["settings"]
    shots = record["results"]["tasks"][task]["num_fewshot"]
    wanted = NUM_FEWSHOT.get(task, 0)
    found = [
        f"{name} is {settings[name]!r}, published {value!r}"
        for name, value in SETTINGS.items()
        if settings[name] != value
    ]
    return found + [f"{shots} shots, published {wanted}"] * (shots != wanted)


def _compare(row: Mapping, ours: pd.Series, other_settings: Sequence[str]) -> dict[str, Any]:
    low, high, log = ours["low"], ours["high"], ours["unit"] == "percent"
    no_error = pd.isna(row["se"])
    found = {name: row[name] for name in WIDTH} | {
        "published": row["value"],
        "published_se": None if no_error else row["se"],
        "measured": ours["value"],
        "unit": ours["unit"],
        "verdict": "not comparable",
    }
    if low is None or pd.isna(low):
        return found | {"reason": "one document: no error"}
    our_se = (math.log(high / low) if log else high - low) / (2 * REACH)
    gap = math.log(ours["value"] / row["value"]) if log else ours["value"] - row["value"]
    error = math.hypot(our_se, our_se if no_error else row["se"])
    if error == 0:
        return found | {"reason": "no error on either side"}
    p = float(2 * norm.sf(abs(gap / error)))
    found |= {"measured_se": None if log else our_se, "z": gap / error, "p_value": p}
    if other_settings:
        return found | {"reason": "; ".join(other_settings)}
    shared = "no published error: the measured one for both"
    return found | {
        "verdict": "agrees" if p > LEVEL else "differs",
        "reason": shared if no_error else f"{row['se_source']} error",
    }


def compare_costs(
    model: str,
    rows: Sequence[Mapping[str, Any]],
    described: Sequence[Mapping[str, Any]],
    joules: Sequence[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """Published and measured time and energy of one model, each as a ratio to dense.

    Args:
        model: the profiled model; one that the paper has no numbers of gives an empty table.
        rows, described: of the profiling. joules: rows of `energy.measure`, if there are any.
    Returns:
        the COSTS per workload, batch size and pruning ratio, each also as `<name>_ratio` to dense:
        `ms_per_token` of batch 8 counts padding as tokens; `answer_ms` is its product with
        `tokens_per_answer` (all prompt sets; the author's aggregate leaves some out by their
        outcome); `joules_per_token_published` is above idle, and a constant times joules.
    """
    if model not in COST_MODELS:
        return pd.DataFrame()
    multiple = described[0]["keep_multiple_of"]
    ratios = {
        width["run"]: ratio_of(width["requested"])
        for width in described
        if width["keep_multiple_of"] == multiple
    }
    energy = {(row["run"], row["workload"], row["batch_size"]): row for row in joules}
    found = []
    for row in rows:
        work, ratio = (row["workload"], row["batch_size"]), ratios.get(row["run"])
        if work not in WORKLOADS or ratio is None:
            continue
        published = paper.costs(COST_MODELS[model], WORKLOADS[work]).reindex(columns=PUBLISHED)
        if ratio not in published.index:
            continue
        costs = published.loc[ratio].to_dict()
        if row["batch_size"] > 1:
            costs["ms_per_token"] = 1e3 * row["batch_size"] / costs["tokens_per_s"]
        spent = energy.get((row["run"], *work), {})
        costs |= {name: row[name] for name in ("workload", "batch_size", "new_tokens")}
        costs |= {
            "answer_ms": costs["tokens_per_answer"] * costs["ms_per_token"],
            "pruning_ratio": ratio,
            "work_ms": 1e3 * row["total_s"],
            "tpot_ms": 1e3 * row["tpot_s"],
            "work_j": spent.get("joules_per_generation"),
            "work_net_j": spent.get("joules_per_generation_net"),
        }
        found.append(costs)
    return _add_ratios(pd.DataFrame(found))


def _add_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Every cost divided by the dense model's at the same work."""
    if table.empty:
        return table
    table = table.astype(dict.fromkeys(COSTS, float)).set_index(["workload", "batch_size"])
    dense = table[table["pruning_ratio"] == 0][COSTS]
    ratios = (table[COSTS] / dense.reindex(table.index)).add_suffix("_ratio")
    return pd.concat([table, ratios], axis=1).reset_index()
