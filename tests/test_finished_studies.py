"""Records decide what is to run, not file times, and whoever only asks writes nothing."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from small_study import TINY, ppm, write_study

from ppmlib.record import evaluation_records, records
from ppmlib.workflow import options

REPOSITORY = Path(__file__).parents[1]
STUDY = {**TINY, "model": {"id": "bench-small"}, "profiling": {"prompt_tokens": 8, "new_tokens": 4,
         "batch_sizes": [1], "warmup": 1, "repeats": 2}}  # fmt: skip
JOBS = 7


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    done = ppm("run", write_study(folder, STUDY), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def finished(made, tmp_path) -> Path:
    """A copy of a finished study, as a clone has it: without hidden files, with new file times."""
    ignored = shutil.ignore_patterns(".*", "logs")
    shutil.copytree(made, tmp_path / "clone", ignore=ignored, copy_function=shutil.copyfile)
    return tmp_path / "clone"


def content(root: Path, hidden: bool = True) -> dict[str, str]:
    """Every file and link below a folder with its hash."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not hidden and any(part.startswith(".") or part == "logs" for part in Path(name).parts):
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def listed(done) -> list[str]:
    """The jobs that a dry run names."""
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("would run ")]
    return [words[2] for words in lines]


@pytest.mark.parametrize(
    "asked", ["-np", "-nq", "--dry-run -p", "--summary", "--dag", "--list-rules", "-nF"]
)
def test_asking_what_a_changed_study_would_do_writes_nothing(finished, asked):
    write_study(finished, STUDY, batch_size=8, claims=[], aa_batch_size=4)
    before = content(finished)
    done = ppm("run", "small.yaml", *asked.split(), cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(finished) == before
    assert "report:" not in done.stdout


def test_a_dry_run_of_a_new_study_writes_nothing(tmp_path):
    write_study(tmp_path, STUDY)
    done = ppm("run", "small.yaml", "-np", cwd=tmp_path)
    assert len(listed(done)) == JOBS + 1  # and the page of the study
    assert content(tmp_path) == content(tmp_path, hidden=False) != {}
    assert list(content(tmp_path)) == ["small.yaml"]


def test_snakemakes_upkeep_touches_no_record(finished):
    write_study(finished, STUDY, batch_size=8)
    (finished / "reports/small/.snakemake/locks").mkdir(parents=True)
    (finished / "reports/small/.snakemake/locks/0.input.lock").write_text("")
    before = content(finished, hidden=False)
    done = ppm("run", "small.yaml", "--unlock", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((finished / "reports/small/.snakemake").glob("locks/*"))
    cleaned = ppm("run", "small.yaml", "--cleanup-metadata", "index.html", cwd=finished)
    assert "report:" not in cleaned.stdout + done.stdout
    assert content(finished, hidden=False) == before


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("-np", "query"),
        ("--dryrun --cores 2", "query"),
        ("--detailed-summary", "query"),
        ("--list-changes params", "query"),
        ("--list-input-changes", "query"),
        ("--list-untracked", "query"),
        ("--rulegraph", "query"),
        ("--filegraph", "query"),
        ("--d3dag", "query"),
        ("--lint", "query"),
        ("--list-target-rules", "query"),
        ("--delete-all-output -n", "query"),
        ("--delete-all-output", "upkeep"),
        ("--unlock", "upkeep"),
        ("--touch", "upkeep"),
        ("--cleanup-metadata records/1_scoring.json", "upkeep"),
        ("--cleanup-shadow", "upkeep"),
        ("--report report.zip", "upkeep"),
        ("--archive study.tar.gz", "upkeep"),
        ("--cores 4", None),
        ("--keep-going --forcerun stage1_scoring", None),
        ("--config partial=1 -- records/5_analysis.json", None),
        ("-F", None),
    ],
)
def test_snakemakes_own_parser_says_what_its_options_ask_for(line, asked):
    found = options.read(line.split())
    assert [name for name in ("query", "upkeep") if getattr(found, name)] == [asked] * bool(asked)


def test_a_clone_of_a_finished_study_has_nothing_to_do(finished):
    before = content(finished, hidden=False)
    for number, path in enumerate(sorted(finished.rglob("*"), reverse=True)):
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    assert listed(ppm("run", "small.yaml", "-n", cwd=finished)) == []
    done = ppm("run", "small.yaml", cwd=finished)
    assert done.returncode == 0 and "nothing to do" in done.stderr
    assert content(finished, hidden=False) == before


def test_the_committed_example_is_finished_whatever_its_file_times(tmp_path):
    shutil.copytree(REPOSITORY / "params", tmp_path / "params")
    shutil.copytree(
        REPOSITORY / "reports/example-bench",
        tmp_path / "reports/example-bench",
        copy_function=shutil.copyfile,
    )
    for path in (tmp_path / "reports").rglob("*.ipynb"):
        os.utime(path)
    assert listed(ppm("run", "params/bench-full.yaml", "-n", cwd=tmp_path)) == []


def test_a_damaged_record_is_made_again_and_nothing_else_is_measured_again(finished):
    root = finished / "reports/small"
    profiling = (root / "records/ppm/4_profiling.json").read_bytes()
    (root / "records/ppm/r0.50/2_pruning.json").write_text("{")
    (root / "samples/dense/r0.00/bench_knowledge.parquet").write_bytes(b"damaged")
    (root / "samples/dense/r0.00/bench_knowledge.json").write_text("damaged")
    status = ppm("status", "small.yaml", cwd=finished)
    assert status.returncode == 1 and "damaged, not JSON" in status.stdout
    done = ppm("run", "small.yaml", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    again = [line.split()[0] for line in done.stderr.splitlines() if " is run again: " in line]
    assert sorted(again) == ["dense/r0.00/3_evaluation", "ppm/r0.50/2_pruning"]
    assert (root / "records/ppm/4_profiling.json").read_bytes() == profiling
    assert ppm("verify", "reports/small", cwd=finished).returncode == 0


def test_a_damaged_plan_is_written_again_from_the_study_file(finished):
    root = finished / "reports/small"
    before = content(root, hidden=False)
    (root / "study.json").write_text("{")
    done = ppm("run", "small.yaml", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = {name for name in before if name.startswith(("records/", "samples/"))}
    assert {name: content(root)[name] for name in kept} == {name: before[name] for name in kept}
    assert json.loads((root / "study.json").read_text())["study"]["study"] == "small"


def test_a_page_that_is_gone_is_rendered_and_its_notebook_not_run(finished):
    root = finished / "reports/small"
    before = content(root, hidden=False)
    (root / "ppm/4_profiling.html").unlink()
    status = ppm("status", "small.yaml", cwd=finished)
    assert status.returncode == 1 and "no page  ppm/4_profiling" in status.stdout
    done = ppm("run", "small.yaml", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(root, hidden=False) == before


def test_a_page_that_cannot_be_rendered_costs_no_measurement(finished):
    root = finished / "reports/small"
    record = (root / "records/ppm/4_profiling.json").read_bytes()
    notebook = (root / "ppm/4_profiling.ipynb").read_bytes()
    (root / "ppm/4_profiling.html").unlink()
    (root / "ppm/4_profiling.ipynb").write_text('{"cells": 3}')
    for _ in range(2):
        done = ppm("run", "small.yaml", cwd=finished)
        assert done.returncode == 1
        assert "ppm/4_profiling: its page could not be rendered" in done.stderr
        assert (root / "records/ppm/4_profiling.json").read_bytes() == record
    (root / "ppm/4_profiling.ipynb").write_bytes(notebook)
    assert ppm("run", "small.yaml", cwd=finished).returncode == 0
    assert (root / "records/ppm/4_profiling.json").read_bytes() == record
    assert ppm("verify", "reports/small", cwd=finished).returncode == 0


def test_what_is_asked_for_again_takes_along_what_reads_it(finished):
    assert len(listed(ppm("run", "small.yaml", "-n", "-F", cwd=finished))) == JOBS + 1
    scoring = listed(ppm("run", "small.yaml", "-n", "-R", "stage1_scoring", cwd=finished))
    assert "ppm/r0.50/3_evaluation" in scoring and "dense/r0.00/3_evaluation" not in scoring


def test_an_added_width_runs_its_own_jobs_and_what_shows_it(finished):
    content = yaml.safe_load((finished / "small.yaml").read_text())
    (finished / "small.yaml").write_text(yaml.safe_dump({**content, "pruning_ratios": [0.5, 0.2]}))
    assert set(listed(ppm("run", "small.yaml", "-n", cwd=finished))) == {
        "1_scoring",
        "ppm/r0.20/2_pruning",
        "ppm/r0.20/3_evaluation",
        "ppm/4_profiling",
        "5_analysis",
        "index",
    }


def test_a_record_made_from_another_one_than_the_present_is_made_again(finished):
    root = finished / "reports/small"
    record = records.read(root, "ppm/r0.50/2_pruning")
    other = {**record["inputs"], "requested": "another"}
    records.write(root, "ppm/r0.50/2_pruning", inputs=other, results=record["results"],
                  files=[root / name for name in record["files"]])  # fmt: skip
    changed = records.read(root, "ppm/r0.50/2_pruning")
    records.add_to_record(root, "ppm/r0.50/2_pruning", "made_from", record["made_from"])
    assert changed["fingerprint"] != record["fingerprint"]
    assert set(listed(ppm("run", "small.yaml", "-n", cwd=finished))) == {
        "ppm/r0.50/3_evaluation",
        "ppm/4_profiling",
        "5_analysis",
        "index",
    }


def test_a_task_taken_out_and_put_back_with_another_setting_is_evaluated_again(finished):
    root = finished / "reports/small"
    key = "ppm/r0.50/3_evaluation"
    plan = json.loads((root / "study.json").read_text())
    del plan["jobs"][key]  # the study as it was run without this width
    (root / "study.json").write_text(json.dumps(plan))
    write_study(finished, STUDY, batch_size=8)
    assert key in listed(ppm("run", "small.yaml", "-n", cwd=finished))


def test_only_records_of_the_present_plan_are_one_evaluation(tmp_path):
    task = {"first": {"version": 1}}
    for key in ("ppm/r0.50/3_evaluation", "ppm/r0.50/3_evaluation-first"):
        records.write(tmp_path, key, inputs={"tasks": task}, results={"tasks": task, "rows": [],
                      "conclusions": []}, measured={"seconds_per_task": {}, "reused_tasks": [],
                      "wall_s": 1.0})  # fmt: skip
    plan = {"jobs": {"ppm/r0.50/3_evaluation-first": {}}}
    records.write_json(tmp_path / records.PLAN_FILE, plan)
    found = evaluation_records.read_one(tmp_path, "ppm/r0.50")
    assert found["key"] == "ppm/r0.50/3_evaluation-first"
    assert evaluation_records.read_one(tmp_path, "ppm/r0.20") is None
