"""The published numbers of arXiv 2512.22671 as tables; README.md has the sources.

    read          one CSV file
    scores        every capability score with its standard error, and what that error is
    floors        scores of trivial baselines on the same tasks
    comparison    unpaired differences, levels, correlations
    verdicts      the claims, judged
    side_by_side  scores, time and joules that a study measured too

Every number here was published or computed from what was, except the IFEval scores of trivial
baselines, which `benchmarks/measure_responders.py` measured.
"""

from importlib import resources

import numpy as np
import pandas as pd

from ppmlib.record import records

MODELS = {
    "meta-llama/Llama-3.2-1B": "1B",
    "meta-llama/Llama-3.2-3B": "3B",
    "meta-llama/Llama-3.2-1B-Instruct": "1B-Instruct",
}
# Shares of right answers; MC2 is a mean of probabilities, instruction-level scores are clustered.
RIGHT_OR_WRONG = (
    "acc,none",
    "acc_norm,none",
    "exact_match,strict-match",
    "exact_match,flexible-extract",
    "prompt_level_strict_acc,none",
    "prompt_level_loose_acc,none",
)
SCORE_COLUMNS = [
    *("model", "pruning_ratio", "expansion_ratio", "task", "metric", "headline"),
    *("value", "n", "n_verified", "se", "se_source"),
]
IFEVAL_SCORES = {
    "prompt_level_strict_acc": "value",
    "inst_level_strict_acc": "instruction_level",
    "prompt_level_loose_acc": "loose",
    "inst_level_loose_acc": "instruction_level_loose",
}
COSTS = {
    "joules_per_token": "joules_per_token_published",
    "ttlt": "answer_ms",
    "tokens_per_measured_prompt": "tokens_per_answer",
    "throughput": "tokens_per_s",
    "stop_value_over_true_energy": "unit_factor",
    "corrected_net_joules_per_token": "joules_per_token",
}
SHOWN_BASELINES = {'"the"': 'constant "the"', "echo prompt once": "echoed prompt"}


def read(name: str) -> pd.DataFrame:
    """One of the CSV files of this folder, without its `.csv`."""
    with resources.files(__name__).joinpath(f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def file_hashes() -> dict[str, str]:
    """SHA-256 of every CSV file of this folder: what a record of these numbers rests on."""
    with resources.as_file(resources.files(__name__)) as folder:
        return {path.name: records.sha256_file(path) for path in sorted(folder.glob("*.csv"))}


def scores() -> pd.DataFrame:
    """Every published capability score of the 18 models, one row per model, width and metric.

    `se` is the published standard error where one is stored; else the binomial one,
    sqrt(p (1 - p) / n), of scores that are shares of documents (`se_source` says which). That is
    an upper bound for TruthfulQA MC2, whose documents score anything from 0 to 1. Perplexities and
    instruction-level scores have none: `se` is missing and they are not tested. `headline` marks
    the metric the paper reports.
    """
    table = read("capability").rename(columns={"paper_headline": "headline"})
    documents = read("documents").rename(columns={"verified": "n_verified"})
    table = table.merge(documents, on="task", validate="many_to_one")
    table["model"] = table["model"].map(MODELS)
    table["headline"] = table["headline"] == 1
    p, stored = table["value"], table["stderr"].notna()
    binomial = table["metric"].isin(RIGHT_OR_WRONG) & ~stored
    error = np.sqrt((p * (1 - p)).clip(lower=0) / table["n"])
    table["se"] = table["stderr"].where(~binomial, error)
    table["se_source"] = np.select([stored, binomial], ["published", "binomial"], "none")
    bound = binomial & (table["task"] == "truthfulqa_mc2")
    table.loc[bound, "se_source"] = "binomial, upper bound"
    return table[SCORE_COLUMNS]


def floors() -> pd.DataFrame:
    """Score of trivial baselines, per task and headline metric; the first is the main one.

    GSM8K has no measured floor and no row here.
    """
    table = read("floors").query("task not in ('ifeval', 'gsm8k')")
    kinds = {"boolq": "majority answer", "truthfulqa_mc2": "uniform probabilities"}
    choices = pd.DataFrame(
        {
            "task": table["task"],
            "floor": [kinds.get(task, "chance") for task in table["task"]],
            "value": table["no_information_floor"],
            "source": table["how"] + " (" + table["verified"] + ")",
        }
    )
    ifeval = trivial_responders().set_index("response").loc[list(SHOWN_BASELINES), ["value"]]
    ifeval = ifeval.rename(index=SHOWN_BASELINES).rename_axis("floor").reset_index()
    source = "measured on the 541 prompts through lm-eval's own task"
    ifeval = ifeval.assign(task="ifeval", source=source)
    return pd.concat([choices, ifeval], ignore_index=True)


def costs(model: str, workload: str) -> pd.DataFrame:
    """Published means of one workload: a row per pruning ratio, the COSTS as columns."""
    table = read("efficiency")
    table = table[(table["model"].map(MODELS) == model) & (table["workload"] == workload)]
    wide = table.pivot(index="pruning_ratio", columns="metric", values="mean")
    return wide.rename(columns=COSTS).rename_axis(columns=None)


def trivial_responders() -> pd.DataFrame:
    """IFEval scores of trivial baselines: `kind` is empty, constant or echo.

    `value` is prompt-level strict. Measured by `benchmarks/measure_responders.py`.
    """
    table = read("trivial_responders").rename(columns=IFEVAL_SCORES)
    return table[["response", "kind", *IFEVAL_SCORES.values()]]
