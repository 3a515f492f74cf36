"""A study with one evaluation job per task, and the dense model once more: real ppm run."""

import json
import shutil
from pathlib import Path

import pytest
from small_study import INSTRUCTIONS, KNOWLEDGE, ppm, write_study

from ppmlib.analyse import sources, verdicts
from ppmlib.evaluation import run as evaluation
from ppmlib.model import models
from ppmlib.prune import kept_neurons, slicing
from ppmlib.record import evaluation_records, records
from ppmlib.study_file.selection import Selection

TASKS = [{"filter": "none", **task} for task in (INSTRUCTIONS, KNOWLEDGE)]
NAMES = [task["name"] for task in TASKS]
RUN = "ppm/r0.50"


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    """The folder of a finished split study with its repeated dense run."""
    folder = tmp_path_factory.mktemp("split")
    changes = {"pruning_ratios": [0.5], "profiling": None, "limits": {"tasks": {}, "memory_mb": 9}}
    file = write_study(folder, split_evaluation=True, engine="fast", aa_batch_size=8, **changes)
    done = ppm("run", file, "--cores", "2", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "reports" / "small"


def test_there_is_one_job_record_and_page_per_task_and_run(split):
    jobs = json.loads((split / "study.json").read_text())["jobs"]
    wanted = {
        evaluation_records.key(run, task)
        for run in ("dense/r0.00", "dense-aa/r0.00", RUN)
        for task in NAMES
    }
    assert {key for key, job in jobs.items() if job["stage"] == "3_evaluation"} == wanted
    for key in wanted:
        assert list(records.read(split, key)["results"]["tasks"]) == [key.partition("-bench")[0]
            and jobs[key]["parameters"]["tasks"][0]["name"]]  # fmt: skip
        assert (split / f"{key}.html").stat().st_size > 1000
    page = (split / "index.html").read_text()
    assert all(f'href="{key}.html"' in page for key in wanted)
    status = ppm("status", "small.yaml", cwd=split.parents[1])
    assert status.returncode == 0, status.stdout


def test_a_split_evaluation_has_the_rows_and_documents_of_a_whole_one(split, tmp_path):
    loaded = models.load("bench-small")
    kept = kept_neurons.choose_neurons(loaded.model, Selection(pruning_ratio=0.5))
    slicing.slice_mlps(loaded.model, kept.keep)
    whole = evaluation.evaluate(
        loaded,
        TASKS,
        root=tmp_path,
        run=RUN,
        kept_inputs={"keep_sha256": kept.keep_sha256},
        batch_size=16,
        engine="fast",
        add_bos_token=True,
        subset={"n": 30, "seed": 0},
        floors=["permuted"],
    )
    read = sources.load(split)
    joined = read.evaluations[RUN]
    assert joined["results"]["rows"] == whole.results()["rows"]
    assert joined["results"]["tasks"] == whole.results()["tasks"]
    assert joined["inputs"]["tasks"] == whole.inputs["tasks"]
    for name in NAMES:
        again = read.samples(RUN, name)
        assert again.equals(whole.samples[name].sort_values("doc_id", ignore_index=True))


def test_the_repeated_dense_run_is_lm_evals_own_in_other_batches_and_is_no_width(split):
    read = sources.load(split)
    assert set(read.runs) == {"dense/r0.00", RUN}
    settings = {
        run: read.evaluations[run]["inputs"]["settings"]
        for run in ("dense/r0.00", "dense-aa/r0.00", RUN)
    }
    assert {run: (made["engine"], made["batch_size"]) for run, made in settings.items()} == {
        "dense/r0.00": ("fast", 16),
        "dense-aa/r0.00": ("plain", 8),
        RUN: ("fast", 16),
    }
    page = (split / "5_analysis.html").read_text()
    assert "evaluated by the fast engine; the A/A repeat by the plain one" in page
    assert "gives a different outcome in 0 of" in page


def test_an_export_of_a_split_study_carries_the_scores_of_all_its_tasks(split, tmp_path):
    out = tmp_path / "checkpoint"
    done = ppm("export", "small.yaml", "--ratio", "0.5", "--out", out, cwd=split.parents[1])
    assert done.returncode == 0, done.stderr
    card = (out / "README.md").read_text()
    assert all(name in card for name in NAMES)


def test_a_split_study_without_one_dense_task_is_analysed_on_the_others(split, tmp_path):
    copied = shutil.copytree(split, tmp_path / "small")
    for key in list(records.read_stage(copied, "3_evaluation")):
        if key == evaluation_records.key("dense/r0.00", NAMES[0]):
            records.record_path(copied, key).unlink()
    read = sources.load(copied)
    assert list(read.evaluations["dense/r0.00"]["results"]["tasks"]) == [NAMES[1]]
    assert read.missing == [f"dense/r0.00: {NAMES[0]} was not evaluated"]
    judged = verdicts.verdict_table(read, NAMES, [], criterion="ppm", bootstrap_seed=0)
    assert set(judged["task"]) == {NAMES[1]}


def test_parts_of_a_run_with_other_settings_are_refused(split):
    parts = {
        evaluation_records.key(RUN, name): records.read(split, evaluation_records.key(RUN, name))
        for name in NAMES
    }
    other = parts[evaluation_records.key(RUN, NAMES[1])]
    other["inputs"]["settings"] = {**other["inputs"]["settings"], "batch_size": 4}
    with pytest.raises(records.RecordError, match="differ in settings"):
        evaluation_records.join_parts(RUN, parts)
