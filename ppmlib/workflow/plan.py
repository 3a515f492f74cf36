"""A checked study to its jobs: which notebook, with which parameters, reading which records."""

import os
from pathlib import Path
from typing import Any

from ppmlib import bench, models, records
from ppmlib.params import ParamsError, Run, Study, selection_slug


def build(study: Study, study_file: Path, root: Path) -> dict[str, Any]:
    """The plan of a study, as written to `study.json` in its folder.

    Args:
        study: the checked study.
        study_file: where it was read; folders and score files in it are relative to this file.
        root: the study's folder, from which the notebooks run; paths in the plan are relative.
    Returns:
        {study, synthetic, draft, model, jobs: {key: {stage, parameters, reads, static, threads}}}
    Raises:
        ParamsError: for a width that the model cannot have.
        ModelError: for a model that is not there or has no GLU MLPs.
    """
    source = Path(study_file).resolve().parent
    model = _relative(source / Path(study.model.id).expanduser(), root) if (
        study.model.is_folder
    ) else study.model.id  # fmt: skip
    located = models.locate(
        str(Path(root, model)) if study.model.is_folder else model, study.model.revision
    )
    _check_widths(study, study_file, records.read_json(located / "config.json"))
    synthetic = study.model.id in bench.MODELS
    static = {
        "versions": records.package_versions(),
        "weights_sha256": models.weights_sha256(located),
    }
    common = {
        "model": model,
        "revision": study.model.revision,
        "dtype": study.model.dtype,
        "record_dir": ".",
    }
    jobs: dict[str, Any] = {}

    def add(key: str, parameters: dict[str, Any], reads: list[str]) -> None:
        stage = key.rsplit("/", 1)[-1]
        jobs[key] = {
            "stage": stage,
            "parameters": parameters,
            "reads": reads,
            "static": {**static, "stage_version": records.STAGE_VERSIONS[stage]},
            "threads": study.threads,
        }

    runs = study.runs()
    score = {run.criterion for run in runs if run.criterion != "random"}
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
        add(f"{run.key}/2_pruning", width, ["1_scoring"])
        add(
            f"{run.key}/3_evaluation",
            {**width, **_evaluation_parameters(study, run)},
            [f"{run.key}/2_pruning"],
        )
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
            "tasks": [task.model_dump() for task in study.tasks],
            "claims": [claim.model_dump() for claim in study.claims],
            "planted": synthetic,
            "draft": study.subset is not None,
            "bootstrap_seed": study.seeds.bootstrap,
            "record_dir": ".",
        },
        [key for key in jobs if key.endswith(("2_pruning", "3_evaluation", "4_profiling"))],
    )
    resolved = study.model_dump()
    return {
        "study": resolved,
        "claims_sha256": records.fingerprint({"claims": resolved["claims"]}),
        "synthetic": synthetic,
        "draft": study.subset is not None,
        "jobs": jobs,
    }


def _relative(path: Path, root: Path) -> str:
    text = os.path.relpath(path, root)
    return text if text.startswith(".") else f"./{text}"


def _criterion(criterion: str, source: Path, root: Path) -> str:
    path, colon, function = criterion.rpartition(".py:")
    if not colon:
        return criterion
    return f"{_relative(source / path, root)}.py:{function}"


def _evaluation_parameters(study: Study, run: Run) -> dict[str, Any]:
    return {
        "tasks": [task.model_dump() for task in study.tasks if task.name in run.tasks],
        "floors": list(study.floors),
        "add_bos_token": study.add_bos_token,
        "apply_chat_template": study.apply_chat_template,
        "batch_size": study.batch_size,
        "max_length": study.max_length,
        "softmax_dtype": study.softmax_dtype,
        "lm_eval_seeds": study.lm_eval_seeds,
        "subset": study.subset.model_dump() if study.subset else None,
        "generation": study.generation.model_dump() if study.generation else None,
    }


def _check_widths(study: Study, study_file: Path, config: dict[str, Any]) -> None:
    from ppmlib.pruning import keep_count

    for name in ("intermediate_size", "hidden_size"):
        if not isinstance(config.get(name), int):
            raise models.ModelError(
                f"{study.model.id}: config.json has no {name}, so this is no GLU model to slice"
            )
    for run in study.runs():
        try:
            keep_count(
                config["intermediate_size"],
                hidden_size=config["hidden_size"],
                pruning_ratio=run.pruning_ratio,
                expansion_ratio=run.expansion_ratio,
                keep_multiple_of=study.keep_multiple_of,
            )
        except ValueError as error:
            raise ParamsError(f"{study_file}: {run.key}: {error}") from None
