"""What lies between the parts of a study: links, locks, notes, shared folders and their names."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_study import environment, ppm

from ppmlib import cli
from ppmlib.record import records
from ppmlib.workflow import launch, options, unfinished


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished study of a local model, hidden files included."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    link = tmp_path / "copy/reports/small/.models/my-model"
    link.unlink()
    link.symlink_to(tmp_path / "copy/my-model")
    return tmp_path / "copy"


def run_notebook(root: Path, key: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ppmlib.workflow.run_notebook", key]
    return subprocess.run(command, cwd=root, check=False, env=environment())


# --- a model that is replaced while its study runs


@pytest.mark.parametrize("command", [["run"], ["export", "--ratio", "0.5", "--out", "narrow"]])
def test_a_command_that_is_refused_gives_a_running_study_no_other_model(copied, command):
    root = copied / "reports/small"
    (copied / "other").mkdir()
    shutil.copytree(copied / "my-model", copied / "other/my-model")
    shutil.copy(copied / "small.yaml", copied / "other/small.yaml")
    verb, *options = command
    with launch.only_run(root):
        done = ppm(verb, "other/small.yaml", *options, cwd=copied)
    assert done.returncode == 3 and "another ppm run is working" in done.stderr
    assert (root / ".models/my-model").resolve() == copied / "my-model"


def test_a_record_made_from_another_model_than_the_planned_one_does_not_count(copied):
    root = copied / "reports/small"
    plan = json.loads((root / "study.json").read_text())
    plan["jobs"]["1_scoring"]["static"]["weights_sha256"] = "0" * 64
    (root / "study.json").write_text(json.dumps(plan))
    assert run_notebook(root, "1_scoring").returncode == 1
    assert not records.record_path(root, "1_scoring").exists()
    note = records.read_json(records.failure_path(root, "1_scoring"))
    assert "(weights_sha256): the model or score file was replaced meanwhile" in note["error"]


# --- links on the way


@pytest.mark.parametrize("where", ["study", "scratch"])
def test_a_study_or_a_scratch_folder_behind_a_link_is_run_all_the_same(
    copied, tmp_path, where, monkeypatch
):
    far = tmp_path / "another/disk/with/folders"
    far.mkdir(parents=True)
    asked = []
    if where == "study":
        shutil.move(copied / "reports/small", far / "small")
        (copied / "reports/small").symlink_to(far / "small")
    else:
        (tmp_path / "scratch").symlink_to(far)
        monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
        asked = ["-n"]
    done = ppm("run", "small.yaml", *asked, cwd=copied)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr


def test_a_score_file_is_found_from_a_study_behind_a_link(copied, tmp_path):
    from ppmlib.workflow import plan

    far = tmp_path / "another/disk/with/folders"
    far.mkdir(parents=True)
    (copied / "link").symlink_to(far)
    (copied / "mine.py").write_text("")
    name = plan.relative_criterion("mine.py:f", copied, copied / "link").rpartition(":")[0]
    assert (far / name).resolve() == copied / "mine.py"


def test_samples_moved_to_another_disk_are_part_of_the_record_still(copied, tmp_path):
    root = copied / "reports/small"
    shutil.move(root / "samples", tmp_path / "moved")
    (root / "samples").symlink_to(tmp_path / "moved")
    assert records.verify(root) == []


# --- damaged notes: a line, never a traceback


SHAPES = ["", "{", "{}", "[]", "null", "3", '"x"', '{"jobs": 3}', '{"jobs": {"1_scoring": 1}}',
          '{"jobs": {"1_scoring": {"static": 1}}}', '{"files": null}', '{"files": ["index.html"]}',
          "[" * 100_000]  # fmt: skip


def invoke(*arguments: str):
    done = CliRunner().invoke(cli.main, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize("name", ["study.json", "manifest.json"])
def test_a_damaged_plan_or_manifest_is_told_in_a_line(copied, monkeypatch, name):
    monkeypatch.chdir(copied)
    for shape in SHAPES:
        Path("reports/small", name).write_text(shape)
        told = invoke("verify", "reports/small").output
        assert told.startswith("ppm: reports/small/") and "damaged" in told
        told = invoke("status", "small.yaml").output
        assert "6 done" in told or "7 done" in told


def test_a_damaged_note_of_a_failure_is_a_failure(copied, monkeypatch):
    monkeypatch.chdir(copied)
    root = Path("reports/small")
    records.record_path(root, "1_scoring").unlink()
    for shape in SHAPES:
        records.failure_path(root, "1_scoring").parent.mkdir(parents=True, exist_ok=True)
        records.failure_path(root, "1_scoring").write_text(shape)
        assert (
            "failed   1_scoring: logs/1_scoring.failed.json: damaged"
            in invoke("status", "small.yaml").output
        )


def test_a_record_under_the_name_of_another_is_none(copied):
    root = copied / "reports/small"
    dense, pruned = (records.record_path(root, f"{run}/2_pruning")
                     for run in ("dense/r0.00", "ppm/r0.50"))  # fmt: skip
    shutil.copy(dense, pruned)
    with pytest.raises(records.RecordError, match="is the record of dense/r0.00/2_pruning"):
        records.read(root, "ppm/r0.50/2_pruning")


def test_a_lost_notebook_has_a_remedy_that_works(copied):
    root = copied / "reports/small"
    for ending in ("html", "ipynb"):
        (root / f"1_scoring.{ending}").unlink()
    done = ppm("run", "small.yaml", cwd=copied)
    assert done.returncode == 1
    assert "run it again with --forcerun 1_scoring.html" in done.stderr
    done = ppm("run", "small.yaml", "--forcerun", "1_scoring.html", cwd=copied)
    assert done.returncode == 0, done.stderr


# --- what outlives its record; reports that would share a folder


def test_tables_and_figures_go_with_the_record_that_names_them(tmp_path):
    for name in ("tables/old.csv", "figures/old.png", "samples/kept.parquet", "mine.csv"):
        records.write_text(tmp_path / name, "1")
    files = [tmp_path / n for n in ("tables/old.csv", "figures/old.png", "samples/kept.parquet")]
    records.write(tmp_path, "5_analysis", inputs={}, results={}, files=files)
    unfinished.delete_stale_records(tmp_path, {"5_analysis": "changed: claims"})
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"samples/kept.parquet", "mine.csv"}


def test_a_comparison_is_not_written_over_a_study_nor_a_study_over_a_comparison(copied):
    root = copied / "reports/small"
    before = (root / "study.json").read_bytes()
    with pytest.raises(records.RecordError, match="holds another report already"):
        launch.run_notebook_alone(root, "7_models", studies=[])
    assert (root / "study.json").read_bytes() == before
    (root / "study.json").write_text('{"jobs": {"7_models": {"stage": "7_models"}}}')
    done = ppm("run", "small.yaml", cwd=copied)
    assert done.returncode == 2 and "holds the report of 7_models already" in done.stderr


# --- what Snakemake is asked for by a profile, or elsewhere


def test_a_profile_that_asks_for_a_dry_run_is_a_dry_run(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("dry-run: true\n")
    assert options.read(["--workflow-profile", str(tmp_path)]).dry_run
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path))
    assert options.read([]).dry_run and options.read(["--cores", "1"]).query


@pytest.mark.parametrize("line", ["--directory x", "-d x -n", "-s mine.smk"])
def test_a_study_is_run_in_its_folder_by_its_own_rules(line):
    with pytest.raises(options.WrongOptions, match="is set by ppm"):
        options.read(line.split())
