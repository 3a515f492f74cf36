"""A checked study to its jobs: which notebook, with which parameters, reading which records."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppmlib import bench
from ppmlib.evaluation import batch_sizes, task_files
from ppmlib.model import checkpoint, models, random_shapes
from ppmlib.record import code_files, evaluation_records, records
from ppmlib.record.evaluation_records import DENSE, REPEAT, REPEAT_ENGINE
from ppmlib.study_file.params import ParamsError, Run, Study
from ppmlib.study_file.selection import (
    NOISE,
    RESPONDERS,
    WIDTH_FLOORS,
    responder_kind,
    selection_slug,
)
from ppmlib.workflow import noise_jobs, preflight, unfinished

MODEL_LINKS = "./.models"  # hidden links to local models in a study's folder

MARGIN = "tradeoff_margin_points"
# What of a model's files beside its weights, and of the threads where there is more than one,
# changes what a notebook gives.
CHANGED_BY = {
    "1_scoring": ("config_sha256",),
    "2_pruning": ("config_sha256",),
    "2_noise": ("config_sha256", "tokenizer_sha256", "threads"),
    "3_evaluation": ("config_sha256", "tokenizer_sha256", "generation_sha256", "threads"),
    "4_profiling": ("config_sha256", "tokenizer_sha256", "threads"),
    "5_analysis": (),
}


def build(study: Study, study_file: Path, root: Path, *, fetch: bool = True) -> dict[str, Any]:
    """The plan of a study, as written to `study.json` in its folder. Nothing is written here.

    Args:
        study: the checked study.
        study_file: where it was read; folders and score files in it are relative to this file.
        root: the study's folder, from which the notebooks run; paths in the plan are relative.
        fetch: whether a hub model that is not on this machine is downloaded. Without, the jobs are
            the same, and `unchecked` says that the model was not looked at.
    Returns:
        {study, synthetic, draft, jobs: {key: {stage, parameters, reads, static, threads,
        limit_minutes, memory_mb, gpu}}}, a job after those it reads; gpu is whether it has use for
        one; a job whose notebook is not named as its stage also has `notebook`. Beside it, for the
        caller: `unchecked`, and `located`, the model's folder or None
    Raises:
        ParamsError: for a width the model cannot have, an unknown task or metric, a score file
            without its function, a data set that is not in the data root.
        ModelError: for a model that is not there, damaged, has no GLU MLPs, or weights that are
            not finite. These are read once: not again for the plan of the same weights.
    """
    source = Path(study_file).resolve().parent
    unchecked = None
    try:
        located = locate(study, study_file, fetch=fetch)
    except models.NotHere as error:
        located, unchecked = None, str(error)
    preflight.check(study, study_file, located)
    preflight.check_data_root(study, study_file)
    model = f"{MODEL_LINKS}/{located.name}" if study.model.is_folder else study.model.id
    synthetic = study.model.id in bench.MODELS
    versions = records.package_versions()
    changing = _file_hashes(study, located, root)
    if located is not None and not synthetic:
        if changing["weights_sha256"] not in _planned_weights(root, study.model.dtype):
            checkpoint.check_finite(located, study.model.id, study.model.dtype)
    if study.threads != 1:
        changing["threads"] = study.threads
    common = {
        "model": model,
        "revision": study.model.revision,
        "dtype": study.model.dtype,
        "record_dir": ".",
    }
    # Left out where it is the default, so that plans of before it existed stay as they are.
    margin = study.model_dump(include={MARGIN}, exclude_defaults=True)
    jobs: dict[str, Any] = {}

    def add(
        key: str,
        parameters: dict[str, Any],
        reads: list[str],
        task: str | None = None,
        notebook: str | None = None,
        **static,
    ) -> None:
        stage = records.stage_of(key)
        limit_minutes, memory_mb = study.limits.of_task(task)
        jobs[key] = {
            "stage": stage,
            "parameters": parameters,
            "reads": reads,
            "static": {
                "versions": versions,
                "stage_version": records.STAGE_VERSIONS[stage],
                "weights_sha256": changing.get("weights_sha256"),
                **{n: changing[n] for n in CHANGED_BY[notebook or stage] if n in changing},
                **static,
            },
            "threads": study.threads,
            "limit_minutes": limit_minutes,
            "memory_mb": memory_mb,
            "gpu": stage in (evaluation_records.STAGE, "4_profiling") or notebook is not None,
        }
        if notebook is not None:
            jobs[key]["notebook"] = notebook

    def add_evaluation(name: str, run: Run, parameters: dict[str, Any], **changes) -> None:
        for task in run.tasks if study.split_evaluation else (None,):
            key = evaluation_records.key(name, task)
            settings = _evaluation_parameters(study, run.tasks if task is None else (task,))
            if name == REPEAT:
                specs = settings["tasks"]
                settings["tasks"] = [
                    batch_sizes.spec_of_repeat(study, root, spec) for spec in specs
                ]
            own = {"record_key": key if task or name != run.key else ""}
            # The dense model needs no kept neurons: its evaluation starts at once.
            reads = [] if run.key == DENSE else [f"{run.key}/2_pruning"]
            add(key, parameters | settings | own | changes, reads, task)

    runs = study.runs()
    score = {run.criterion for run in runs if run.criterion not in ("random", NOISE)}
    add(
        "1_scoring",
        {
            **common,
            "criteria": [_criterion(c, source, root) for c in sorted(score)],
            "random_seeds": sorted({run.seed for run in runs if run.criterion == "random"}),
            "pruning_ratios": study.pruning_ratios or [],
            "expansion_ratios": study.expansion_ratios or [],
            "keep_multiple_of": study.keep_multiple_of,
        },
        [],
        **_score_files(score, source),
    )
    for run in runs:
        width = {
            **common,
            "criterion": _criterion(run.criterion, source, root),
            "seed": run.seed,
            "pruning_ratio": run.pruning_ratio,
            "expansion_ratio": run.expansion_ratio,
            "keep_multiple_of": study.keep_multiple_of,
        }
        if run.criterion == NOISE:
            file = noise_jobs.calibration_file(study, source)
            asked = noise_jobs.parameters(study, run, file and _relative(file, root))
            asked |= {"matched": _criterion(study.criterion, source, root)}
            matched = replace(run, criterion=study.criterion)
            add(
                f"{run.key}/2_pruning",
                {**common, **asked},
                [f"{matched.key}/2_pruning"],
                notebook=noise_jobs.NOTEBOOK,
                **noise_jobs.static(study, study_file, file),
            )
        else:
            chosen = [] if run.key == DENSE else [run.criterion]
            add(f"{run.key}/2_pruning", width, ["1_scoring"], **_score_files(chosen, source))
        add_evaluation(run.key, run, width)
        if study.aa_batch_size and run.key == DENSE:
            other = {"batch_size": study.aa_batch_size, "engine": REPEAT_ENGINE, "floors": []}
            add_evaluation(REPEAT, run, width, **other)
    for run in study.responders():
        tasks = _answerable(study, run)
        answers = {
            **common,
            "criterion": run.criterion,
            "seed": run.seed,
            "pruning_ratio": run.pruning_ratio,
            "expansion_ratio": None,
            "keep_multiple_of": 1,
        }
        add(
            f"{run.key}/3_evaluation",
            {**answers, **_evaluation_parameters(study, tasks), "floors": [], "record_key": ""},
            [],
        )
        jobs[f"{run.key}/3_evaluation"] |= {"gpu": False}
    if study.profiling is not None:
        slug = selection_slug(study.criterion)
        widths = [run for run in runs if run.criterion == study.criterion]
        add(
            f"{slug}/4_profiling",
            {
                **common,
                "criterion": _criterion(study.criterion, source, root),
                "seed": 0,
                "pruning_ratios": study.pruning_ratios or [],
                "expansion_ratios": study.expansion_ratios or [],
                "keep_multiple_of": study.keep_multiple_of,
                **study.profiling.model_dump(),
            },
            [f"{run.key}/2_pruning" for run in widths],
        )
    add(
        "5_analysis",
        {
            "study": study.study,
            "question": study.question,
            "model": study.model.id if not study.model.is_folder else located.name,
            "criterion": selection_slug(study.criterion),
            "tasks": [task.parameters() for task in study.tasks],
            "claims": [claim.model_dump() for claim in study.claims],
            "planted": synthetic,
            "draft": study.subset is not None,
            "bootstrap_seed": study.seeds.bootstrap,
            "record_dir": ".",
            **margin,
        },
        [
            key
            for key, job in jobs.items()
            if job["stage"] in ("2_pruning", "3_evaluation", "4_profiling")
        ],
    )
    jobs = _only_asked(study, jobs)
    resolved = study.model_dump(exclude={MARGIN}) | margin
    # Where a folder or a score file lies on this machine is no part of the study.
    if study.model.is_folder:
        resolved["model"]["id"] = located.name
    for chosen in (resolved, *resolved["controls"]):
        chosen["criterion"] = Path(chosen["criterion"]).name
    if study.calibration is not None:
        resolved["calibration"]["file"] = Path(study.calibration.file).name
    return {
        "study": resolved,
        "claims_sha256": records.fingerprint({"claims": resolved["claims"]}),
        "synthetic": synthetic,
        "draft": study.subset is not None,
        "unchecked": unchecked,
        "located": located,
        "jobs": jobs,
    }


def _only_asked(study: Study, jobs: dict[str, Any]) -> dict[str, Any]:
    """The jobs without those that a study of time and energy alone has no use for.

    Without tasks nothing is evaluated or analysed. Random weights have no scores or kept sets
    worth a record either: their profiling draws the widths itself.
    """
    left_out = [] if study.tasks else ["3_evaluation", "5_analysis"]
    if study.model.is_shape:
        left_out += ["1_scoring", "2_pruning"]
    asked = {key: job for key, job in jobs.items() if job["stage"] not in left_out}
    return {
        key: job | {"reads": [read for read in job["reads"] if read in asked]}
        for key, job in asked.items()
    }


def _file_hashes(study: Study, located: Path | None, root: Path) -> dict[str, Any]:
    """The hashes of a study's model; of one that is not here those of its last run, if any.

    A packaged model's other files come with its weights, whose hash stands for them all.
    """
    if study.model.is_shape:
        return {"weights_sha256": random_shapes.weights_sha256(study.model.id)}
    if study.model.id in bench.MODELS:
        return {"weights_sha256": models.weights_sha256(located)}
    if located is not None:
        return models.file_hashes(located)
    earlier = unfinished.earlier_plan(root)
    known = (earlier or {}).get("study")
    if not isinstance(known, dict) or known.get("model") != study.model.model_dump():
        return {}
    statics = [job.get("static", {}) for job in earlier["jobs"].values()]
    return {name: s[name] for s in statics for name in models.FILE_HASHES if name in s}


def _planned_weights(root: Path, dtype: str) -> set[str]:
    """The hashes of the weights that the study's last run was planned for, in this dtype."""
    earlier = unfinished.earlier_plan(root) or {"jobs": {}}
    jobs = earlier["jobs"].values()
    planned = [job for job in jobs if job.get("parameters", {}).get("dtype") == dtype]
    return {job.get("static", {}).get("weights_sha256") for job in planned}


def _score_files(criteria: Iterable[str], source: Path) -> dict[str, Any]:
    """The hash of every score file among some criteria, by selection; nothing without any."""
    files = {
        selection_slug(criterion): code_files.sha256(
            source / Path(criterion.rpartition(":")[0]).expanduser()
        )
        for criterion in criteria
        if ".py:" in criterion
    }
    return {"score_files": files} if files else {}


def locate(study: Study, study_file: Path, *, fetch: bool = True) -> Path | None:
    """The folder of a study's model; a folder in the study is relative to its file.

    None for a shape with random weights, which has none.

    Raises:
        ParamsError: if there is no such folder.
        ModelError: as `models.locate`.
    """
    name = study.model.id
    if study.model.is_shape:
        random_shapes.config_of(name)
        return None
    if not study.model.is_folder:
        return models.locate(name, study.model.revision, fetch=fetch)
    folder = Path(study_file).parent / Path(name).expanduser()
    if not folder.is_dir():
        beside = "" if name.startswith(("/", "~")) else " beside this file"
        raise ParamsError(f"{study_file}: model.id: there is no folder {name!r}{beside}")
    if study.model.revision is not None:
        raise ParamsError(f"{study_file}: model.revision: a folder has none; leave it out")
    models.check_folder(folder, name)
    return folder.resolve()


def link_model(root: Path, folder: Path) -> None:
    """Make the hidden link in a study's folder that keeps a local model's path out of its pages."""
    link = Path(root, MODEL_LINKS, folder.name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


def is_linked(root: Path, folder: Path) -> bool:
    """Whether a study's folder has that link."""
    link = Path(root, MODEL_LINKS, folder.name)
    return link.is_symlink() and link.resolve() == folder


def _relative(path: Path, root: Path) -> str:
    text = os.path.relpath(path, Path(root).resolve())  # `..` in a linked folder leads elsewhere
    return text if text.startswith(".") else f"./{text}"


def _criterion(criterion: str, source: Path, root: Path) -> str:
    path, colon, function = criterion.rpartition(".py:")
    if not colon:
        return criterion
    return f"{_relative(source / path, root)}.py:{function}"


def _answerable(study: Study, run: Run) -> tuple[str, ...]:
    """The tasks that a trivial responder can answer, as far as their files say what they ask."""
    wanted = RESPONDERS[responder_kind(run.criterion)]
    found = {name: task_files.read_output_types(name, [bench.tasks_dir()]) for name in run.tasks}
    return tuple(name for name, kinds in found.items() if kinds is None or kinds == {wanted})


def _evaluation_parameters(study: Study, tasks: tuple[str, ...]) -> dict[str, Any]:
    return {
        "tasks": [task.parameters() for task in study.tasks if task.name in tasks],
        "floors": [floor for floor in study.floors if floor in WIDTH_FLOORS],
        "add_bos_token": study.add_bos_token,
        "apply_chat_template": study.apply_chat_template,
        "batch_size": study.batch_size,
        "engine": study.engine,
        "max_length": study.max_length,
        "softmax_dtype": study.softmax_dtype,
        "lm_eval_seeds": study.lm_eval_seeds,
        "subset": study.subset.model_dump() if study.subset else None,
        "generation": study.generation.model_dump() if study.generation else None,
    }
