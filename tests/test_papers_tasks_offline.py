"""The paper's study file from a hub to `ppm check`: all thirteen tasks, lm-eval's own definitions.

Real documents where there are copies; the other data sets have a few INVENTED documents in the
columns of the hub's, enough to show that the task finds, loads and renders them. The model stands
in for Llama-3.2-1B under its name.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from real_data import lay_out, source_data
from real_documents import MODEL, card
from small_study import command
from test_prefetch import environment
from toy_hub import serving

from ppmlib.evaluation import task_data
from ppmlib.study_file.params import Study

STUDY_FILE = Path(__file__).parents[1] / "params" / "llama-3.2-1b.yaml"
TARGETS = {"choices": ["Yes.", "No.", "Perhaps."], "labels": [1, 0, 0]}
ENDINGS = ["sits down.", "flies off.", "sings.", "melts."]
INVENTED = {
    ("Rowan/hellaswag", "default"): {
        "activity_label": "Walking",
        "ctx_a": "A man walks.",
        "ctx_b": "he",
        "endings": ENDINGS,
        "label": "0",
    },
    ("allenai/winogrande", "winogrande_xl"): {
        "sentence": "The cup is not in the box because the _ is too large.",
        "option1": "cup",
        "option2": "box",
        "answer": "1",
    },
    ("baber/piqa", "default"): {
        "goal": "To boil water,",
        "sol1": "heat it.",
        "sol2": "cool it.",
        "label": 0,
    },
    ("aps/super_glue", "boolq"): {
        "question": "is water wet",
        "passage": "Water is wet.",
        "idx": 0,
        "label": 1,
    },
    ("truthfulqa/truthful_qa", "multiple_choice"): {
        "question": "Is the sky up?",
        "mc1_targets": TARGETS,
        "mc2_targets": TARGETS,
    },
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"): {
        "page": " = A town = \n\n A town is a place .\n"
    },
    ("EleutherAI/lambada_openai", "default"): {
        "text": "the dog saw the cat and the cat saw the dog"
    },
}
MMLU = {
    "question": "What is 1 + 1?",
    "subject": "sums",
    "choices": ["1", "2", "3", "4"],
    "answer": 1,
}


def write(clone: Path, documents: dict[str, dict]) -> None:
    """A repository with the same few documents in every split of each configuration."""
    splits = ("train", "validation", "dev", "test")
    configs = {config: {s: f"{config}/{s}-*" for s in splits} for config in documents}
    for config, document in documents.items():
        (clone / config).mkdir(parents=True)
        for split in splits:
            rows = pd.DataFrame([document] * 5)
            rows.to_parquet(clone / config / f"{split}-00000-of-00001.parquet")
    (clone / "README.md").write_text(card("INVENTED documents, not those of the hub.", configs))


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> Path:
    source_data()
    folder = lay_out(tmp_path_factory.mktemp("hub"))
    llama = folder / "models" / "meta-llama" / "Llama-3.2-1B"
    shutil.copytree(folder / "models" / MODEL, llama)
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 131072}))
    for (repository, config), document in INVENTED.items():
        write(folder / "datasets" / repository, {config: document})
    subjects = {source.config: MMLU for source in task_data.find_sources("mmlu", [])}
    write(folder / "datasets" / "cais" / "mmlu", subjects)
    return folder


@pytest.mark.slow
def test_the_papers_study_is_fetched_and_checks_out(repositories, tmp_path):
    study = Study.load(STUDY_FILE)
    nltk_data = source_data() / "data" / "nltk_data"
    words = ("--data-root", "root", "--nltk-data", str(nltk_data))
    with serving(repositories) as hub:
        hub.revisions.add(study.model.revision)
        fetched = subprocess.run(
            command("prefetch", STUDY_FILE, *words),
            cwd=tmp_path,
            env=environment(tmp_path, hub),
            capture_output=True,
            text=True,
        )
    assert fetched.returncode == 0, fetched.stderr
    assert "  and 54 more configurations" in fetched.stdout.splitlines()
    manifest = json.loads((tmp_path / "root" / "manifest.json").read_text())
    assert manifest["models"][study.model.id]["revision"] == study.model.revision
    assert len(manifest["datasets"]) == 12 and len(manifest["datasets"]["cais/mmlu"]["rows"]) == 57
    checked = subprocess.run(
        command("check", STUDY_FILE, "--data-root", "root"),
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rows = {line.split()[0]: line for line in checked.stdout.splitlines()[2:-1]}
    assert list(rows) == [task.name for task in study.tasks]
    assert "cais/mmlu (57 configurations)" in rows["mmlu"] and " 285 " in rows["mmlu"]
    assert all(" ok, " in line for line in rows.values())
