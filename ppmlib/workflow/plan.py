"""Turn a checked study into jobs: which notebook, with which parameters, reading which records."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppmlib import bench
from ppmlib.evaluation import batch_sizes, engines, task_files
from ppmlib.model import checkpoint, gguf_source, hashes, models, random_shapes
from ppmlib.prune import calibration
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
from ppmlib.workflow import preflight, unfinished

MODEL_LINKS = "./.models"  # hidden links to local models in a study's folder
NOISE_NOTEBOOK = "2_noise"
MARGIN = "tradeoff_margin_points"
# Hashes of the model's other files, and a number of threads other than 1, that change the results
# of a notebook.
CHANGED_BY = {
    "1_scoring": ("config_sha256",),
    "2_pruning": ("config_sha256",),
    "2_noise": ("config_sha256", "tokenizer_sha256", "threads"),
    "3_evaluation": ("config_sha256", "tokenizer_sha256", "generation_sha256", "threads"),
    "4_profiling": ("config_sha256", "tokenizer_sha256", "threads"),
    "5_analysis": (),
}
NOISE_SETTINGS = {"add_bos_token", "batch_size", "max_length", "softmax_dtype"}
EVALUATION_SETTINGS = NOISE_SETTINGS | {
    *("apply_chat_template", "engine", "lm_eval_seeds", "subset", "generation")
}


def build(study: Study, study_file: Path, root: Path, *, fetch: bool = True) -> dict[str, Any]:
    """The plan of a study, as written to `study.json` in its folder. Nothing is written here.

    Args:
        study: the checked study; batches that did not fit are made smaller here.
        study_file: where it was read; folders and score files in it are relative to this file.
        root: the study's folder, from which the notebooks run; paths in the plan are relative.
        fetch: whether a hub model that is missing locally is downloaded. Without, the jobs are the
            same, and `unchecked` says that the model was not checked.
    Returns:
        {study, claims_sha256, synthetic, draft, engine_reason: why the engine is not `fast`, where
        the study leaves the choice, jobs: {key: a job as in `_Jobs`}}. For the caller alone:
        `unchecked`, and `located`, the model's folder or None
    Raises:
        ParamsError: for mistakes that `preflight` finds.
        ModelError: for a model that is missing or damaged, has no GLU MLPs, or has weights that are
            not finite. Weights are searched once, not again for a plan of the same weights.
    """
    unchecked = None
    try:
        located = locate(study, study_file, fetch=fetch)
    except models.NotHere as error:
        located, unchecked = None, str(error)
    preflight.check(study, study_file, located)
    preflight.check_data_root(study, study_file)
    earlier = unfinished.earlier_plan(root)
    engine, reason = _choose_engine(study, located, earlier)
    study = batch_sizes.apply_smaller(study.model_copy(update={"engine": engine}), root)
    found = _find_hashes(study, located, earlier)
    synthetic = study.model.id in bench.MODELS
    if located is not None and not synthetic:
        planned = _planned_weights(earlier, study.model.dtype)
        if found["weights_sha256"] not in planned:
            checkpoint.check_finite(located, study.model.id, study.model.dtype)
    jobs = _Jobs(study, Path(study_file), Path(root), located, found)
    jobs.add_all()
    # Left out where it is the default: plans made before it existed stay valid.
    margin = study.model_dump(include={MARGIN}, exclude_defaults=True)
    resolved = study.model_dump(exclude={MARGIN}) | margin
    # Where a folder or a score file lies on this machine is not part of the study.
    if study.model.is_folder:
        resolved["model"]["id"] = gguf_source.name_of(located)
    for chosen in (resolved, *resolved["controls"]):
        chosen["criterion"] = Path(chosen["criterion"]).name
    if study.calibration is not None:
        resolved["calibration"]["file"] = Path(study.calibration.file).name
    return {
        "study": resolved,
        "claims_sha256": records.fingerprint({"claims": resolved["claims"]}),
        "synthetic": synthetic,
        "draft": study.subset is not None,
        **({"engine_reason": reason} if reason else {}),
        "unchecked": unchecked,
        "located": located,
        "jobs": jobs.jobs,
    }


class _Jobs:
    """The jobs of one study, each added after those it reads.

    jobs: {key: {stage, parameters, reads, static, threads, limit_minutes, memory_mb, gpu}}; `gpu`:
    whether it can use one; `notebook`: only where it is not named as the stage.
    """

    def __init__(
        self,
        study: Study,
        study_file: Path,
        root: Path,
        located: Path | None,
        hashes: dict[str, str],
    ) -> None:
        self.study, self.study_file, self.root = study, study_file, root
        self.jobs: dict[str, Any] = {}
        self.changing = hashes | ({"threads": study.threads} if study.threads != 1 else {})
        self.versions = records.package_versions()
        self.model_name = located.name if study.model.is_folder else study.model.id
        self.model = {
            "model": f"{MODEL_LINKS}/{located.name}" if study.model.is_folder else study.model.id,
            "revision": study.model.revision,
            "dtype": study.model.dtype,
            "record_dir": ".",
        }
        # Without tasks nothing is evaluated or analysed. With random weights no scores or kept
        # neurons are recorded either: the profiling draws the widths itself.
        self.left_out = () if study.tasks else (evaluation_records.STAGE, "5_analysis")
        if study.model.is_shape:
            self.left_out += ("1_scoring", "2_pruning")

    def add_all(self) -> None:
        """Add the jobs of every stage."""
        study, runs = self.study, self.study.runs()
        widths = {
            "pruning_ratios": study.pruning_ratios or [],
            "expansion_ratios": study.expansion_ratios or [],
            "keep_multiple_of": study.keep_multiple_of,
        }
        scored = sorted({run.criterion for run in runs} - {"random", NOISE})
        self.add(
            "1_scoring",
            self.model
            | widths
            | {
                "criteria": [self._criterion(name) for name in scored],
                "random_seeds": sorted({run.seed for run in runs if run.criterion == "random"}),
            },
            static=self._score_files(scored),
        )
        for run in runs:
            self.add_pruning(run)
            self.add_evaluations(run, run.key)
            if study.aa_batch_size and run.key == DENSE:
                self.add_evaluations(
                    run, REPEAT, batch_size=study.aa_batch_size, engine=REPEAT_ENGINE, floors=[]
                )
        for run in study.responders():
            self.add_evaluations(replace(run, tasks=_answerable(run)), run.key, floors=[])
        if study.profiling is not None:
            self.add(
                f"{selection_slug(study.criterion)}/4_profiling",
                self.model
                | widths
                | {"criterion": self._criterion(study.criterion), "seed": 0}
                | study.profiling.model_dump(),
                [f"{run.key}/2_pruning" for run in runs if run.criterion == study.criterion],
                gpu=True,
            )
        self.add(
            "5_analysis",
            {
                "study": study.study,
                "question": study.question,
                "model": self.model_name,
                "criterion": selection_slug(study.criterion),
                "tasks": [task.parameters() for task in study.tasks],
                "claims": [claim.model_dump() for claim in study.claims],
                "planted": study.model.id in bench.MODELS,
                "draft": study.subset is not None,
                "bootstrap_seed": study.seeds.bootstrap,
                "record_dir": ".",
            }
            | study.model_dump(include={MARGIN}, exclude_defaults=True),
            [key for key, job in self.jobs.items() if job["stage"] != "1_scoring"],
        )

    def add(
        self,
        key: str,
        parameters: dict[str, Any],
        reads: Iterable[str] = (),
        *,
        task: str | None = None,
        notebook: str | None = None,
        gpu: bool = False,
        static: dict[str, Any] | None = None,
    ) -> None:
        """Add one job, unless its stage is left out. `static`: other things that change it."""
        stage = records.stage_of(key)
        if stage in self.left_out:
            return
        limit_minutes, memory_mb = self.study.limits.of_task(task)
        changed_by = CHANGED_BY[notebook or stage]
        self.jobs[key] = {
            "stage": stage,
            "parameters": parameters,
            "reads": [read for read in reads if read in self.jobs],
            "static": {
                "versions": self.versions,
                "stage_version": records.STAGE_VERSIONS[stage],
                "weights_sha256": self.changing.get("weights_sha256"),
                **{name: self.changing[name] for name in changed_by if name in self.changing},
                **(static or {}),
            },
            "threads": self.study.threads,
            "limit_minutes": limit_minutes,
            "memory_mb": memory_mb,
            "gpu": gpu,
            **({"notebook": notebook} if notebook else {}),
        }

    def add_pruning(self, run: Run) -> None:
        """Add the job that makes a run's plan of kept neurons, or tunes its noise."""
        key = f"{run.key}/2_pruning"
        if run.criterion != NOISE:
            files = {} if run.key == DENSE else self._score_files([run.criterion])
            self.add(key, self._width(run), ["1_scoring"], static=files)
            return
        matched = replace(run, criterion=self.study.criterion)
        width = self._width(matched)
        text_file = self.study.calibration and self.study.calibration.file
        file = text_file and self._resolve(text_file)
        try:
            text = calibration.load_text(file and str(file), model=self.study.model.id)
        except calibration.CalibrationError as error:
            raise ParamsError(f"{self.study_file}: calibration: {error}") from None
        self.add(
            key,
            {
                "matched": width.pop("criterion"),
                "calibration_file": _relative(file, self.root) if file else "",
                **self.study.model_dump(include=NOISE_SETTINGS),
                **width,
            },
            [f"{matched.key}/2_pruning"],
            notebook=NOISE_NOTEBOOK,
            gpu=True,
            static={"calibration": text.describe()},
        )

    def add_evaluations(self, run: Run, name: str, **changes) -> None:
        """Add a run's evaluation, or one per task; `changes` replace parameters."""
        responder = responder_kind(run.criterion) is not None
        for task in run.tasks if self.study.split_evaluation and not responder else (None,):
            key = evaluation_records.key(name, task)
            asked = run.tasks if task is None else (task,)
            tasks = [spec.parameters() for spec in self.study.tasks if spec.name in asked]
            if name == REPEAT:
                tasks = [batch_sizes.spec_of_repeat(self.study, self.root, spec) for spec in tasks]
            self.add(
                key,
                {
                    **self._width(run),
                    **self.study.model_dump(include=EVALUATION_SETTINGS),
                    # Left out where there is none: plans made before it existed stay valid.
                    **self.study.model_dump(include={"system_instruction"}, exclude_none=True),
                    "tasks": tasks,
                    "floors": [floor for floor in self.study.floors if floor in WIDTH_FLOORS],
                    "record_key": key if task or name != run.key else "",
                    **changes,
                },
                # The dense model needs no kept neurons: its evaluation starts at once.
                [] if responder or run.key == DENSE else [f"{run.key}/2_pruning"],
                task=task,
                gpu=not responder,
            )

    def _width(self, run: Run) -> dict[str, Any]:
        """The parameters that say which model a notebook works on."""
        return self.model | run.settings() | {"criterion": self._criterion(run.criterion)}

    def _criterion(self, criterion: str) -> str:
        return relative_criterion(criterion, self.study_file.resolve().parent, self.root)

    def _resolve(self, file: str) -> Path:
        return self.study_file.resolve().parent / Path(file).expanduser()

    def _score_files(self, criteria: Iterable[str]) -> dict[str, Any]:
        """The hash of every score file among some criteria, by selection; nothing without any."""
        files = {
            selection_slug(criterion): code_files.sha256(
                self._resolve(criterion.rpartition(":")[0])
            )
            for criterion in criteria
            if ".py:" in criterion
        }
        return {"score_files": files} if files else {}


def _choose_engine(study: Study, located: Path | None, earlier: dict) -> tuple[str, str | None]:
    """The engine of a study's evaluations; that of its last run for a model that is not here."""
    if not study.tasks:
        return (engines.PLAIN if study.engine == engines.AUTO else study.engine), None
    if located is not None:
        config = checkpoint.text_config(checkpoint.read_json(located / "config.json"))
        return engines.choose(study.engine, config)
    if study.engine != engines.AUTO or not isinstance(earlier.get("study"), dict):
        return engines.choose(study.engine, {"model_type": "llama"})
    return earlier["study"]["engine"], earlier.get("engine_reason")


def _find_hashes(study: Study, located: Path | None, earlier: dict) -> dict[str, str]:
    """The hashes of a study's model; if it is not here, those of the study's last run, if any.

    A packaged model's other files come with its weights, whose hash stands for them all.
    """
    if study.model.is_shape:
        return {"weights_sha256": random_shapes.weights_sha256(study.model.id)}
    if study.model.id in bench.MODELS:
        return {"weights_sha256": hashes.weights_sha256(located)}
    if located is not None:
        return hashes.hash_files(located)
    known = earlier.get("study")
    if not isinstance(known, dict) or known.get("model") != study.model.model_dump():
        return {}
    statics = [job.get("static", {}) for job in earlier["jobs"].values()]
    return {name: s[name] for s in statics for name in hashes.FILE_HASHES if name in s}


def _planned_weights(earlier: dict, dtype: str) -> set[str]:
    """The hashes of the weights that the study's last run was planned for, in this dtype."""
    jobs = earlier["jobs"].values()
    planned = [job for job in jobs if job.get("parameters", {}).get("dtype") == dtype]
    return {job.get("static", {}).get("weights_sha256") for job in planned}


def locate(study: Study, study_file: Path, *, fetch: bool = True) -> Path | None:
    """The folder of a study's model, None for a shape with random weights.

    ParamsError if the study names a folder that does not exist; ModelError as `models.locate`.
    """
    name = study.model.id
    if study.model.is_shape:
        random_shapes.config_of(name)
        return None
    if not study.model.is_folder:
        return models.locate(name, study.model.revision, fetch=fetch)
    folder = Path(study_file).parent / Path(name).expanduser()
    if not (folder.is_file() if study.model.is_gguf else folder.is_dir()):
        kind = "file" if study.model.is_gguf else "folder"
        where = "" if name.startswith(("/", "~")) else " in the study file's folder"
        raise ParamsError(f"{study_file}: model.id: there is no {kind} {name!r}{where}")
    if study.model.revision is not None:
        raise ParamsError(f"{study_file}: model.revision: a folder has none; leave it out")
    if study.model.is_gguf:
        return gguf_source.dequantise(folder, name, sha256=study.model.sha256).resolve()
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


def relative_criterion(criterion: str, source: Path, root: Path) -> str:
    """A criterion as the notebooks in `root` read it: its score file relative to that folder."""
    path, colon, function = criterion.rpartition(".py:")
    return f"{_relative(source / path, root)}.py:{function}" if colon else criterion


def _relative(path: Path, root: Path) -> str:
    text = os.path.relpath(path, Path(root).resolve())  # `..` in a linked folder leads elsewhere
    return text if text.startswith(".") else f"./{text}"


def _answerable(run: Run) -> tuple[str, ...]:
    """The tasks that a trivial responder can answer, as far as their files say what they ask."""
    wanted = RESPONDERS[responder_kind(run.criterion)]
    found = {name: task_files.read_output_types(name, [bench.tasks_dir()]) for name in run.tasks}
    return tuple(name for name, kinds in found.items() if kinds is None or kinds == {wanted})
