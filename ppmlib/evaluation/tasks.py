"""lm-eval's tasks, found by name without reading all of them, and loaded as lm-eval does.

Task definitions are lm-eval's own, untouched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from ppmlib.data import data_root
from ppmlib.data.hub import one_line
from ppmlib.evaluation import task_files
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.model.quiet import quiet_libraries

# What a task's templates and functions raise for a document without the fields they use.
UNREADABLE = (TemplateError, LookupError, TypeError, ValueError, AttributeError)
NEW_TOKENS = 256  # lm-eval's own limit where a task sets none


class UnreadableDocuments(EvaluationError):
    """A task's documents lack what its definition uses."""


@dataclass
class LoadedTask:
    """A task, or a group with its tasks in lm-eval's order, ready to be evaluated."""

    name: str
    tasks: dict[str, Task]
    groups: dict[str, Group]

    @property
    def group(self) -> Group | None:
        """The group of this name, or None for a single task."""
        return self.groups.get(self.name)

    @property
    def output_type(self) -> str:
        """lm-eval's output type; a group's tasks joined by commas if they differ."""
        return ",".join(sorted({task.OUTPUT_TYPE for task in self.tasks.values()}))


def _members(manager: TaskManager, name: str) -> list[str]:
    """Names a group refers to, at any depth, itself included."""
    entry = manager.task_index.get(name)
    listed = (entry.cfg or {}).get("task") if entry and entry.kind.name == "GROUP" else None
    below = listed if isinstance(listed, list) else []
    names = [item if isinstance(item, str) else item.get("task") for item in below]
    return [name, *(deep for item in names if item for deep in _members(manager, item))]


def task_manager(name: str, folders: Sequence[Path]) -> TaskManager:
    """A manager that knows a task and, of a group, all its members; only their folders are read.

    Raises:
        EvaluationError: if no task or group has this name; it names the most similar ones.
    """
    own = TaskManager(include_path=list(folders), include_defaults=False)
    if name in own.task_index:
        return own
    files = task_files.lm_eval_files()
    if name not in files:
        similar = get_close_matches(name, [*own.all_tasks, *files], n=5)
        names = ", ".join(similar) or ", ".join(own.all_tasks)
        raise EvaluationError(f"no task {name!r}; similar or known: {names}")
    wanted, read = {files[name].parent}, set()
    while wanted - read:
        read |= wanted
        manager = TaskManager(include_path=sorted(read), include_defaults=False)
        missing = {n for n in _members(manager, name) if n not in manager.task_index}
        wanted = {files[n].parent for n in missing if n in files}
    if missing:
        return TaskManager()
    return manager


def load(
    name: str,
    *,
    num_fewshot: int | None,
    fewshot_seed: int,
    generation: Mapping[str, int] | None,
    folders: Sequence[Path],
) -> LoadedTask:
    """Load a task or group by its lm-eval name, as lm-eval's `simple_evaluate` prepares it.

    Args:
        num_fewshot: examples in the prompt, None as the task's own definition says; a definition
            that says 0 cannot take more.
        generation: `{max_gen_toks: N}` lowers the number of new tokens of generation tasks.
        folders: task folders looked in before lm-eval's own.
    Raises:
        EvaluationError: for an unknown task, a tag, a number of examples the task refuses, or
            documents it cannot have or read.
    """
    manager = task_manager(name, folders)
    try:
        with quiet_libraries(), data_root.local_datasets(data_root.current_data_root()):
            found = manager.load([name])
    except data_root.DataRootError as error:
        raise EvaluationError(f"{name}: {error}") from error
    except OSError as error:  # datasets' own for what is not there or out of reach, among others
        raise EvaluationError(
            f"{name}: its documents cannot be had ({one_line(error)}): `ppm prefetch` "
            "fetches them into a data root, where the hub can be reached"
        ) from error
    except (IndexError, StopIteration) as error:  # lm-eval and datasets read the first document
        raise EvaluationError(f"{name}: no documents") from error
    except UNREADABLE as error:
        raise UnreadableDocuments(
            f"{name}: its documents are not of the form it reads "
            f"({type(error).__name__}: {one_line(error)})"
        ) from error
    loaded = LoadedTask(name, found["tasks"], found.get("groups", {}))
    if loaded.group is None and list(loaded.tasks) != [name]:
        raise EvaluationError(
            f"{name!r} is a tag, not a task: name its tasks, {list(loaded.tasks)}"
        )
    for task_name, task in loaded.tasks.items():
        if task.get_config("num_fewshot") == 0 and num_fewshot:
            raise EvaluationError(
                f"{task_name}: its definition fixes 0 examples, num_fewshot {num_fewshot} would "
                "be ignored; set num_fewshot to 0"
            )
        if num_fewshot is not None:
            task.set_config("num_fewshot", num_fewshot)
        task.set_fewshot_seed(fewshot_seed)
        if generation and task.OUTPUT_TYPE == "generate_until":
            lowered = min(generation["max_gen_toks"], new_tokens(task))
            task.set_config("generation_kwargs", {"max_gen_toks": lowered}, update=True)
    return loaded


def default_spec(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """A task as a row of a study file, by its own definition: shots, first metric, first filter.

    Raises:
        EvaluationError: as `load`, or for a group without a score.
    """
    task = load(name, num_fewshot=None, fewshot_seed=1234, generation=None, folders=folders)
    first = next(iter(task.tasks.values()))
    metrics = list(first.aggregation())
    if task.group is not None:
        metrics = [config.metric for config in task.group.aggregate_metric_list or []]
    if not metrics:
        raise EvaluationError(f"{name}: a group without a score; name its {list(task.tasks)}")
    return {
        "name": name,
        "num_fewshot": first.get_config("num_fewshot") or 0,
        "metric": metrics[0],
        "filter": first._filters[0].name,
        "axis": "",
    }


def new_tokens(task: Task) -> int:
    """The most tokens a generation task lets the model write."""
    kwargs = task.get_config("generation_kwargs") or {}
    return normalize_gen_kwargs(kwargs, NEW_TOKENS)["max_gen_toks"]
