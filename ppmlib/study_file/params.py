"""The study file: strict, with units.

Study.load   a YAML file to a checked study; one clear line per mistake
Study.runs   every width of every selection, the dense model first
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from ppmlib import bench
from ppmlib.record.evaluation_records import task_slug
from ppmlib.study_file import extends as study_file
from ppmlib.study_file.extends import ParamsError
from ppmlib.study_file.mistakes import explain
from ppmlib.study_file.selection import (
    CHECK,
    CRITERIA,
    NOISE,
    RESPONDERS,
    WIDTH_FLOORS,
    Selection,
    responder_slug,
    selection_slug,
)

Axis = Literal[
    "knowledge",
    "mathematics",
    "reasoning",
    "instruction",
    "truthfulness",
    "commonsense",
    "reading",
    "language",
    "planted",
]
AXES = get_args(Axis)
TRADEOFF_MARGIN_POINTS = 3.0
LONGEST_NAME = 250  # bytes of a file's name
LONGEST_SLUG = 200  # leaves room for endings
# Files of a study have these endings, so no folder of a selection may have one.
FILE_ENDINGS = ("csv", "html", "ipynb", "json", "parquet", "pdf", "png", "safetensors", "tex")
# Files next to a task's own have these, such as a failed notebook's page.
TASK_ENDINGS = (*FILE_ENDINGS, "failed", "lm-eval")


def _check_path(name: str) -> str:
    if name.startswith("~") and not name.startswith("~/"):
        raise ValueError(f"{name!r}: of home folders only ~/ is read")
    if "\0" in name or max(len(part.encode()) for part in name.split("/")) > LONGEST_NAME:
        raise ValueError("no file or folder can have this name")
    return name


def _check_criterion(criterion: str) -> str:
    path, colon, function = criterion.rpartition(".py:")
    if colon and path and function.isidentifier():
        _check_path(criterion)
        _check_file_name("criterion", criterion, selection_slug(criterion), FILE_ENDINGS)
    elif criterion not in (*CRITERIA, NOISE):
        raise ValueError(
            f"unknown criterion {criterion!r}: one of {', '.join(CRITERIA)}, or file.py:function"
        )
    return criterion


def _refuse_control(criterion: str) -> str:
    if criterion in ("random", NOISE):
        raise ValueError(f"{criterion} is a control: list it under controls")
    return criterion


def _check_file_name(what: str, name: str, slug: str, taken: tuple[str, ...]) -> None:
    if len(slug) > LONGEST_SLUG:
        raise ValueError(f"{what} {name!r}: too long for the name of a file or folder")
    if slug.startswith(".") or slug.rpartition(".")[2] in taken:
        raise ValueError(
            f"{what} {name!r}: files named {slug!r} would be hidden, or look like other files of "
            "the study: rename it"
        )


def refuse_alike(what: str, names: list[str], slug: Callable[[str], str]) -> None:
    """ValueError for two names that share a file name; some file systems ignore case."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(slug(name).casefold(), name)
        if other != name:
            raise ValueError(
                f"{what}: {other!r} and {name!r} would share the files {slug(name)!r}: rename one "
                "of them"
            )


def _refuse_repeats(values: list) -> list:
    names = [getattr(value, "name", value) for value in values]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} appears twice")
    return values


Ratio = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Expansion = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Text, AfterValidator(_check_path)]
Criterion = Annotated[str, AfterValidator(_check_criterion)]
Points = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # a margin, in percent of a score
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy, torch and random all take
Minutes = Annotated[float, Field(ge=0.01, le=527040, allow_inf_nan=False)]  # a year
NO_REPEATS = AfterValidator(_refuse_repeats)


class Strict(BaseModel):
    """Unknown keys and silent conversions are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSource(Strict):
    """Which model: packaged name, hub id, or a path written with a leading `.`, `/` or `~`.

    A path leads to a folder or to a GGUF file, whose sha256 may be given. `shape:llama-3.2-1b` has
    random weights of that shape: for profiling alone.
    """

    id: FilePath
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _check_sha256(self):
        if self.sha256 is not None and not self.is_gguf:
            raise ValueError("sha256 is that of a GGUF file: leave it out for other models")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_missing_sha256(self, dump) -> dict[str, Any]:
        # Plans made before it existed stay valid.
        return {k: v for k, v in dump(self).items() if k != "sha256" or v is not None}

    @property
    def is_gguf(self) -> bool:
        """Whether the id names a GGUF file."""
        return self.is_folder and self.id.lower().endswith(".gguf")

    @property
    def is_folder(self) -> bool:
        """Whether the id names a path rather than a packaged or hub model."""
        return self.id.startswith((".", "/", "~"))

    @property
    def is_shape(self) -> bool:
        """Whether the id names a shape with random weights."""
        return self.id.startswith("shape:")


class Task(Strict):
    """One lm-eval task: exact name, shots, and the headline metric with its filter."""

    name: Text
    num_fewshot: Annotated[int, Field(ge=0, le=1000)]
    metric: str
    filter: str = "none"
    axis: Axis
    batch_size: Count | None = None
    add_bos_token: bool | None = None
    apply_chat_template: bool | None = None
    system_instruction: Text | None = None

    def parameters(self) -> dict[str, Any]:
        """The task as a notebook's parameter; batch size and prompt format where it has its own."""
        return self.model_dump(exclude_none=True)


class Control(Strict):
    """Another selection to compare with: `random` needs seeds, the others have none.

    `noise` keeps the full width; its weights are disturbed until `match` on the calibration text
    is that of the study's criterion at each pruning ratio.
    """

    criterion: Criterion
    match: Literal["word_perplexity"] | None = None
    seeds: list[Seed] = []
    pruning_ratios: Annotated[list[Ratio], Field(min_length=1)] | None = None
    tasks: Annotated[list[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _seeds_belong_to_random(self):
        if (self.criterion == "random") != bool(self.seeds):
            raise ValueError("seeds are needed for criterion random, and only there")
        if (self.criterion == NOISE) != (self.match is not None):
            raise ValueError("match: word_perplexity is needed for criterion noise, and only there")
        return self


class Claim(Strict):
    """A claim to test, declared before evaluation; the margin is in points (percent)."""

    task: str
    pruning_ratio: Ratio
    direction: Literal["better", "worse", "equivalent"]
    margin_points: Points

    @model_validator(mode="after")
    def _equivalence_needs_a_margin(self):
        if self.direction == "equivalent" and self.margin_points == 0:
            raise ValueError("an equivalent claim needs margin_points above 0")
        return self


class Calibration(Strict):
    """Text that is in no evaluated task; documents are separated by empty lines."""

    file: FilePath


class Subset(Strict):
    """A seeded subset of n documents per task, the same for every width; marks pages DRAFT."""

    n: Count
    seed: Seed = 0


class Generation(Strict):
    """Generation settings that replace the task's own."""

    max_gen_toks: Count


class Seeds(Strict):
    """Seeds of the analysis."""

    bootstrap: Seed = 0


class ProfiledWork(Strict):
    """One workload of the profiling: tokens of each prompt and of each answer."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    prompt_tokens: Count
    new_tokens: Annotated[int, Field(ge=2)]


class EnergyWindows(Strict):
    """Length of a window of the energy counters, and the number of windows of each kind."""

    seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 5.0
    repeats: Count = 3


class Profiling(Strict):
    """The work that every width does (tokens per row, rows per batch, repeats).

    `workloads` replace `prompt_tokens` and `new_tokens`; repeats alternate between `prompt_seeds`;
    `also_keep_multiples_of` adds every width again, rounded down to each of these multiples.
    """

    prompt_tokens: Count = 64
    new_tokens: Annotated[int, Field(ge=2)] = 16
    workloads: Annotated[list[ProfiledWork], NO_REPEATS] = []
    batch_sizes: Annotated[list[Count], Field(min_length=1), NO_REPEATS] = [1, 8]
    warmup: Count = 1
    repeats: Annotated[int, Field(ge=2, le=10000)] = 5
    prompt_seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    also_keep_multiples_of: Annotated[list[Count], NO_REPEATS] = []
    energy_windows: EnergyWindows = EnergyWindows()

    @model_validator(mode="after")
    def _check_work(self):
        if self.workloads and self.model_fields_set & {"prompt_tokens", "new_tokens"}:
            raise ValueError("give either workloads, or prompt_tokens and new_tokens")
        if self.repeats < len(self.prompt_seeds):
            raise ValueError("repeats must be at least as many as prompt_seeds")
        return self


class TaskLimits(Strict):
    """Limits of the notebooks that evaluate one task, in a study with `split_evaluation`."""

    minutes: Minutes | None = None
    memory_mb: Count | None = None


class Limits(Strict):
    """Minutes after which a notebook is stopped as failed; megabytes that a cluster gives it."""

    notebook_minutes: Minutes = 720.0
    memory_mb: Count | None = None
    tasks: dict[str, TaskLimits] = {}

    @model_validator(mode="after")
    def _memory_of_all_or_none(self):
        if self.memory_mb is None and any(limit.memory_mb for limit in self.tasks.values()):
            raise ValueError("memory_mb of a task needs a memory_mb of the other notebooks")
        return self

    def of_task(self, task: str | None) -> tuple[float, int | None]:
        """Minutes and megabytes of a notebook that evaluates one task, or of any other (None)."""
        own = self.tasks.get(task, TaskLimits())
        return own.minutes or self.notebook_minutes, own.memory_mb or self.memory_mb


@dataclass(frozen=True)
class Run(Selection):
    """One width of one selection, and the tasks it is evaluated on."""

    tasks: tuple[str, ...] = ()


class Study(Strict):
    """One width-pruning study; field by field as in `params/bench.yaml`.

    `tradeoff_margin_points`: the loss of knowledge that the best trade-off excludes, in points.
    """

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    question: Text = (
        "When the expansion ratio falls, which abilities go, which stay, which improve?"
    )
    model: ModelSource
    criterion: Annotated[Criterion, AfterValidator(_refuse_control)] = "ppm"
    pruning_ratios: list[Ratio] | None = None
    expansion_ratios: list[Expansion] | None = None
    keep_multiple_of: Count = 1
    controls: list[Control] = []
    calibration: Calibration | None = None
    floors: Annotated[list[Literal[*WIDTH_FLOORS, *RESPONDERS]], NO_REPEATS] = []
    tasks: Annotated[list[Task], NO_REPEATS]
    claims: list[Claim] = []
    tradeoff_margin_points: Points = TRADEOFF_MARGIN_POINTS
    add_bos_token: bool = True
    apply_chat_template: bool = False
    system_instruction: Text | None = None
    split_evaluation: bool = False
    batch_size: Count = 1
    aa_batch_size: Count | None = None
    engine: Literal["auto", "fast", "plain"] = "auto"
    lm_eval_seeds: Annotated[list[Seed], Field(min_length=4, max_length=4)] = [0, 1234, 1234, 1234]
    softmax_dtype: Literal["float32"] | None = None
    max_length: Count | None = None
    generation: Generation | None = None
    subset: Subset | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    limits: Limits = Limits()
    seeds: Seeds = Seeds()
    profiling: Profiling | None = None

    @model_validator(mode="after")
    def _check_whole(self):
        if (self.pruning_ratios is None) == (self.expansion_ratios is None):
            raise ValueError("give either pruning_ratios or expansion_ratios, not both or neither")
        if not (self.pruning_ratios or self.expansion_ratios):
            raise ValueError("the list of ratios is empty; the dense model is always added")
        if self.subset and self.subset.n < 2 and set(self.floors) & set(WIDTH_FLOORS):
            raise ValueError("subset: one document cannot be permuted; n is at least 2 with floors")
        if self.model.is_shape and (self.tasks or self.controls):
            raise ValueError(
                "a model with random weights cannot be evaluated: tasks and controls must be "
                "empty ([])"
            )
        if not self.tasks and self.profiling is None:
            raise ValueError("tasks is empty and there is no profiling: nothing would be measured")
        if not self.tasks and self.controls:
            raise ValueError("controls are selections to evaluate, and tasks is empty")
        names = [task.name for task in self.tasks]
        refuse_alike("tasks", names, task_slug)
        for name in names:
            _check_file_name("task", name, task_slug(name), TASK_ENDINGS)
        criteria = [self.criterion, *(control.criterion for control in self.controls)]
        refuse_alike("criterion", criteria, selection_slug)
        if CHECK in criteria and self.model.id not in bench.MODELS:
            raise ValueError(f"{CHECK} checks the instrument: only for a packaged bench model")
        if self.limits.tasks and not self.split_evaluation:
            raise ValueError("limits: tasks have their own notebooks only with split_evaluation")
        self._check_known("limits: task", self.limits.tasks, names)
        for control in self.controls:
            if self.expansion_ratios and control.pruning_ratios:
                raise ValueError("controls: pruning_ratios in a study of expansion_ratios")
            self._check_known("controls: task", control.tasks, names)
            if control.criterion == NOISE:
                self._check_noise(control)
        for claim in self.claims:
            self._check_known("claims: task", [claim.task], names)
            if claim.pruning_ratio not in (self.pruning_ratios or ()):
                raise ValueError(f"claims: pruning_ratio {claim.pruning_ratio} is not in the study")
            if self.claims.count(claim) > 1:
                values = " ".join(map(str, dict(claim).values()))
                raise ValueError(f"claims: {values} appears twice")
        keys = [run.key for run in self.runs()]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"runs (a ratio or control): {key} appears twice")
        return self

    def _check_known(self, what: str, wanted: Iterable[str] | None, names: list[str]) -> None:
        for name in wanted or ():
            if name not in names:
                raise ValueError(f"{what} {name!r} is not one of the study's tasks")

    def _check_noise(self, control: Control) -> None:
        for ratio in control.pruning_ratios or ():
            if ratio not in (self.pruning_ratios or ()):
                raise ValueError(
                    f"controls: noise is matched to {self.criterion} at {ratio}, which is not one "
                    "of the study's pruning_ratios"
                )
        if self.calibration is None and self.model.id not in bench.MODELS:
            raise ValueError(
                "controls: noise needs text to be matched on, from no evaluated task: "
                "calibration: {file: my_text.txt}"
            )

    @classmethod
    def load(cls, path: Path) -> "Study":
        """Read and check a study file. ParamsError: a line per mistake, `file: key: mistake`."""
        content, origin = study_file.read(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ParamsError("\n".join(explain(cls, path, origin, error))) from None

    def format_of(self, spec: Mapping[str, Any], name: str) -> Any:
        """A task's prompt format: its own or the study's.

        Args:
            spec: the task as a notebook's parameter.
            name: add_bos_token, apply_chat_template or system_instruction.
        """
        own = spec.get(name)
        return getattr(self, name) if own is None else own

    def batch_size_of(self, task: str) -> int:
        """Documents per batch of a task: its own, or the study's."""
        (own,) = (known.batch_size for known in self.tasks if known.name == task)
        return own or self.batch_size

    def runs(self) -> list[Run]:
        """Every width of every selection: the dense model, the study's criterion, then controls."""
        names, multiple = tuple(task.name for task in self.tasks), self.keep_multiple_of
        runs = [Run(self.criterion, 0, 0.0, None, multiple, names)]
        for chosen in (Control.model_construct(criterion=self.criterion), *self.controls):
            tasks = tuple(name for name in names if name in (chosen.tasks or names))
            ratios = chosen.pruning_ratios or self.pruning_ratios or ()
            widths = [(None, ratio) for ratio in self.expansion_ratios or ()]
            widths = widths or [(ratio, None) for ratio in ratios]
            for seed in chosen.seeds or [0]:
                runs += [Run(chosen.criterion, seed, *width, multiple, tasks) for width in widths]
        return runs

    def responders(self) -> list[Run]:
        """The trivial responders among the floors, as runs without a width over all tasks."""
        names = tuple(task.name for task in self.tasks)
        kinds = [floor for floor in self.floors if floor in RESPONDERS]
        return [Run(responder_slug(kind), pruning_ratio=0.0, tasks=names) for kind in kinds]
