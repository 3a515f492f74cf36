"""Does everything a study needs load, with the network off? `ppm check`, before any GPU time.

The model's weights are hashed, compared with its config and searched for values that are not finite
without being read into memory; the tokenizer is loaded; every task is loaded with all its documents
and renders its first prompt.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from ppmlib import bench
from ppmlib.data import data_root
from ppmlib.data.data_root import DataRoot
from ppmlib.evaluation import task_data
from ppmlib.model import checkpoint, models
from ppmlib.model.quiet import quiet_libraries
from ppmlib.record import records
from ppmlib.study_file.params import Study
from ppmlib.workflow import plan, preflight

COLUMNS = ("task", "documents", "source", "revision", "first prompt")
UNKNOWN = "-"
SHORT = 12  # characters of a commit that are shown


@dataclass
class Checked:
    """A row per task, as `COLUMNS`, and a line for each thing that is missing or wrong."""

    notes: list[str] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@contextmanager
def network_off() -> Iterator[None]:
    """Every connection attempted within the block fails."""

    def refuse(*arguments, **options):
        raise OSError("the network is off during a check")

    with (
        mock.patch.multiple(socket.socket, connect=refuse, connect_ex=refuse),
        mock.patch("socket.getaddrinfo", refuse),
    ):
        yield


def check(study: Study, study_file: Path, progress: Callable[[str], None]) -> Checked:
    """Load all that a study needs, without a network.

    Args:
        study: the study in `study_file`.
        progress: called with a line before each step.
    Raises:
        ParamsError: for mistakes in the study file itself.
    """
    from ppmlib.evaluation import backends, engines

    checked, root = Checked(), data_root.current_data_root()
    progress(f"model {study.model.id}")
    try:
        with network_off():
            located = plan.locate(study, study_file)
            preflight.check(study, study_file, located)
            if located is None:
                return checked  # random weights: nothing is loaded
            name = str(located) if study.model.is_folder else study.model.id
            loaded = models.load(
                name, revision=study.model.revision, dtype=study.model.dtype, device="meta"
            )
            checkpoint.check_finite(located, study.model.id, study.model.dtype)
    except models.ModelError as error:
        names = [task.name for task in study.tasks]
        missing = task_data.find_missing_data(root, names, [bench.tasks_dir()]) if root else []
        return Checked(problems=[str(error), *missing])
    checked.notes.append(_describe_model(loaded))
    engine, reason = engines.choose(study.engine, loaded.model.config.get_text_config().to_dict())
    checked.notes.append(f"engine: {engine}" + (f" ({reason})" if reason else ""))
    if root is not None:
        nltk_files = root.manifest()["nltk_data"].items()
        checked.problems += find_changed_files(root, "models", study.model.id)
        checked.problems += _find_changed(
            root, {f"nltk_data/{name}": sha for name, sha in nltk_files}
        )
        if not (root.folder / data_root.MANIFEST).exists():
            checked.notes.append(
                "the data root has no manifest: revisions, hashes and row counts are not compared"
            )
    chat = any(study.format_of(task.parameters(), "apply_chat_template") for task in study.tasks)
    if chat and not loaded.tokenizer.chat_template:
        checked.problems.append("apply_chat_template: the model's tokenizer has no chat template")
        return checked
    with network_off():
        lm = backends.load(
            loaded.model,
            loaded.tokenizer,
            batch_size=study.batch_size,
            add_bos_token=study.add_bos_token,
            max_length=study.max_length,
            softmax_dtype=study.softmax_dtype,
        )
        lm.begin()
        for task in study.tasks:
            progress(f"task {task.name}")
            row, problems = _check_task(study, task.model_dump(), lm, root)
            checked.rows.append(row)
            checked.problems += problems
    return checked


def _describe_model(loaded: models.Loaded) -> str:
    identity = loaded.identity
    parameters = sum(weight.numel() for weight in loaded.model.parameters())
    return (
        f"model {identity['id']}, revision {identity['revision'] or 'not known'}: "
        f"{parameters:,} parameters, {identity['dtype']}, {len(loaded.tokenizer):,} tokens"
    )


def find_changed_files(root: DataRoot, kind: str, repository: str) -> list[str]:
    """Files of a repository that are missing or not those that were fetched, a line each."""
    files = root.manifest()[kind].get(repository, {}).get("files", {})
    sha256 = {f"{kind}/{repository}/{name}": entry["sha256"] for name, entry in files.items()}
    return _find_changed(root, sha256)


def _find_changed(root: DataRoot, sha256: Mapping[str, str]) -> list[str]:
    lines = []
    for name, digest in sha256.items():
        if not (root.folder / name).is_file():
            lines.append(f"{name}: missing, its manifest has it")
        elif records.sha256_file(root.folder / name) != digest:
            lines.append(f"{name}: not the file that was fetched (its sha256 differs)")
    return lines


def _check_task(study: Study, spec: Mapping[str, Any], lm, root: DataRoot | None):
    """One task's row, and what is wrong with it."""
    name, folders = spec["name"], [bench.tasks_dir()]
    try:
        sources = task_data.find_sources(name, folders)
    except task_data.UnknownData as error:
        return (name, UNKNOWN, UNKNOWN, UNKNOWN, "no"), [f"{name}: {error}"]
    repositories = list(dict.fromkeys(source.repository for source in sources))
    where = ", ".join(_name_configs(repository, sources) for repository in repositories)
    commits = [root.commit("datasets", repository) if root else None for repository in repositories]
    revision = ", ".join((commit or UNKNOWN)[:SHORT] for commit in commits) or UNKNOWN
    documents, prompt = UNKNOWN, "no"
    problems = task_data.find_missing_data(root, [name], folders) if root else []
    if not problems:
        documents, prompt, problem = _render_first_prompt(study, spec, sources, lm)
        if problem:
            problems = [problem]
        elif root is not None:
            problems = [
                line for r in repositories for line in find_changed_files(root, "datasets", r)
            ]
    return (name, documents, where or "package", revision, prompt), problems


def _name_configs(repository: str, sources) -> str:
    configs = {s.config for s in sources if s.repository == repository and s.config}
    named = min(configs) if len(configs) == 1 else f"{len(configs)} configurations"
    return f"{repository} ({named})" if configs else repository


def _list_columns(sources: list[task_data.Source]) -> str:
    """The columns that a task's data sets of the hub have, repository by repository."""
    import datasets

    found = {}
    for source in sources:
        with quiet_libraries(), data_root.local_datasets(data_root.current_data_root()):
            loaded = datasets.load_dataset(source.repository, source.config)
        found[source.repository] = ", ".join(next(iter(loaded.values())).column_names)
    return "".join(f"; {name} has the columns {columns}" for name, columns in found.items())


def _render_first_prompt(
    study: Study, spec: Mapping[str, Any], sources, lm
) -> tuple[str, str, str | None]:
    """Documents, a word about the first prompt, and what is wrong (or None)."""
    from ppmlib.evaluation import taskrun, tasks
    from ppmlib.evaluation.prompt_format import bos_warning, why_bos
    from ppmlib.evaluation.samples import EvaluationError

    name = spec["name"]
    generation = study.generation.model_dump() if study.generation else None
    try:
        task = tasks.load(
            name,
            num_fewshot=spec["num_fewshot"],
            fewshot_seed=study.lm_eval_seeds[3],
            generation=generation,
            folders=[bench.tasks_dir()],
        )
        taskrun.check_task(task, lm, spec)
    except tasks.UnreadableDocuments as error:
        return UNKNOWN, "no", f"{error}{_list_columns(sources)}"
    except EvaluationError as error:
        return UNKNOWN, "no", str(error)
    count = sum(len(sub.eval_docs) for sub in task.tasks.values())
    some = study.subset and study.subset.n < count
    documents = f"{study.subset.n:,} of {count:,}" if some else f"{count:,}"
    longest, chat = 0, study.format_of(spec, "apply_chat_template")
    lm.add_bos_token = study.format_of(spec, "add_bos_token")
    reason = why_bos(lm.tokenizer, lm.model.config.get_text_config().model_type, chat=chat)
    warnings: dict[str, None] = {}
    for sub in task.tasks.values():
        try:
            text = taskrun.first_prompt(
                sub,
                lm,
                apply_chat_template=chat,
                system_instruction=study.format_of(spec, "system_instruction"),
            )
        except tasks.UNREADABLE as error:
            why = f"({type(error).__name__}: {error}){_list_columns(sources)}"
            line = f"{sub.task_name}: its documents are not of the form it reads {why}"
            return documents, "no", line
        with quiet_libraries():  # the tokenizer warns of prompts longer than the model's context
            ids = lm.tok_encode(text)
        longest = max(longest, len(ids))
        leading = next((i for i, t in enumerate(ids) if t != lm.tokenizer.bos_token_id), len(ids))
        if lm.add_bos_token and leading != 1 and lm.tokenizer.bos_token_id is not None:
            line = f"{name}: prompts start with {leading} BOS tokens where add_bos_token asks for 1"
            return documents, "no", line
        if warning := bos_warning([leading], reason):
            warnings[f", warning: {warning}"] = None
    cut = f", cut to {lm.max_length:,}" if longest > lm.max_length else ""
    return documents, f"ok, {longest:,} tokens{cut}{''.join(warnings)}", None


def format_table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows under their column names as aligned text."""
    columns = zip(COLUMNS, *rows, strict=True)
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
