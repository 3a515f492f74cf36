"""A task that runs out of memory is evaluated in smaller batches, at every width."""

import json
import subprocess

import pytest
import torch
from small_study import INSTRUCTIONS, KNOWLEDGE, TINY, command, environment, write_study

from ppmlib import batch_sizes, evaluation, models, params
from ppmlib.evaluation import EvaluationError

MOST_ROWS = 4
# On a kernel's path this leaves memory for so many rows in a forward pass and no more.
SITECUSTOMIZE = f"""
import sys

if "ppmlib.workflow.kernel" in sys.orig_argv:
    import torch
    from transformers import LlamaForCausalLM

    whole = LlamaForCausalLM.forward

    def forward(self, *args, **kwargs):
        rows = len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])
        if rows > {MOST_ROWS}:
            raise torch.OutOfMemoryError("made to run out of memory")
        return whole(self, *args, **kwargs)

    LlamaForCausalLM.forward = forward
"""
HOW = {"kept_inputs": {}, "add_bos_token": True, "floors": [], "subset": {"n": 6, "seed": 0}}


def short_of_memory(loaded, most_rows):
    whole = loaded.model.forward

    def forward(*args, **kwargs):
        rows = len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])
        if rows > most_rows:
            raise torch.OutOfMemoryError("made to run out of memory")
        return whole(*args, **kwargs)

    loaded.model.forward = forward
    return loaded


@pytest.fixture
def loaded():
    return models.load("bench-small")


def task(**changes):
    return params.Task(**KNOWLEDGE, **changes).parameters()


def test_the_error_names_task_and_size_and_the_folder_notes_half_of_it(loaded, tmp_path):
    short_of_memory(loaded, 0)
    study = params.Study.model_validate(TINY | {"batch_size": 16})
    for size, smaller in [(16, 8), (8, 4), (5, 2)]:
        with pytest.raises(EvaluationError, match=rf"bench_knowledge: out of memory .* {size}; "):
            evaluation.evaluate(loaded, [task()], root=tmp_path, run="r", batch_size=size, **HOW)
        assert batch_sizes.smaller(study, tmp_path) == {"bench_knowledge": smaller}
    assert batch_sizes.applied(study, tmp_path).batch_size_of("bench_knowledge") == 2
    with pytest.raises(EvaluationError, match="out of memory with one document at a time"):
        evaluation.evaluate(
            loaded, [task(batch_size=1)], root=tmp_path, run="r", batch_size=16, **HOW
        )


def test_a_task_in_batches_of_its_own_gives_the_numbers_of_a_study_in_those(loaded, tmp_path):
    together = evaluation.evaluate(
        loaded, [task()], root=tmp_path, run="all", batch_size=MOST_ROWS, **HOW
    )
    short_of_memory(loaded, MOST_ROWS)
    own = evaluation.evaluate(
        loaded, [task(batch_size=MOST_ROWS)], root=tmp_path, run="own", batch_size=64, **HOW
    )
    assert own.rows.equals(together.rows)
    assert own.tasks["bench_knowledge"]["largest_batch"] == MOST_ROWS
    assert own.tasks["bench_knowledge"]["batch_size"] == MOST_ROWS


def test_a_smaller_size_in_the_study_file_is_left_as_it_is(tmp_path):
    study = params.Study.model_validate(TINY | {"batch_size": 4})
    assert batch_sizes.lower(tmp_path, "bench_knowledge", 16) == 8
    assert batch_sizes.applied(study, tmp_path) == study


@pytest.mark.slow
def test_a_study_goes_on_by_itself_in_smaller_batches_at_every_width(tmp_path):
    folder = tmp_path / "on-path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    write_study(
        tmp_path,
        TINY,
        model={"id": "bench-small"},
        batch_size=8,
        aa_batch_size=2,
        tasks=[KNOWLEDGE, INSTRUCTIONS],
    )
    done = subprocess.run(
        command("run", "small.yaml"),
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if "every width now takes" in line]
    assert said == [
        "bench_knowledge: out of memory; every width now takes batches of 4",
        "bench_instructions: out of memory; every width now takes batches of 4",
    ]
    root = tmp_path / "reports" / "small"
    for path in root.glob("records/*/*/3_evaluation.json"):
        tasks = json.loads(path.read_text())["results"]["tasks"]
        own = 2 if path.parent.parent.name == "dense-aa" else 4
        assert {name: about["batch_size"] for name, about in tasks.items()} == {
            "bench_knowledge": own,
            "bench_instructions": own,
        }
    assert "In smaller batches than the other tasks" in (root / "5_analysis.html").read_text()
    verified = subprocess.run(command("verify", root), capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
