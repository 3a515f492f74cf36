"""Does everything a study needs load, with the network off? `ppm check`, before any GPU time.

The model's weights are hashed, held against its config and searched for values that are not finite
without being read into memory, the tokenizer is loaded, and every task is loaded with all its
documents and renders its first prompt.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    names = ("connect", "connect_ex")
    before = {name: getattr(socket.socket, name) for name in names}
    look_up = socket.getaddrinfo
    for name in names:
        setattr(socket.socket, name, refuse)
    socket.getaddrinfo = refuse
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(socket.socket, name, original)
        socket.getaddrinfo = look_up


def check(study: Study, study_file: Path, progress: Callable[[str], None]) -> Checked:
    """Load all that a study needs, without a network.

    Args:
        study: the study in `study_file`.
        progress: called with a line before each step.
    Raises:
        ParamsError: for mistakes in the study file itself.
    """
    from ppmlib.evaluation import backends

    checked, root = Checked(), data_root.current()
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
        missing = task_data.missing(root, names, [bench.tasks_dir()]) if root else []
        return Checked(problems=[str(error), *missing])
    checked.notes.append(_model_line(loaded))
    if root is not None:
        checked.problems += _changed(root, study)
        if not (root.folder / data_root.MANIFEST).exists():
            checked.notes.append(
                "the data root has no manifest: revisions, hashes and row counts are not compared"
            )
    if study.apply_chat_template and not loaded.tokenizer.chat_template:
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
            row, problems = _task(study, task.model_dump(), lm, root)
            checked.rows.append(row)
            checked.problems += problems
    return checked


def _model_line(loaded: models.Loaded) -> str:
    identity = loaded.identity
    parameters = sum(weight.numel() for weight in loaded.model.parameters())
    return (
        f"model {identity['id']}, revision {identity['revision'] or 'not known'}: "
        f"{parameters:,} parameters, {identity['dtype']}, {len(loaded.tokenizer):,} tokens"
    )


def _changed(root: DataRoot, study: Study) -> list[str]:
    """The model's and nltk's files that are not as they were fetched, a line each."""
    lines = changed_files(root, "models", study.model.id)
    for name, digest in root.manifest()["nltk_data"].items():
        line = _changed_file(root, f"nltk_data/{name}", digest)
        lines += [line] if line else []
    return lines


def _changed_file(root: DataRoot, name: str, digest: str) -> str | None:
    if not (root.folder / name).is_file():
        return f"{name}: missing, its manifest has it"
    if records.sha256_file(root.folder / name) != digest:
        return f"{name}: not the file that was fetched (its sha256 differs)"
    return None


def changed_files(root: DataRoot, kind: str, repository: str) -> list[str]:
    """Files of a repository that are missing or not those that were fetched, a line each."""
    entry = root.manifest()[kind].get(repository, {"files": {}})
    lines = [
        _changed_file(root, f"{kind}/{repository}/{name}", said["sha256"])
        for name, said in entry["files"].items()
    ]
    return [line for line in lines if line]


def _task(study: Study, spec: Mapping[str, Any], lm, root: DataRoot | None):
    """One task's row, and what is wrong with it."""
    name, folders = spec["name"], [bench.tasks_dir()]
    try:
        sources = task_data.sources(name, folders)
    except task_data.UnknownData as error:
        return (name, UNKNOWN, UNKNOWN, UNKNOWN, "no"), [f"{name}: {error}"]
    repositories = list(dict.fromkeys(source.repository for source in sources))
    where = ", ".join(_with_configs(repository, sources) for repository in repositories)
    commits = [root.commit("datasets", repository) if root else None for repository in repositories]
    revision = ", ".join((commit or UNKNOWN)[:SHORT] for commit in commits) or UNKNOWN
    label = (name, where or "package", revision)
    problems = task_data.missing(root, [name], folders) if root else []
    if problems:
        return _row(label, UNKNOWN, "no"), problems
    documents, prompt, problem = _first_prompt(study, spec, sources, lm)
    if root is not None:
        changed = [line for r in repositories for line in changed_files(root, "datasets", r)]
        problems = [] if problem else changed
    return _row(label, documents, prompt), [*problems, *([problem] if problem else [])]


def _row(label: tuple[str, str, str], documents: str, prompt: str) -> tuple[str, ...]:
    name, where, revision = label
    return (name, documents, where, revision, prompt)


def _with_configs(repository: str, sources) -> str:
    configs = {s.config for s in sources if s.repository == repository and s.config}
    if not configs:
        return repository
    return (
        f"{repository} ({min(configs) if len(configs) == 1 else f'{len(configs)} configurations'})"
    )


def _columns(sources: list[task_data.Source]) -> str:
    """The columns that a task's data sets of the hub have, repository by repository."""
    import datasets

    found = {}
    for source in sources:
        with quiet_libraries(), data_root.local_datasets(data_root.current()):
            loaded = datasets.load_dataset(source.repository, source.config)
        found[source.repository] = ", ".join(next(iter(loaded.values())).column_names)
    return "".join(f"; {name} has the columns {columns}" for name, columns in found.items())


def _first_prompt(
    study: Study, spec: Mapping[str, Any], sources, lm
) -> tuple[str, str, str | None]:
    """Documents, a word about the first prompt, and what is wrong (or None)."""
    from ppmlib.evaluation import taskrun, tasks
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
        return UNKNOWN, "no", f"{error}{_columns(sources)}"
    except EvaluationError as error:
        return UNKNOWN, "no", str(error)
    count = sum(len(sub.eval_docs) for sub in task.tasks.values())
    documents = f"{count:,}"
    if study.subset and study.subset.n < count:
        documents = f"{study.subset.n:,} of {count:,}"
    longest = 0
    for sub in task.tasks.values():
        try:
            text = taskrun.first_prompt(sub, lm, apply_chat_template=study.apply_chat_template)
        except tasks.UNREADABLE as error:
            return documents, "no", (
                f"{sub.task_name}: its documents are not of the form it reads "
                f"({type(error).__name__}: {error}){_columns(sources)}"
            )  # fmt: skip
        with quiet_libraries():  # the tokenizer warns of prompts longer than the model's context
            longest = max(longest, len(lm.tok_encode(text)))
    cut = f", cut to {lm.max_length:,}" if longest > lm.max_length else ""
    return documents, f"ok, {longest:,} tokens{cut}", None


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows under their column names as aligned text."""
    whole = [COLUMNS, *rows]
    widths = [max(len(row[i]) for row in whole) for i in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in whole]  # fmt: skip
