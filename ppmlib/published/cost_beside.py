"""Measured time and joules beside the published ones, for work shaped like the paper's.

    cost_beside   width by width, each relative to its own dense model
    for_reading   the table for a page
    sentences     where the published changes come from

The published tables give the time of a whole answer, and answers got longer as widths fell; ours
give the time of the same work. Set beside each other are therefore changes against dense.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ppmlib import published as paper
from ppmlib.study_file.params import ratio_of

# Models and shapes whose published tables ours can stand beside.
MODELS = {
    "meta-llama/Llama-3.2-1B": "1B",
    "meta-llama/Llama-3.2-3B": "3B",
    "shape:llama-3.2-1b": "1B",
    "shape:llama-3.2-3b": "3B",
}
WORKLOADS = {(name, 1): f"{name}_latency_b1" for name in ("hellaswag", "mmlu", "ifeval")} | {
    (name, 8): f"{name}_throughput_b8" for name in ("hellaswag", "mmlu", "ifeval")
}
PUBLISHED = {
    "tokens_per_measured_prompt": "tokens_per_answer",
    "ms_per_token": "ms_per_token",
    "throughput": "tokens_per_s",
    "joules_per_token": "joules_per_token_published",
}
NAMES = ("answer_ms", *PUBLISHED.values(), "work_ms", "tpot_ms", "work_j", "work_net_j")


def cost_beside(
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
        per workload, batch size and pruning ratio: published `tokens_per_answer`, `ms_per_token`
        (of batch 8: 8000 / its tokens per second, padding counted as tokens), their product
        `answer_ms` (all prompt sets; the author's aggregate leaves some out by their outcome) and
        `joules_per_token_published` (above idle, and a constant times joules), measured `work_ms`,
        `tpot_ms`, `work_j` and, above idle, `work_net_j`; of each `<name>_ratio` to the dense
        model; and `new_tokens` of the measured work.
    """
    if model not in MODELS:
        return pd.DataFrame()
    asked = {w["run"]: w for w in described
             if w["keep_multiple_of"] == described[0]["keep_multiple_of"]}  # fmt: skip
    energy = {(r["run"], r["workload"], r["batch_size"]): r for r in joules}
    found = []
    for row in rows:
        work = (row["workload"], row["batch_size"])
        if work not in WORKLOADS or row["run"] not in asked:
            continue
        ratio = ratio_of(asked[row["run"]]["requested"])
        said = _published(MODELS[model], WORKLOADS[work])
        if ratio not in said.index:
            continue
        line = said.loc[ratio].to_dict()
        if row["batch_size"] > 1:
            line["ms_per_token"] = 1e3 * row["batch_size"] / line["tokens_per_s"]
        line["answer_ms"] = line["tokens_per_answer"] * line["ms_per_token"]
        spent = energy.get((row["run"], *work), {})
        line |= {"workload": work[0], "batch_size": work[1], "pruning_ratio": ratio,
                 "new_tokens": row["new_tokens"], "work_ms": 1e3 * row["total_s"],
                 "tpot_ms": 1e3 * row["tpot_s"], "work_j": spent.get("joules_per_generation"),
                 "work_net_j": spent.get("joules_per_generation_net")}  # fmt: skip
        found.append(line)
    return _against_dense(pd.DataFrame(found))


def _published(model: str, workload: str) -> pd.DataFrame:
    """The published means of one workload by pruning ratio; what was not published is missing."""
    table = paper.read("efficiency")
    named = (table["model"].map(paper.MODELS) == model) & (table["workload"] == workload)
    wide = table[named].pivot(index="pruning_ratio", columns="metric", values="mean")
    return wide.reindex(columns=list(PUBLISHED)).rename(columns=PUBLISHED)


def _against_dense(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    keys = ["workload", "batch_size"]
    names = list(NAMES)
    table = table.astype(dict.fromkeys(names, float)).set_index(keys)
    dense = table[table["pruning_ratio"] == 0][names]
    ratios = (table[names] / dense.reindex(table.index)).add_suffix("_ratio")
    return pd.concat([table, ratios], axis=1).reset_index()


def for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The table for a page: changes against the dense model in percent, a dash where not known."""

    def change(ratio: float) -> str:
        return "–" if pd.isna(ratio) else f"{100 * (ratio - 1):+.1f}%"

    shown = {
        ("", "work"): table["workload"] + ", batch " + table["batch_size"].astype(str),
        ("", "removed"): table["pruning_ratio"].map("{:.0%}".format),
    }
    columns = {
        ("published", "time of an answer"): "answer_ms",
        ("published", "tokens in it"): "tokens_per_answer",
        ("published", "time per token"): "ms_per_token",
        ("published", "'J' per token, above idle"): "joules_per_token_published",
        ("measured here", "time of the same work"): "work_ms",
        ("measured here", "time per later token"): "tpot_ms",
        ("measured here", "J of the same work"): "work_j",
        ("measured here", "above idle"): "work_net_j",
    }
    shown |= {head: table[f"{name}_ratio"].map(change) for head, name in columns.items()}
    read = pd.DataFrame(shown)[(table["pruning_ratio"] > 0).to_numpy()]
    read.columns = pd.MultiIndex.from_tuples(read.columns)
    return read.set_index(("", "work")).rename_axis("work")


def sentences(table: pd.DataFrame) -> list[str]:
    """Per workload: what made the published change of an answer's time, what its 'joules' did, and
    what a batch of eight gave, each beside what is measured here.
    """
    said = []
    alone = table[(table["batch_size"] == 1) & (table["pruning_ratio"] > 0)]
    for workload, part in alone.groupby("workload", sort=False):
        row = part.loc[part["pruning_ratio"].idxmax()]
        energy = ""
        if pd.notna(row["work_j_ratio"]):
            energy = (
                f", {row['work_j_ratio']:.2f} times the joules "
                f"({row['work_net_j_ratio']:.2f} above idle)"
            )
        said.append(
            f"{workload}, {row['pruning_ratio']:.0%} removed: published answers took "
            f"{row['answer_ms_ratio']:.2f} times as long: they held "
            f"{row['tokens_per_answer_ratio']:.2f} times the tokens, each in "
            f"{row['ms_per_token_ratio']:.2f} times the time and at "
            f"{row['joules_per_token_published_ratio']:.2f} times the 'joules' above idle; here "
            f"the same work takes {row['work_ms_ratio']:.2f} times the dense time{energy}."
        )
    dense = table[table["pruning_ratio"] == 0].set_index(["workload", "batch_size"])
    said += [_batch_of_eight(work, dense.loc[work]) for work, batch in dense.index if batch == 8]
    return said


def _batch_of_eight(workload: str, dense: pd.DataFrame) -> str:
    one, eight = dense.loc[1], dense.loc[8]
    less = ""
    if pd.notna(eight["work_j"]):
        less = f" at {eight['work_j'] / (8 * one['work_j']):.2f} times the joules per token"
    published = eight["joules_per_token_published"] / one["joules_per_token_published"]
    faster = eight["tokens_per_s"] / one["tokens_per_s"]
    return (
        f"{workload}, dense, eight prompts at once: published {faster:.1f} times the tokens per "
        f"second, padding counted among them, at {published:.2f} times the 'joules' per token; "
        f"here {8 * one['work_ms'] / eight['work_ms']:.1f} times the tokens per second{less}."
    )
