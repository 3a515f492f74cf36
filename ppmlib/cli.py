"""The `ppm` command: run a study, look at where it stands, verify its record, export a model."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import click

from ppmlib.data import data_root
from ppmlib.evaluation import batch_sizes
from ppmlib.record import records
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.workflow import launch, unfinished
from ppmlib.workflow.processes import folder_trouble

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_BUSY, EXIT_INTERRUPTED = 1, 2, 3, 4


class Refused(click.ClickException):
    """One clear line per mistake, and an exit status."""

    def __init__(self, message: str, exit_code: int = EXIT_BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file=None) -> None:
        """Print the message as it is."""
        click.echo(f"ppm: {self.format_message()}", err=True)


@contextmanager
def _refused_if(*errors: type[Exception]) -> Iterator[None]:
    """Turn expected errors into one line and exit status 2."""
    try:
        yield
    except errors as error:
        raise Refused(str(error)) from None


class Commands(click.Group):
    """Commands that turn the errors which any of them may meet into one line and an exit status."""

    def invoke(self, context: click.Context):
        """Run the command."""
        try:
            with _refused_if(ParamsError, records.RecordError, data_root.DataRootError):
                return super().invoke(context)
        except launch.StudyBusy as error:
            raise Refused(str(error), EXIT_BUSY) from None
        except launch.Interrupted as error:
            message = f"{error}; run the same command to continue"
            raise Refused(message, EXIT_INTERRUPTED) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ppmlib")
def main() -> None:
    """Width-pruning studies of GLU-MLP language models, as notebooks.

    Exit status: 0 done, 1 something failed or differs, 2 bad input, 3 the study is being run,
    4 stopped by a signal (run the same command to continue).
    """


PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
STUDY_FILE = click.argument("study_file", type=PATH)
REPORTS = click.option(
    "--reports",
    type=FOLDER,
    default=Path("reports"),
    show_default=True,
    help="Folder that holds one folder per study.",
)


def _data_root(text: str, **more):
    return click.option("--data-root", "data_folder", type=FOLDER, help=text, **more)


DATA_ROOT = _data_root(
    "Folder that `ppm prefetch` filled; models and data sets are read only from it.",
    envvar=data_root.VARIABLE,
)


@main.command(context_settings={"ignore_unknown_options": True})
@STUDY_FILE
@click.argument("snakemake_options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--profile",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="Where the notebooks run.",
)
@DATA_ROOT
@REPORTS
@launch.interruptible()
def run(
    study_file: Path,
    snakemake_options: tuple[str, ...],
    profile: str,
    data_folder: Path | None,
    reports: Path,
) -> None:
    """Run a study or continue it: finished records are not computed again.

    Every further option goes to Snakemake, for example -n (dry run), --cores 4, --forcerun.
    """
    from ppmlib.workflow import options

    if profile == "slurm" and find_spec("snakemake_executor_plugin_slurm") is None:
        raise Refused("--profile slurm needs Snakemake's plugin: pip install 'ppmlib[slurm]'")
    try:
        asked = options.read(snakemake_options)
    except options.WrongOptions as error:
        given = " ".join(snakemake_options) or options.PROFILE
        raise Refused(f"Snakemake does not take {given} ({error})") from None
    if asked.query or asked.upkeep:
        _query_snakemake(asked, study_file, snakemake_options, profile, data_folder, reports)
        return
    from ppmlib.workflow import preflight

    root = reports / Study.load(study_file).study
    preflight.check_writable(root)
    with launch.only_run(root):
        begun: set[str] = set()
        while True:
            study, plan = _prepare(study_file, reports, running=True, data_folder=data_folder)
            to_run = _to_run(root, plan, asked)
            if not begun:
                unfinished.refuse_other(root, plan)
                _print_estimate(study, study_file, plan, root, to_run)
            begun |= set(to_run)
            if profile == "local":  # a cluster's jobs outlive their controller
                records.clear_temporaries(root)
            launch.prepare_folder(root, plan, to_run, data_folder)
            if missing := unfinished.list_missing_pages(root, plan, to_run):
                launch.run_job(root, "--page", *missing)
            status = launch.snakemake(root, profile, snakemake_options, plan, to_run=to_run)
            left = unfinished.find_jobs_to_run(root, plan)
            for line in (lowered := batch_sizes.describe_lowered(plan, root)):
                click.echo(line)
            # A new record may differ from the one that others were made from.
            if not lowered and (status or set(left) <= begun):
                break
        if status == 0 and not unfinished.list_missing_pages(root, plan, left):
            click.echo(f"report: {root / 'index.html'}")
            return
        _partial_report(root, profile, plan)
        raise SystemExit(EXIT_FAILED)


def _query_snakemake(
    asked,
    study_file: Path,
    snakemake_options: tuple[str, ...],
    profile: str,
    data_folder: Path | None,
    reports: Path,
) -> None:
    """Have Snakemake answer a question or do its own upkeep; no record of the study is touched."""
    study, plan = _prepare(
        study_file, reports, read_only=True, running=True, data_folder=data_folder
    )
    root = reports / study.study
    to_run = _to_run(root, plan, asked)
    if asked.upkeep and not root.is_dir():
        raise Refused(f"{root}: this study has not been run yet")
    if asked.dry_run:
        _print_estimate(study, study_file, plan, root, to_run)
        for key in unfinished.list_missing_pages(root, plan, to_run):
            click.echo(f"would render the page of {key}", err=True)
    lock = launch.only_run(root) if asked.upkeep else nullcontext()
    with lock, launch.linked_copy(root, to_run) as scratch:
        folder, file = root if asked.upkeep else scratch, scratch / launch.ENGINE_PLAN
        status = launch.snakemake(
            folder, profile, snakemake_options, plan, to_run=to_run, plan_file=file
        )
    if status:
        raise SystemExit(EXIT_FAILED)
    if asked.dry_run:
        click.echo(f"dry run of {root}")


def _to_run(root: Path, plan, asked) -> dict[str, str]:
    from ppmlib.workflow import options

    forced = options.keys_of(asked.forced, plan["jobs"])
    return unfinished.find_jobs_to_run(root, plan, forced, everything=asked.everything)


def _print_estimate(study: Study, study_file: Path, plan, root: Path, to_run) -> None:
    from ppmlib.workflow import estimate

    for key, reason in to_run.items():
        if reason.startswith(unfinished.UNUSABLE):
            click.echo(f"{key} is run again: {reason}", err=True)
    for line in estimate.describe_run(study, study_file, plan, root, to_run):
        click.echo(line, err=True)


@main.command()
@STUDY_FILE
@_data_root("Folder to fill; what is in it already is kept.", required=True)
@click.option(
    "--nltk-data",
    "nltk_source",
    help="Folder with nltk's data, or the address of an index of it; otherwise nltk's own.",
)
def prefetch(study_file: Path, data_folder: Path, nltk_source: str | None) -> None:
    """Fetch all that a study needs, where there is a network, into one folder.

    The same command resumes an interrupted download.
    """
    study = Study.load(study_file)
    from ppmlib.offline import prefetch as fetching

    try:
        fetching.prefetch(study, data_folder, nltk_source=nltk_source, tell=click.echo)
    except (*fetching.REFUSALS, OSError) as error:
        raise Refused(str(error), EXIT_FAILED) from None
    click.echo(f"complete; next: ppm check {study_file} --data-root {data_folder}")


@main.command()
@STUDY_FILE
@DATA_ROOT
def check(study_file: Path, data_folder: Path | None) -> None:
    """Prove, with the network off, that the model, its tokenizer and every task load.

    Exit status 1 if anything is missing or wrong.
    """
    study = Study.load(study_file)
    _set_data_root(data_folder)
    os.environ.update(data_root.OFFLINE)
    from ppmlib.offline import check as checking

    checked = checking.check(study, study_file, lambda line: click.echo(line, err=True))
    for line in (*checked.notes, *checking.format_table(checked.rows), *checked.problems):
        click.echo(line)
    if checked.problems:
        raise Refused(f"{study_file}: {len(checked.problems)} missing or wrong", EXIT_FAILED)
    click.echo(f"{study_file}: model, tokenizer and {len(checked.rows)} tasks load")


@main.command()
@STUDY_FILE
@REPORTS
def status(study_file: Path, reports: Path) -> None:
    """Show which notebooks are not done: failed, stopped or missing. Exit status 1 if any."""
    study, plan = _prepare(study_file, reports, read_only=True)
    root = reports / study.study
    to_run = unfinished.find_jobs_to_run(root, plan)
    unrendered = unfinished.list_missing_pages(root, plan, to_run)
    counts = {"done": 0, "failed": 0, "stopped": 0, "missing": 0}
    for key in plan["jobs"]:
        state, detail = _state(root, key, to_run.get(key))
        counts[state] += 1
        if state != "done":
            click.echo(f"{state:8} {key}{detail}")
    for key in unrendered:
        click.echo(f"no page  {key}: the next run renders it")
    click.echo(
        ", ".join(f"{n} {state}" for state, n in counts.items()) + f" of {len(plan['jobs'])}"
    )
    if to_run or unrendered:
        click.echo(f"continue with: ppm run {study_file}")
        raise SystemExit(EXIT_FAILED)


@main.command()
@click.argument("folder", type=PATH)
def verify(folder: Path) -> None:
    """Recompute every hash of a study's record and name what differs."""
    problems = records.verify(folder)
    for line in problems:
        click.echo(line)
    if problems:
        click.echo(f"{folder}: {len(problems)} differences")
        raise SystemExit(EXIT_FAILED)
    click.echo(f"{folder}: all {len(records.read_manifest(folder))} files are as they were written")


@main.command()
@STUDY_FILE
@click.option("--ratio", "pruning_ratio", type=float, help="Pruning ratio of the wanted width.")
@click.option("--expansion", "expansion_ratio", type=float, help="Or its expansion ratio.")
@click.option("--out", type=PATH, required=True, help="New folder.")
@REPORTS
def export(
    study_file: Path,
    pruning_ratio: float | None,
    expansion_ratio: float | None,
    out: Path,
    reports: Path,
) -> None:
    """Write one width of a study as an ordinary checkpoint (safetensors, config, model card)."""
    from ppmlib.prune import export as exporting
    from ppmlib.study_file.selection import Selection

    study, plan = _prepare(study_file, reports)
    root = reports / study.study
    with _refused_if(ValueError, OSError):
        key = Selection(study.criterion, 0, pruning_ratio, expansion_ratio).key
        if f"{key}/2_pruning" not in plan["jobs"]:
            raise Refused(f"{study_file}: no run {key} in this study")
        settings = plan["jobs"][f"{key}/2_pruning"]["parameters"]
        folder = exporting.export_run(root, key, settings, out)
    click.echo(f"checkpoint: {folder}")


@main.command()
@click.argument("path", type=PATH)
def rerun(path: Path) -> None:
    """Run an executed notebook, or a whole report folder, again and compare the numbers."""
    from ppmlib.workflow import rerun as again

    root, key = again.find_study(path)
    lines = again.rerun_study(root) if key is None else again.rerun_notebook(root, key)
    for line in lines:
        click.echo(line)
    what = f"{root.name}/{key}" if key else root.name
    click.echo(f"{what}: {len(lines)} differences" if lines else f"{what}: equal")
    if lines:
        raise SystemExit(EXIT_FAILED)


@main.command()
@REPORTS
def published(reports: Path) -> None:
    """Judge the paper's published numbers (notebook 6): no model, no network, half a minute."""
    _run_alone(reports / "published", "6_published")


@main.command()
@click.option("--draws", default=10000, show_default=True, help="Simulated studies per row.")
@click.option(
    "--graded-draws", default=400, show_default=True, help="The same for graded scores (slow)."
)
@REPORTS
def simulations(draws: int, graded_draws: int, reports: Path) -> None:
    """Simulate coverage, false positives and power of the statistics (notebook 8); minutes."""
    if min(draws, graded_draws) < 1:
        raise Refused("--draws and --graded-draws must be at least 1")
    root = reports / "simulations"
    _run_alone(root, "8_simulations", draws=draws, graded_draws=graded_draws)


@main.command()
@click.argument("folders", nargs=-1, required=True, type=PATH)
@click.option("--name", help="Name of the report; default compare-A-B.")
@REPORTS
def compare(folders: tuple[Path, ...], name: str | None, reports: Path) -> None:
    """Compare finished studies (notebook 7): each model a replicate, nothing pooled."""
    from ppmlib.analyse import across

    if len(folders) < 2:
        raise Refused("compare needs the folders of two finished studies or more")
    models = across.load(folders)
    found = [model.analysis["results"] for model in models]
    root = reports / (name or "-".join(["compare", *(model.study for model in models)]))
    relative = [os.path.relpath(folder, root.resolve()) for folder in folders]
    marks = {mark: any(each[mark] for each in found) for mark in ("synthetic", "draft")}
    _run_alone(root, "7_models", studies=relative, **marks)


def _run_alone(root: Path, key: str, **options) -> None:
    """Run a notebook that belongs to no study and say where its page is."""
    with _refused_if(OSError), launch.only_run(root):
        status = launch.run_notebook_alone(root, key, **options)
    if status:
        raise Refused(f"{key} failed: see {root / 'logs' / key}.log", EXIT_FAILED)
    click.echo(f"report: {root / key}.html")


def _prepare(
    study_file: Path,
    reports: Path,
    *,
    read_only: bool = False,
    running: bool = False,
    data_folder: Path | None = None,
):
    """The study and its plan, after everything is checked that needs no kernel.

    Args:
        read_only: fetch no model and write nothing. Otherwise the study's folder has a link to a
            local model afterwards.
        running: `ppm run` itself: it holds the study's lock already, so that no other command can
            give a running study another model, and takes `data_folder` as its data root. Other
            commands take the data root of the study's last run.
    """
    study = Study.load(study_file)
    root = reports / study.study
    for line in batch_sizes.list_damaged(root):
        click.echo(line, err=True)
    _set_data_root(data_folder if running else data_root.read_link(root))
    from ppmlib.model import models
    from ppmlib.workflow import plan

    try:
        planned = plan.build(study, study_file, root, fetch=not read_only)
    except models.ModelError as error:
        raise Refused(f"{study_file}: model: {error}") from None
    unchecked, located = planned.pop("unchecked"), planned.pop("located")
    if study.model.is_folder and not read_only and not plan.is_linked(root, located):
        with nullcontext() if running else launch.only_run(root):
            plan.link_model(root, located)
    if unchecked:
        click.echo(f"model not checked: {unchecked}; a run fetches it first", err=True)
    return study, planned


def _set_data_root(folder: Path | None) -> None:
    """Give this process a data root, or none, before the hub's libraries are loaded."""
    os.environ.pop(data_root.VARIABLE, None)
    if folder is not None:
        opened = data_root.open_data_root(folder.resolve())
        os.environ.update(data_root.environment(opened.folder))


def _partial_report(root: Path, profile: str, plan) -> None:
    """After a failure: the analysis and the study's page from the records there are, if any."""
    if trouble := folder_trouble(root):
        raise Refused(f"{root}: {trouble}", EXIT_FAILED)
    if not any(root.glob("records/**/*.json")) and not any(root.glob("logs/**/*.failed.json")):
        return  # Snakemake ran nothing and printed the reason
    to_run, analysis = unfinished.find_jobs_to_run(root, plan), unfinished.ANALYSIS
    if analysis in to_run and not records.failure_path(root, analysis).exists():
        partial = ("--config", "partial=1", "--", f"records/{analysis}.json")
        launch.snakemake(root, profile, partial, plan, to_run=to_run)
    command = [sys.executable, "-m", "ppmlib.workflow.make_index"]
    if subprocess.run(command, cwd=root, check=False).returncode == 0:
        click.echo(f"incomplete report: {root / 'index.html'}", err=True)


def _state(root: Path, key: str, to_run: str | None) -> tuple[str, str]:
    if to_run is None:
        return "done", ""
    if note := records.read_failure(root, key):
        return "stopped" if note["interrupted"] else "failed", f": {note['error']}"
    return "missing", "" if to_run == unfinished.MISSING else f": {to_run}"


if __name__ == "__main__":
    main()
