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

ANALYSIS = "5_analysis"


class Refused(click.ClickException):
    """Bad input: one clear line, exit status 2."""

    exit_code = EXIT_BAD_INPUT

    def show(self, file=None) -> None:
        """Print the message as it is, a line per mistake."""
        click.echo(f"ppm: {self.format_message()}", err=True)


class Failed(Refused):
    """A notebook failed; exit status 1."""

    exit_code = EXIT_FAILED


class Busy(Refused):
    """Another `ppm run` works on this study; exit status 3."""

    exit_code = EXIT_BUSY


class Interrupted(Refused):
    """A signal stopped the run; exit status 4."""

    exit_code = EXIT_INTERRUPTED


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ppmlib")
def main() -> None:
    """Width-pruning studies of GLU-MLP language models, as notebooks.

    Exit status: 0 done, 1 something failed or differs, 2 bad input, 3 the study is being run,
    4 stopped by a signal (the same command goes on).
    """


STUDY_FILE = click.argument("study_file", type=click.Path(path_type=Path))
REPORTS = click.option(
    "--reports",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="Folder that holds one folder per study.",
)


def _data_root(text: str, **more):
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option("--data-root", "data_folder", type=kind, help=text, **more)


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
def run(
    study_file: Path,
    snakemake_options: tuple[str, ...],
    profile: str,
    data_folder: Path | None,
    reports: Path,
) -> None:
    """Run a study, or go on with it: finished records are not computed again.

    Every further option goes to Snakemake, for example -n (dry run), --cores 4, --forcerun.
    """
    if profile == "slurm" and find_spec("snakemake_executor_plugin_slurm") is None:
        raise Refused("--profile slurm needs Snakemake's plugin: pip install 'ppmlib[slurm]'")
    with _refused_if(), launch.interruptible():
        _run(study_file, snakemake_options, profile, data_folder, reports)


def _run(
    study_file: Path,
    snakemake_options: tuple[str, ...],
    profile: str,
    data_folder: Path | None,
    reports: Path,
) -> None:
    from ppmlib.workflow import options

    try:
        asked = options.read(snakemake_options)
    except options.WrongOptions as error:
        given = " ".join(snakemake_options) or options.PROFILE
        raise Refused(f"Snakemake does not take {given} ({error})") from None
    if asked.query or asked.upkeep:
        _ask(asked, study_file, snakemake_options, profile, data_folder, reports)
        return
    root = reports / _load(study_file).study
    _check_writable(root)
    with launch.only_run(root), _refused_if(records.RecordError):
        study, plan = _prepare(study_file, reports, to_run=True, data_folder=data_folder)
        unfinished.refuse_other(root, plan)
        begun: set[str] = set()
        while True:
            if lowered := batch_sizes.describe_lowered(plan, root):
                click.echo("\n".join(lowered))
                study, plan = _prepare(study_file, reports, to_run=True, data_folder=data_folder)
            to_run = _to_run(root, plan, asked)
            if not begun:
                _say_estimate(study, study_file, plan, root, to_run)
            begun |= set(to_run)
            if profile == "local":  # a cluster's jobs outlive their controller
                records.clear_temporaries(root)
            launch.settle(root, plan, to_run, data_folder)
            launch.render_pages(root, unfinished.without_page(root, plan, to_run))
            status = launch.snakemake(root, profile, snakemake_options, plan, to_run=to_run)
            left = unfinished.find(root, plan)
            # A record made again may differ from the one that others were made from.
            ended = status or set(left) <= begun
            if ended and not batch_sizes.describe_lowered(plan, root):
                break
        if status == 0 and not unfinished.without_page(root, plan, left):
            click.echo(f"report: {root / 'index.html'}")
            return
        _partial_report(root, profile, plan)
        raise SystemExit(EXIT_FAILED)


def _ask(
    asked,
    study_file: Path,
    snakemake_options,
    profile: str,
    data_folder: Path | None,
    reports: Path,
) -> None:
    """Have Snakemake answer a question or do its own upkeep; no record of the study is touched."""
    study, plan = _prepare(
        study_file, reports, to_run=True, fetch=False, writes=False, data_folder=data_folder
    )
    root = reports / study.study
    to_run = _to_run(root, plan, asked)
    if asked.query:
        if asked.dry_run:
            _say_estimate(study, study_file, plan, root, to_run)
            for key in unfinished.without_page(root, plan, to_run):
                click.echo(f"would render the page of {key}", err=True)
        with launch.mirror(root, to_run) as scratch:
            status = launch.snakemake(scratch, profile, snakemake_options, plan, to_run=to_run)
    elif not root.is_dir():
        raise Refused(f"{root}: nothing of this study has been run yet")
    else:
        with launch.only_run(root), launch.mirror(root, to_run) as scratch:
            file = scratch / launch.ENGINE_PLAN
            status = launch.snakemake(
                root, profile, snakemake_options, plan, to_run=to_run, plan_file=file
            )
    if status:
        raise SystemExit(EXIT_FAILED)
    if asked.dry_run:
        click.echo(f"dry run of {root}")


def _to_run(root: Path, plan, asked) -> dict[str, str]:
    from ppmlib.workflow import options

    forced = options.keys_of(asked.forced, plan["jobs"])
    return unfinished.find(root, plan, forced, everything=asked.everything)


def _say_estimate(study: Study, study_file: Path, plan, root: Path, to_run) -> None:
    from ppmlib.workflow import estimate

    for key, reason in to_run.items():
        if reason.startswith(unfinished.UNUSABLE):
            click.echo(f"{key} is run again: {reason}", err=True)
    for line in estimate.lines(study, study_file, plan, root, to_run):
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

    An interrupted download goes on with the same command.
    """
    study = _load(study_file)
    from ppmlib.offline import prefetch as fetching

    try:
        fetching.prefetch(study, data_folder, nltk_source=nltk_source, tell=click.echo)
    except (*fetching.REFUSALS, OSError) as error:
        raise Failed(str(error)) from None
    click.echo(f"complete; next: ppm check {study_file} --data-root {data_folder}")


@main.command()
@STUDY_FILE
@DATA_ROOT
def check(study_file: Path, data_folder: Path | None) -> None:
    """Prove, with the network off, that the model, its tokenizer and every task load.

    Exit status 1 if anything is missing or wrong.
    """
    study = _load(study_file)
    _read_only_from(data_folder)
    os.environ.update(data_root.OFFLINE)
    from ppmlib.offline import check as checking

    with _refused_if(ParamsError):
        checked = checking.check(study, study_file, lambda line: click.echo(line, err=True))
    for line in (*checked.notes, *checking.format_table(checked.rows), *checked.problems):
        click.echo(line)
    if checked.problems:
        raise Failed(f"{study_file}: {len(checked.problems)} missing or wrong")
    click.echo(f"{study_file}: model, tokenizer and {len(checked.rows)} tasks load")


@main.command()
@STUDY_FILE
@REPORTS
def status(study_file: Path, reports: Path) -> None:
    """Show which notebooks are not done: failed, stopped or missing. Exit status 1 if any."""
    study, plan = _prepare(study_file, reports, fetch=False, writes=False)
    root = reports / study.study
    to_run = unfinished.find(root, plan)
    unrendered = unfinished.without_page(root, plan, to_run)
    counts = {"done": 0, "failed": 0, "stopped": 0, "missing": 0}
    for key in plan["jobs"]:
        state, detail = _state(root, key, to_run.get(key))
        counts[state] += 1
        if state != "done":
            click.echo(f"{state:8} {key}{detail}")
    for key in unrendered:
        click.echo(f"no page  {key}: it is rendered by the next run")
    click.echo(
        ", ".join(f"{n} {state}" for state, n in counts.items()) + f" of {len(plan['jobs'])}"
    )
    if to_run or unrendered:
        click.echo(f"go on with: ppm run {study_file}")
        raise SystemExit(EXIT_FAILED)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def verify(folder: Path) -> None:
    """Recompute every hash of a study's record and name what differs."""
    with _refused_if(records.RecordError):
        problems = records.verify(folder)
    for line in problems:
        click.echo(line)
    if problems:
        click.echo(f"{folder}: {len(problems)} differences")
        raise SystemExit(EXIT_FAILED)
    count = len(records.read_manifest(folder))
    click.echo(f"{folder}: all {count} files are as they were written")


@main.command()
@STUDY_FILE
@click.option("--ratio", "pruning_ratio", type=float, help="Pruning ratio of the wanted width.")
@click.option("--expansion", "expansion_ratio", type=float, help="Or its expansion ratio.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder.")
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
    with _refused_if(ValueError, OSError, records.RecordError):
        key = Selection(study.criterion, 0, pruning_ratio, expansion_ratio).key
        if f"{key}/2_pruning" not in plan["jobs"]:
            raise Refused(f"{study_file}: no run {key} in this study")
        settings = plan["jobs"][f"{key}/2_pruning"]["parameters"]
        folder = exporting.export_run(root, key, settings, out)
    click.echo(f"checkpoint: {folder}")


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
def rerun(path: Path) -> None:
    """Run an executed notebook, or a whole report folder, again and compare the numbers."""
    from ppmlib.workflow import rerun as again

    with _refused_if(records.RecordError):
        root, key = again.study_of(path)
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
    _alone(reports / "published", "6_published")


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
    _alone(root, "8_simulations", draws=draws, graded_draws=graded_draws)


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the report; default compare-A-B.")
@REPORTS
def compare(folders: tuple[Path, ...], name: str | None, reports: Path) -> None:
    """Compare finished studies (notebook 7): each model a replicate, nothing pooled."""
    from ppmlib.analyse import across

    if len(folders) < 2:
        raise Refused("compare needs the folders of two finished studies or more")
    with _refused_if(records.RecordError):
        models = across.load(folders)
    found = [model.analysis["results"] for model in models]
    root = reports / (name or "-".join(["compare", *(model.study for model in models)]))
    relative = [os.path.relpath(folder, root.resolve()) for folder in folders]
    marks = {mark: any(each[mark] for each in found) for mark in ("synthetic", "draft")}
    _alone(root, "7_models", studies=relative, **marks)


def _alone(root: Path, key: str, **options) -> None:
    """Run a notebook that belongs to no study and say where its page is."""
    with _refused_if(OSError, records.RecordError), launch.only_run(root):
        status = launch.alone(root, key, **options)
    if status:
        raise Failed(f"{key} failed: see {root / 'logs' / key}.log")
    click.echo(f"report: {root / key}.html")


def _prepare(
    study_file: Path,
    reports: Path,
    *,
    to_run: bool = False,
    fetch: bool = True,
    writes: bool = True,
    data_folder: Path | None = None,
):
    """Everything that can be refused without starting a kernel.

    With `writes`, the study's folder is there afterwards, with its link to a local model. Whoever
    runs the study holds its lock already: no other command gives a running study another model.

    A run takes the data root it is given; other commands the one of the study's last run.
    """
    study = _load(study_file)
    root = reports / study.study
    for line in batch_sizes.list_damaged(root):
        click.echo(line, err=True)
    _read_only_from(data_folder if to_run else data_root.read_link(root))
    from ppmlib.model import models
    from ppmlib.workflow import plan

    try:
        planned = plan.build(study, study_file, root, fetch=fetch)
    except models.ModelError as error:
        raise Refused(f"{study_file}: model: {error}") from None
    except ParamsError as error:
        raise Refused(str(error)) from None
    unchecked, located = planned.pop("unchecked"), planned.pop("located")
    if writes and study.model.is_folder and not plan.is_linked(root, located):
        with _refused_if(), nullcontext() if to_run else launch.only_run(root):
            plan.link_model(root, located)
    if unchecked:
        click.echo(f"model not checked: {unchecked}; a run fetches it first", err=True)
    return study, planned


def _check_writable(root: Path) -> None:
    from ppmlib.workflow import preflight

    with _refused_if(ParamsError):
        preflight.writable(root)


def _load(study_file: Path) -> Study:
    with _refused_if(ParamsError):
        return Study.load(study_file)


def _read_only_from(folder: Path | None) -> None:
    """Give this process a data root, or none, before the hub's libraries are loaded."""
    os.environ.pop(data_root.VARIABLE, None)
    if folder is not None:
        with _refused_if(data_root.DataRootError):
            os.environ.update(
                data_root.environment(data_root.open_data_root(folder.resolve()).folder)
            )


@contextmanager
def _refused_if(*errors: type[Exception]) -> Iterator[None]:
    """Turn expected errors into one line and an exit status."""
    try:
        yield
    except launch.StudyBusy as error:
        raise Busy(str(error)) from None
    except launch.Interrupted as error:
        raise Interrupted(f"{error}; the same command goes on where it stopped") from None
    except errors as error:
        raise Refused(str(error)) from None


def _partial_report(root: Path, profile: str, plan) -> None:
    """After a failure: the analysis and the study's page from what there is, if there is any."""
    trouble = folder_trouble(root)
    if trouble:
        raise Failed(f"{root}: {trouble}")
    if not any(root.glob("records/**/*.json")) and not any(root.glob("logs/**/*.failed.json")):
        return  # Snakemake ran nothing, and said why
    to_run = unfinished.find(root, plan)
    if ANALYSIS in to_run and not records.failure_path(root, ANALYSIS).exists():
        partial = ("--config", "partial=1", "--", f"records/{ANALYSIS}.json")
        launch.snakemake(root, profile, partial, plan, to_run=to_run)
    made = subprocess.run(
        [sys.executable, "-m", "ppmlib.workflow.make_index"], cwd=root, check=False
    )
    if made.returncode == 0:
        click.echo(f"incomplete report: {root / 'index.html'}", err=True)


def _state(root: Path, key: str, to_run: str | None) -> tuple[str, str]:
    if to_run is None:
        return "done", ""
    if note := records.read_failure(root, key):
        return "stopped" if note["interrupted"] else "failed", f": {note['error']}"
    return "missing", "" if to_run == unfinished.MISSING else f": {to_run}"


if __name__ == "__main__":
    main()
