"""A data root with real documents, laid out from copies of them in their authors' formats.

    python benchmarks/real_documents.py SOURCE DATA_ROOT

SOURCE holds `models/stories260K` and `data/{ifeval,gsm8k,arc_challenge,musr_small,truthfulqa,piqa,
lambada,nltk_data}`. The repositories get the form, file names and columns of the hub's. Of
ARC-Challenge and PIQA only the split that is scored is there: HELD_OUT of its rows stand in for the
train split and are not the real one.
"""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

MODEL = "tinystories/stories260K"
HELD_OUT = 25
MUSR = {
    "murder_mysteries": "murder_mystery",
    "object_placements": "object_placements",
    "team_allocation": "team_allocation",
}
TASKS = [
    {
        "name": "ifeval",
        "num_fewshot": 0,
        "metric": "prompt_level_strict_acc",
        "axis": "instruction",
    },
    {
        "name": "gsm8k",
        "num_fewshot": 5,
        "metric": "exact_match",
        "filter": "strict-match",
        "axis": "mathematics",
    },
    {"name": "arc_challenge", "num_fewshot": 0, "metric": "acc_norm", "axis": "reasoning"},
    {"name": "leaderboard_musr", "num_fewshot": 0, "metric": "acc_norm", "axis": "reasoning"},
]
STUDY = {
    "study": "real",
    "model": {"id": MODEL, "dtype": "float32"},
    "pruning_ratios": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "floors": ["permuted"],
    "tasks": TASKS,
    "batch_size": 16,
    "generation": {"max_gen_toks": 32},
}


def card(text: str, configs: dict[str, dict[str, str]]) -> str:
    """A repository's README.md: its `configs:` block, then a text."""
    lines = ["---", "configs:"]
    for name, splits in configs.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", "", text, ""])


def lay_out(source: Path, folder: Path) -> Path:
    """Write the data root `folder` for STUDY: model, four data sets, nltk's data. No manifest."""
    data, clones = source / "data", folder / "datasets"
    shutil.copytree(source / "models" / "stories260K", folder / "models" / MODEL)
    shutil.copytree(data / "nltk_data", folder / "nltk_data")
    _ifeval(data, clones / "google" / "IFEval")
    _gsm8k(data, clones / "openai" / "gsm8k")
    _arc_challenge(data, clones / "allenai" / "ai2_arc")
    musr(data, clones / "TAUR-Lab" / "MuSR")
    return folder


def lay_out_all(source: Path, folder: Path) -> Path:
    """The same with TruthfulQA, PIQA and LAMBADA."""
    lay_out(source, folder)
    data, clones = source / "data", folder / "datasets"
    _truthfulqa(data, clones / "truthfulqa" / "truthful_qa")
    _piqa(data, clones / "baber" / "piqa")
    _lambada(data, clones / "EleutherAI" / "lambada_openai")
    return folder


def _lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _ifeval(data: Path, clone: Path) -> None:
    clone.mkdir(parents=True)
    shutil.copyfile(data / "ifeval" / "input_data.jsonl", clone / "ifeval_input_data.jsonl")
    (clone / "README.md").write_text(
        card("IFEval", {"default": {"train": "ifeval_input_data.jsonl"}})
    )


def _gsm8k(data: Path, clone: Path) -> None:
    (clone / "main").mkdir(parents=True)
    splits = {"train": "train_first200.jsonl", "test": "test.jsonl"}
    for split, name in splits.items():
        rows = pd.DataFrame(_lines(data / "gsm8k" / name))
        rows[["question", "answer"]].to_parquet(clone / f"main/{split}-00000-of-00001.parquet")
    files = {split: f"main/{split}-*" for split in splits}
    (clone / "README.md").write_text(card("GSM8K", {"main": files}))


def _arc_challenge(data: Path, clone: Path) -> None:
    (clone / "ARC-Challenge").mkdir(parents=True)
    rows = [
        {
            "id": row["id"],
            "question": row["question"]["stem"],
            "choices": {
                key: [choice[key] for choice in row["question"]["choices"]]
                for key in ("text", "label")
            },
            "answerKey": row["answerKey"],
        }
        for row in _lines(data / "arc_challenge" / "ARC-Challenge-Test.jsonl")
    ]
    splits = {"train": rows[:HELD_OUT], "test": rows[HELD_OUT:]}
    for split, part in splits.items():
        name = f"ARC-Challenge/{split}-00000-of-00001.parquet"
        pd.DataFrame(part).to_parquet(clone / name)
    files = {split: f"ARC-Challenge/{split}-*" for split in splits}
    text = f"train is NOT the real split: {HELD_OUT} rows held out of the test file."
    (clone / "README.md").write_text(card(text, {"ARC-Challenge": files}))


def _truthfulqa(data: Path, clone: Path) -> None:
    (clone / "multiple_choice").mkdir(parents=True)
    rows = [
        {
            "question": row["question"],
            **{
                name: {"choices": list(row[name]), "labels": list(row[name].values())}
                for name in ("mc1_targets", "mc2_targets")
            },
        }
        for row in json.loads((data / "truthfulqa" / "mc_task.json").read_text(encoding="utf-8"))
    ]
    pd.DataFrame(rows).to_parquet(clone / "multiple_choice/validation-00000-of-00001.parquet")
    files = {"validation": "multiple_choice/validation-*"}
    (clone / "README.md").write_text(card("TruthfulQA", {"multiple_choice": files}))


def _piqa(data: Path, clone: Path) -> None:
    (clone / "data").mkdir(parents=True)
    labels = (data / "piqa" / "valid-labels.lst").read_text().split()
    rows = pd.DataFrame(_lines(data / "piqa" / "valid.jsonl")).assign(label=list(map(int, labels)))
    splits = {"train": rows[:HELD_OUT], "validation": rows[HELD_OUT:]}
    for split, part in splits.items():
        part.to_parquet(clone / f"data/{split}-00000-of-00001.parquet", index=False)
    files = {split: f"data/{split}-*" for split in splits}
    text = f"train is NOT the real split: {HELD_OUT} rows held out of the validation file."
    (clone / "README.md").write_text(card(text, {"default": files}))


def _lambada(data: Path, clone: Path) -> None:
    (clone / "data").mkdir(parents=True)
    rows = pd.DataFrame(_lines(data / "lambada" / "lambada_test.jsonl"))
    rows.to_parquet(clone / "data/test-00000-of-00001.parquet", index=False)
    (clone / "README.md").write_text(card("LAMBADA", {"default": {"test": "data/test-*"}}))


def musr(data: Path, clone: Path, *, at_most: int | None = None) -> None:
    """Write the MuSR repository; of `at_most` stories per split, as many questions of each."""
    clone.mkdir(parents=True)
    for split, source in MUSR.items():
        stories = json.loads((data / "musr_small" / f"small_{source}.json").read_text())
        pd.DataFrame(
            {
                "narrative": story["context"],
                "question": question["question"],
                "choices": repr(question["choices"]),
                "answer_index": question["answer"],
                "answer_choice": question["choices"][question["answer"]],
            }
            for story in stories[:at_most]
            for question in story["questions"][:at_most]
        ).to_csv(clone / f"{split}.csv", index=False)
    (clone / "README.md").write_text(
        card("MuSR", {"default": {split: f"{split}.csv" for split in MUSR}})
    )


if __name__ == "__main__":
    lay_out_all(*map(Path, sys.argv[1:3]))
