"""Real Snakemake, real papermill, real lm-eval, on the smaller bench model."""

import json
import re
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from click.testing import CliRunner
from small_study import ppm, write_study

from ppmlib import cli
from ppmlib.record import records
from ppmlib.study_file.params import Study
from ppmlib.workflow import plan

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which the small study has been run to its end."""
    folder = tmp_path_factory.mktemp("study")
    done = ppm("run", write_study(folder), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_study_ends_with_every_record_page_and_a_clean_manifest(finished):
    root = finished / "reports" / "small"
    jobs = json.loads((root / "study.json").read_text())["jobs"]
    for key in jobs:
        records.read(root, key)
        assert (root / f"{key}.html").stat().st_size > 1000
        assert (root / f"{key}.ipynb").exists()
        if key.endswith(("2_pruning", "3_evaluation")):
            figures = [*(root / "figures" / Path(key).parent).glob("*.png")]
            assert figures, f"{key}: the figure that its page shows is not stored"
    assert len([key for key in jobs if key.endswith("3_evaluation")]) == 3
    assert (root / "index.html").exists()
    verified = ppm("verify", "reports/small", cwd=finished)
    assert verified.returncode == 0, verified.stdout
    status = ppm("status", "small.yaml", cwd=finished)
    assert status.returncode == 0, status.stdout


def test_no_file_of_a_report_tells_where_it_was_made(finished):
    root = finished / "reports" / "small"
    files = [
        path
        for path in root.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(root).parts)
    ]
    assert root / "logs/1_scoring.log" in files and root / "index.html" in files
    places = [f"{place}/".encode() for place in (finished, REPOSITORY, sys.prefix)]
    assert not [path for path in files if any(place in path.read_bytes() for place in places)]
    assert "Input Notebook:" in (root / "logs/1_scoring.log").read_text()


def test_a_second_run_finds_nothing_to_do(finished):
    root = finished / "reports" / "small"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.json")}
    again = ppm("run", "small.yaml", cwd=finished)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    unchanged = {path: path.stat().st_mtime_ns for path in root.rglob("*.json")}
    del before[root / ".plan.json"], unchanged[root / ".plan.json"]
    assert {p: t for p, t in unchanged.items() if ".snakemake" not in p.parts} == {
        p: t for p, t in before.items() if ".snakemake" not in p.parts
    }


def test_an_exported_checkpoint_of_a_study_carries_its_numbers(finished, tmp_path):
    out = tmp_path / "checkpoint"
    done = ppm("export", "small.yaml", "--ratio", "0.5", "--out", out, cwd=finished)
    assert done.returncode == 0, done.stderr
    config = json.loads((out / "config.json").read_text())
    record = records.read(finished / "reports" / "small", "ppm/r0.50/2_pruning")
    assert config["intermediate_size"] == record["results"]["intermediate_size"]
    card = (out / "README.md").read_text()
    assert record["results"]["keep_sha256"] in card and "bench_knowledge" in card


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_of_a_notebook_is_explained_to_papermill(path):
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    declared = re.findall(r"^(\w+): ", cell.source, flags=re.M)
    listed = papermill.inspect_notebook(str(path))
    assert list(listed) == declared
    for name, entry in listed.items():
        assert entry["help"], f"{name} has no help comment"
        assert entry["inferred_type_name"] != "None", f"{name} has no type"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_in_git_are_clean_and_short_of_code(path):
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            # Parameters are a list, one to a line, not code.
            if "parameters" not in cell.metadata.get("tags", []):
                assert len(cell.source.splitlines()) <= 20, cell.id


# Not part of a plan where they are left at their defaults: earlier records stay finished.
LEFT_OUT = {"3_evaluation": {"system_instruction"}, "5_analysis": {"tradeoff_margin_points"}}


def test_a_plan_gives_each_notebook_exactly_the_parameters_it_declares(tmp_path):
    study = Study.load(REPOSITORY / "params" / "bench-full.yaml")
    jobs = plan.build(study, REPOSITORY / "params" / "bench-full.yaml", tmp_path)["jobs"]
    assert {job["stage"] for job in jobs.values()} == {
        "1_scoring",
        "2_pruning",
        "3_evaluation",
        "4_profiling",
        "5_analysis",
    }
    for key, job in jobs.items():
        declared = papermill.inspect_notebook(
            str(REPOSITORY / "notebooks" / f"{job.get('notebook', job['stage'])}.ipynb")
        )
        assert set(job["parameters"]) | LEFT_OUT.get(job["stage"], set()) == set(declared), key


def test_only_a_margin_of_the_trade_off_that_is_not_the_default_is_in_a_plan(tmp_path):
    plain, same, other = (
        plan.build(Study.load(path), path, tmp_path)
        for margin in (None, 3, 5.5)
        for path in [write_study(tmp_path, tradeoff_margin_points=margin)]
    )
    assert plain["jobs"] == same["jobs"] and plain["study"] == same["study"]
    changed = [key for key in plain["jobs"] if plain["jobs"][key] != other["jobs"][key]]
    assert changed == ["5_analysis"]
    assert other["jobs"]["5_analysis"]["parameters"]["tradeoff_margin_points"] == 5.5
    assert other["study"]["tradeoff_margin_points"] == 5.5


def test_a_wrong_option_for_snakemake_is_a_line_and_leaves_no_report(tmp_path):
    study = write_study(tmp_path)
    wrong = ppm("run", study, "--bad-option", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "ppm: Snakemake does not take --bad-option (unrecognized arguments: --bad-option)\n"
    )
    value = ppm("run", study, "--cores", "two", cwd=tmp_path)
    assert value.returncode == 2 and "must be integer or 'all'" in value.stderr
    assert not list(tmp_path.glob("reports/*"))


def test_a_cluster_without_snakemakes_plugin_for_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    done = CliRunner().invoke(cli.main, ["run", str(write_study(tmp_path)), "--profile", "slurm"])
    assert done.exit_code == 2
    needs = "--profile slurm needs Snakemake's plugin: pip install 'ppmlib[slurm]'"
    assert done.stderr == f"ppm: {needs}\n"


def test_a_cluster_without_a_count_of_cores_takes_the_study_with_its_profiling(tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    done = ppm("run", write_study(tmp_path), "--profile", "slurm", "-n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4_profiling" in done.stdout + done.stderr
