"""Limitations of a study, in computed sentences."""

import pandas as pd

from ppmlib.analyse.contrasts import SEEDS_FOR_A_TEST
from ppmlib.analyse.levels import floor_of
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.analyse.verdicts import MARGIN_POINTS, headlines
from ppmlib.record.evaluation_records import REPEAT
from ppmlib.show.wording import counted, joined, span

SYNTHETIC = (
    "SYNTHETIC: the model is a packaged bench model of an invented world. The numbers check the "
    "instrument; they are not evidence about Llama or any other language model."
)


def _batch_sizes(study: Study, run: str) -> dict[str, int | None]:
    """Documents per batch of every task of a run; None where its record does not say."""
    record = study.evaluations[run]
    common = record["inputs"]["settings"].get("batch_size")
    tasks = record["results"]["tasks"]
    return {task: about.get("batch_size", common) for task, about in tasks.items()}


def _prompt_formats(study: Study) -> list[str]:
    """Texts scored inside a chat template, and prompts whose BOS is missing or written twice."""
    record, said = study.evaluations[DENSE], []
    asked, about = record["inputs"]["tasks"], record["results"]["tasks"]
    common = record["inputs"]["settings"].get("apply_chat_template")
    wrapped = [
        name
        for name, task in asked.items()
        if task.get("apply_chat_template", common)
        and {"loglikelihood", "loglikelihood_rolling"} & set(about[name]["output_type"].split(","))
    ]
    if wrapped:
        said.append(
            f"{joined(wrapped)} scored inside a chat template, as the study asks: these numbers "
            "describe the template as much as the model."
        )
    by_warning: dict[str, list[str]] = {}
    for name, task in about.items():
        if warning := task.get("bos_warning"):
            by_warning.setdefault(warning, []).append(name)
    return said + [f"{joined(names)}: {warning}." for warning, names in by_warning.items()]


def sentences(study: Study, verdicts: pd.DataFrame, *, criterion: str, draft: bool) -> list[str]:
    """The limitations of this study."""
    rows, said = headlines(verdicts, criterion), []
    if study.synthetic:
        said.append(SYNTHETIC)
    if draft:
        said.append("DRAFT: a subset of the documents was evaluated.")
    said.append(
        "One model, one training run, greedy decoding: the intervals describe other "
        "documents of these tasks, not other models or prompts."
    )
    said.append(
        f"{criterion} is deterministic: one pruned model per width. Widths are nested "
        "and share documents, so their errors are correlated."
    )
    n = rows.groupby("task")["n"].first()
    sizes = rows.loc[rows["unit"] == "points", "mde_points"].dropna()
    if len(sizes):
        said.append(
            f"Documents per task: {span(n.min(), n.max())}. The smallest change detectable "
            f"with 80% power: {span(sizes.min(), sizes.max(), 1)} points over tasks and widths."
        )
    if (rows["unit"] == "points").any():
        said.append(
            f"'Equivalent' means within {MARGIN_POINTS:g} points unless a claim declares "
            "another margin for that task at that ratio; perplexities have none."
        )
    said += _prompt_formats(study)
    seeds = {run.seed for run in study.runs.values() if run.criterion == "random"}
    if not seeds:
        said.append("No random selection was evaluated as a control.")
    elif len(seeds) < SEEDS_FOR_A_TEST:
        said.append(f"Random selections: {counted(len(seeds), 'seed')}.")
    bare = sorted(
        set(rows.loc[(rows["floor_kind"] == "none") & (rows["unit"] == "points"), "task"])
    )
    if bare:
        said.append(f"Without a baseline: {joined(bare)}.")
    dense = [row for row in study.rows(DENSE) if row["headline"] and row["task"] in n]
    low = [
        row["task"]
        for row in dense
        if floor_of(study, DENSE, row)["level"] in ("not above floor", "below floor")
    ]
    if low:
        said.append(
            f"The dense model itself is not above its baseline on {joined(low)}: it has no "
            "ability to lose there."
        )
    sizes = _batch_sizes(study, DENSE)
    common = study.evaluations[DENSE]["inputs"]["settings"].get("batch_size")
    for word, sign in (("smaller", -1), ("larger", 1)):
        unlike = [
            f"{task} ({n})" for task, n in sizes.items() if common and sign * (n - common) > 0
        ]
        if unlike:
            said.append(
                f"In {word} batches than the other tasks, at every width: {joined(unlike)}."
            )
    engines = {
        key: study.evaluations[key]["inputs"]["settings"]["engine"]
        for key in (DENSE, REPEAT)
        if key in study.evaluations
    }
    if len(set(engines.values())) > 1:
        said.append(
            f"Every width was evaluated by the {engines[DENSE]} engine; the A/A repeat by "
            f"the {engines[REPEAT]} one."
        )
    elif REPEAT in engines:
        again = _batch_sizes(study, REPEAT)
        alike = [task for task, n in again.items() if n and n == sizes.get(task)]
        if alike:
            said.append(
                f"The A/A repeat had the same batch size as the dense run on {joined(alike)}: the "
                "effect of another batch size is unknown there."
            )
    cut = [
        f"{task} ({about['truncated']})"
        for task, about in study.evaluations[DENSE]["results"]["tasks"].items()
        if about.get("truncated")
    ]
    if cut:
        said.append(f"Prompts that lost their beginning: {joined(cut)}.")
    return said
