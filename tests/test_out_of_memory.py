"""A task that runs out of memory is evaluated in smaller batches, at every width."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from small_study import INSTRUCTIONS, KNOWLEDGE, TINY, command, environment, write_study

from ppmlib.evaluation import batch_sizes
from ppmlib.evaluation import run as evaluation
from ppmlib.evaluation.run import EvaluationError
from ppmlib.model import models
from ppmlib.record import records
from ppmlib.record.evaluation_records import DENSE, REPEAT
from ppmlib.study_file import params
from ppmlib.workflow import plan

MOST_ROWS = 4
# On a kernel's path this leaves memory for so many rows in a forward pass and no more, in a study's
# widths or in its repeated dense run.
SITECUSTOMIZE = f"""
import sys

if "ppmlib.workflow.kernel" in sys.orig_argv:
    import torch
    from transformers import LlamaForCausalLM
    from ppmlib.evaluation import run as evaluation

    evaluate, running = evaluation.evaluate, []

    def named(*args, **kwargs):
        running.append(kwargs["run"])
        return evaluate(*args, **kwargs)

    evaluation.evaluate = named
    whole = LlamaForCausalLM.forward

    def forward(self, *args, **kwargs):
        rows = len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])
        if running and (running[-1] == "{REPEAT}") == WHERE_REPEATED and rows > {MOST_ROWS}:
            raise torch.OutOfMemoryError("made to run out of memory")
        return whole(self, *args, **kwargs)

    LlamaForCausalLM.forward = forward
"""
HOW = {"kept_inputs": {}, "add_bos_token": True, "floors": [], "subset": {"n": 6, "seed": 0}}


def short_of_memory(loaded, most_rows):
    whole = loaded.model.forward

    def forward(*args, **kwargs):
        rows, length = (kwargs["input_ids"] if "input_ids" in kwargs else args[0]).shape
        if rows > most_rows and length > 8:  # the eight tokens that are tried first fit
            raise torch.OutOfMemoryError("made to run out of memory")
        return whole(*args, **kwargs)

    loaded.model.forward = forward
    return loaded


@pytest.fixture
def loaded():
    return models.load("bench-small")


def task(**changes):
    return params.Task(**KNOWLEDGE, **changes).parameters()


def study_of(tmp_path, **changes):
    """The study with the smaller batches that its folder asks for, and its plan."""
    path = write_study(tmp_path, TINY, model={"id": "bench-small"}, **changes)
    study = params.Study.load(path)
    planned = plan.build(study, path, tmp_path)
    study = study.model_copy(update={"engine": planned["study"]["engine"]})
    return batch_sizes.apply_smaller(study, tmp_path), planned


def batches(tmp_path, **changes):
    """Documents per batch of its only task in the dense run and in the repeated one."""
    _, planned = study_of(tmp_path, **changes)
    found = []
    for run in (DENSE, REPEAT):
        given = planned["jobs"][f"{run}/3_evaluation"]["parameters"]
        found.append(given["tasks"][0].get("batch_size", given["batch_size"]))
    return tuple(found)


def test_the_error_names_task_and_size_and_the_folder_notes_half_of_it(loaded, tmp_path):
    short_of_memory(loaded, 0)
    for size, smaller in [(16, 8), (8, 4), (5, 2), (16, 2)]:
        with pytest.raises(EvaluationError, match=rf"bench_knowledge: out of memory .* {size}; "):
            evaluation.evaluate(loaded, [task()], root=tmp_path, run="r", batch_size=size, **HOW)
        assert batch_sizes.read_limits(tmp_path, "r", "plain") == {"bench_knowledge": smaller}
    study, _ = study_of(tmp_path, batch_size=16, engine="plain")
    assert study.batch_size_of("bench_knowledge") == 2
    for run, remedy in [("r", "`engine: fast`"), (REPEAT, "leave out aa_batch_size")]:
        with pytest.raises(EvaluationError, match=f"with one document at a time; {remedy}"):
            evaluation.evaluate(
                loaded, [task(batch_size=1)], root=tmp_path, run=run, batch_size=16, **HOW
            )


def test_what_does_not_fit_only_falls_also_when_jobs_fail_at_once(tmp_path):
    tried = [64, 2, 16, 8, 32, 4] * 5
    with ThreadPoolExecutor(6) as jobs:
        found = list(
            jobs.map(lambda n: batch_sizes.halve_batch_size(tmp_path, "r", "plain", "t", n), tried)
        )
    assert all(size <= n // 2 for size, n in zip(found, tried, strict=True))
    assert batch_sizes.halve_batch_size(tmp_path, "r", "plain", "t", 64) == 1
    assert batch_sizes.read_limits(tmp_path, "r", "plain") == {"t": 1}


def test_the_widths_and_the_repeated_run_of_each_engine_have_their_own_batches(tmp_path):
    for engine in ("plain", "fast"):
        size = {"batch_size": 8, "aa_batch_size": 16, "engine": engine}
        assert batches(tmp_path, **size) == (8, 16)
    assert batch_sizes.halve_batch_size(tmp_path, "ppm/r0.50", "fast", "bench_knowledge", 8) == 4
    assert batches(tmp_path, **size) == (4, 2)
    assert batches(tmp_path, **size | {"engine": "plain"}) == (8, 16)


@pytest.mark.parametrize(
    ("given", "then"),
    [((8, 32), (8, 16)), ((8, 16), (8, 4)), ((2, 4), (2, 1)), ((16, 8), (16, 4))],
)
def test_a_repeated_run_without_memory_gets_other_batches_and_the_widths_keep_theirs(
    tmp_path, given, then
):
    size = dict(zip(("batch_size", "aa_batch_size"), given, strict=True))
    _, planned = study_of(tmp_path, **size)
    batch_sizes.halve_batch_size(tmp_path, REPEAT, "plain", "bench_knowledge", given[1])
    (line,) = batch_sizes.describe_lowered(planned, tmp_path)
    assert line.startswith("bench_knowledge: out of memory; the repeated dense run now takes ")
    assert batches(tmp_path, **size) == then
    assert batch_sizes.describe_lowered(study_of(tmp_path, **size)[1], tmp_path) == []


def test_the_file_of_an_earlier_version_holds_for_every_width(tmp_path):
    note = {"task": "bench_knowledge", "did_not_fit": 8, "batch_size": 4}
    records.write_json(tmp_path / "batch_sizes" / "bench_knowledge.json", note)
    for engine in ("plain", "fast"):
        assert batches(tmp_path, batch_size=8, aa_batch_size=16, engine=engine) == (4, 2)
    assert batch_sizes.halve_batch_size(tmp_path, DENSE, "plain", "bench_knowledge", 16) == 4
    assert batch_sizes.halve_batch_size(tmp_path, DENSE, "plain", "bench_knowledge", 4) == 2


def test_damaged_files_are_ignored_with_a_line_each(tmp_path):
    task, tried = '"task": "bench_knowledge"', '"did_not_fit": 8'
    texts = ["", "{", "[]", "null", f'{{"task": 3, {tried}}}', f"{{{task}}}", f"{{{tried}}}",
             f'{{{task}, "did_not_fit": "8"}}', f'{{{task}, "did_not_fit": -8}}']  # fmt: skip
    folder = tmp_path / "reports" / "small" / "batch_sizes"
    (folder / "plain").mkdir(parents=True)
    files = [
        path / f"{number}.json"
        for path in (folder, folder / "plain")
        for number, _ in enumerate(texts)
    ]
    for path, text in zip(files, texts * 2, strict=True):
        path.write_text(text)
    write_study(tmp_path, TINY, model={"id": "bench-small"})
    words = command("status", "small.yaml")
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.stderr.splitlines() == [
        f"{path.relative_to(tmp_path)}: damaged, ignored; a batch that does not fit is noted again "
        "(remove the file)"
        for path in files
    ]
    assert said.returncode == 1
    assert params.Study.load(tmp_path / "small.yaml").tasks == study_of(folder.parent)[0].tasks


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
    assert batch_sizes.halve_batch_size(tmp_path, "r", "plain", "bench_knowledge", 16) == 8
    assert batch_sizes.apply_smaller(study, tmp_path) == study


def run_short_of_memory(tmp_path, *, in_the_repeated_run, **changes):
    """A study run to its end; what it said of memory, and every run's tasks and batch sizes."""
    folder = tmp_path / "on-path"
    folder.mkdir()
    text = SITECUSTOMIZE.replace("WHERE_REPEATED", str(in_the_repeated_run))
    (folder / "sitecustomize.py").write_text(text)
    write_study(tmp_path, TINY, model={"id": "bench-small"}, **changes)
    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command("run", "small.yaml"),
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    root = tmp_path / "reports" / "small"
    verified = subprocess.run(command("verify", root), capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    sizes = {}
    for path in root.glob("records/*/*/3_evaluation.json"):
        tasks = json.loads(path.read_text())["results"]["tasks"]
        sizes[path.parent.parent.name] = {n: about["largest_batch"] for n, about in tasks.items()}
    return [line for line in done.stdout.splitlines() if "out of memory" in line], sizes


@pytest.mark.slow
def test_a_study_goes_on_by_itself_in_smaller_batches_at_every_width(tmp_path):
    said, sizes = run_short_of_memory(
        tmp_path,
        in_the_repeated_run=False,
        batch_size=8,
        aa_batch_size=2,
        tasks=[KNOWLEDGE, INSTRUCTIONS],
    )
    assert said == [
        "bench_knowledge: out of memory; every width now takes batches of at most 4",
        "bench_instructions: out of memory; every width now takes batches of at most 4",
    ]
    both = ("bench_knowledge", "bench_instructions")
    assert sizes == {
        "dense": dict.fromkeys(both, 4),
        "ppm": dict.fromkeys(both, 4),
        "dense-aa": dict.fromkeys(both, 2),
    }
    page = tmp_path / "reports" / "small" / "5_analysis.html"
    assert "In smaller batches than the other tasks" in page.read_text()


@pytest.mark.slow
def test_a_repeated_run_without_memory_leaves_the_studys_batches_as_they_were(tmp_path):
    said, sizes = run_short_of_memory(
        tmp_path, in_the_repeated_run=True, batch_size=6, aa_batch_size=8
    )
    assert sizes == {
        "dense": {"bench_knowledge": 6},
        "ppm": {"bench_knowledge": 6},
        "dense-aa": {"bench_knowledge": 4},
    }
    assert said == [
        "bench_knowledge: out of memory; the repeated dense run now takes batches of at most 4"
    ]
