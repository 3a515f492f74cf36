"""Checks before any kernel starts: widths, lengths, score files, task names, the folder."""

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppmlib import bench
from ppmlib.data import data_root
from ppmlib.evaluation import engines, task_data, task_files
from ppmlib.model import checkpoint, layouts, random_shapes
from ppmlib.record.evaluation_records import DENSE
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.study_file.selection import RESPONDERS
from ppmlib.workflow.processes import SMALLEST_FREE_BYTES


def check(study: Study, study_file: Path, located: Path | None) -> None:
    """Check a study against its model's folder, its score files and lm-eval's task files.

    `located`: the model's folder, or None where there is none: then its widths are not checked.

    Raises:
        ParamsError: a line per mistake, `file: what is wrong`.
        ModelError: for a model that cannot be pruned or run.
    """
    lines, config = [], None
    if study.model.is_shape:
        config = random_shapes.config_of(study.model.id)
    elif located is not None:
        checkpoint.check(located, study.model.id)
        config = checkpoint.text_config(checkpoint.read_json(located / "config.json"))
    if config is not None:
        lines += [*_check_widths(study, config), *_check_lengths(study, config)]
        if study.engine == engines.FAST and (reason := engines.why_not_fast(config)):
            lines.append(f"engine: fast cannot run this model ({reason}): set engine: auto")
    criteria = dict.fromkeys([study.criterion, *(c.criterion for c in study.controls)])
    for criterion in criteria:
        if ".py:" in criterion:
            lines += _check_score_file(criterion, Path(study_file).parent)
    lines += [
        *_check_responders(study),
        *_check_templates(study),
        *task_files.find_mistakes(study.model_dump()["tasks"], [bench.tasks_dir()]),
    ]
    _refuse(study_file, lines)


def check_data_root(study: Study, study_file: Path) -> None:
    """ParamsError: a line per data set that the study needs and the data root, if any, lacks."""
    root, names = data_root.current_data_root(), [task.name for task in study.tasks]
    if root is not None:
        _refuse(study_file, task_data.find_missing_data(root, names, [bench.tasks_dir()]))


def _refuse(study_file: Path, lines: list[str]) -> None:
    if lines:
        raise ParamsError("\n".join(f"{study_file}: {line}" for line in lines))


def check_writable(root: Path) -> None:
    """Create the study's folder and write a megabyte to it. ParamsError if that cannot be done."""
    probe = Path(root, ".writable")
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(SMALLEST_FREE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ParamsError(
            f"{root}: cannot be written ({error.strerror}): free or unlock it, or choose another "
            "folder with --reports"
        ) from None


def _check_widths(study: Study, config: dict[str, Any]) -> list[str]:
    """Widths that the model cannot have, that remove no neuron, or that are the same."""
    also = study.profiling.also_keep_multiples_of if study.profiling else []
    neurons = layouts.neurons(config)
    wrong: dict[str, dict[str, None]] = {}
    same: dict[tuple, list[str]] = {}
    for run in study.runs():
        for multiple in [study.keep_multiple_of, *also]:
            try:
                wanted = replace(run, keep_multiple_of=multiple)
                k = wanted.keep_count(neurons, config["hidden_size"])
            except ValueError as error:
                wrong.setdefault(str(error), {})[run.key] = None
                continue
            if k == neurons and run.key != DENSE:
                mistake = f"removes none of the {neurons} neurons; the dense model is always run"
                wrong.setdefault(mistake, {})[run.key] = None
            elif multiple == study.keep_multiple_of:
                same.setdefault((run.criterion, run.seed, k), []).append(run.key)
    return [f"{', '.join(keys)}: {mistake}" for mistake, keys in wrong.items()] + [
        f"{', '.join(keys)}: the same width of {k} neurons; leave all but one out"
        for (_, _, k), keys in same.items()
        if len(keys) > 1
    ]


def _check_responders(study: Study) -> list[str]:
    """Trivial responders that can answer none of the study's tasks, as their files have it."""
    wanted = {floor: RESPONDERS[floor] for floor in study.floors if floor in RESPONDERS}
    if not wanted:
        return []
    names, folders = [task.name for task in study.tasks], [bench.tasks_dir()]
    kinds = [task_files.read_output_types(name, folders) for name in names]
    return [
        f"floors: {floor} answers {asked} tasks and the study has none"
        for floor, asked in wanted.items()
        if not any(found is None or found == {asked} for found in kinds)
    ]


def _check_templates(study: Study) -> list[str]:
    """Tasks that score a text itself, which a chat template makes into another, unless insisted."""
    lines = []
    for task in study.tasks:
        if not study.apply_chat_template or task.apply_chat_template is not None:
            continue
        kinds = task_files.read_output_types(task.name, [bench.tasks_dir()]) or set()
        if kinds & {"loglikelihood", "loglikelihood_rolling"}:
            lines.append(
                f"tasks: {task.name}: inside a chat template the probability of a text's words "
                "says nothing of the model: give this task apply_chat_template: false (or true, "
                "if that is wanted)"
            )
    return lines


def _check_lengths(study: Study, config: dict[str, Any]) -> list[str]:
    """Lengths in tokens that do not fit into the model's context."""
    profiling, context = study.profiling, config.get("max_position_embeddings")
    if context is None:
        return []
    if not isinstance(context, int) or context < 2:
        raise checkpoint.ModelError(
            f"{study.model.id!r}: config.json says max_position_embeddings is {context!r}"
        )
    lines = []
    if study.max_length is not None and study.max_length > context:
        lines.append(f"max_length: {study.max_length} is above the model's {context} positions")
    room = min(context, study.max_length or context)
    for task in study.tasks:
        new = task_files.read_new_tokens(task.name, [bench.tasks_dir()])
        if new is not None and study.generation is not None:
            new = min(new, study.generation.max_gen_toks)
        if new is not None and new >= room:
            lines.append(
                f"tasks: {task.name}: {new} new tokens leave no room for a prompt in {room}: lower "
                "them with generation: {max_gen_toks: N}"
            )
    if profiling is None:
        return lines
    return lines + [
        f"profiling: {work.prompt_tokens} prompt tokens and {work.new_tokens} new ones do not fit "
        f"into the model's {context} positions"
        for work in profiling.workloads or [profiling]
        if work.prompt_tokens + work.new_tokens > context
    ]


def _check_score_file(criterion: str, source: Path) -> list[str]:
    """What is wrong with `file.py:function`, read but not run."""
    path, _, function = criterion.rpartition(":")
    file = source / Path(path).expanduser()
    mistake = f"has no function {function!r}"
    try:
        tree = ast.parse(file.read_bytes(), filename=file.name)
    except OSError as error:
        mistake = f"cannot be read ({error.strerror})"
    except (SyntaxError, ValueError) as error:
        mistake = f"is not Python ({error})"
    else:
        if any(function in _bound(node) for node in tree.body):
            return []
    return [f"criterion {criterion!r}: {path} {mistake}"]


def _bound(node: ast.AST) -> list[str]:
    """Names that a statement of a module defines or imports."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
        return [name for part in ast.iter_child_nodes(node) for name in _bound(part)]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in node.names]
    return [
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]
