"""How a run is evaluated: settings checked, what of them is fingerprinted, which documents."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ppmlib.evaluation.permuted_baseline import PERMUTATIONS
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.model import hashes
from ppmlib.record import records
from ppmlib.study_file.selection import WIDTH_FLOORS

PROMPT_FORMAT = ("add_bos_token", "apply_chat_template", "system_instruction")
OF_A_TASK = {"batch_size", *PROMPT_FORMAT}  # settings that a task may have for itself
TASK_KEYS = {"name", "num_fewshot", "metric", "filter", "axis"}
# Llama's chat templates write the day into every prompt, which would change from day to day; this
# is the one they fall back to.
CHAT_DATE = "26 Jul 2024"
# What of a model's identity can change its numbers; its name cannot.
MODEL_KEYS = (
    "dtype",
    "weights_sha256",
    "config_sha256",
    "tokenizer_sha256",
    "attn_implementation",
    "device",
)

RESPONDER_KEYS = ("responder", "seed", "tokenizer_sha256")


@dataclass(frozen=True)
class Settings:
    """How every task of a run is evaluated, as `run.evaluate` explains it."""

    batch_size: int
    engine: str
    add_bos_token: bool
    apply_chat_template: bool
    system_instruction: str | None
    max_length: int | None
    softmax_dtype: str | None
    lm_eval_seeds: Sequence[int]
    subset: Mapping[str, int] | None
    generation: Mapping[str, int] | None
    floors: Sequence[str]
    floor_seed: int

    def inputs(self, tokenizer, *, max_length: int) -> dict[str, Any]:
        """The settings as they go into every fingerprint; max_length is the one in effect."""
        sha256 = template_sha256(tokenizer) if self.apply_chat_template else None
        floor = {"seed": self.floor_seed, "permutations": PERMUTATIONS}
        left_out = {"floor_seed", *(() if self.system_instruction else ("system_instruction",))}
        return {
            **{name: value for name, value in asdict(self).items() if name not in left_out},
            "chat_template_sha256": sha256,
            "chat_date": CHAT_DATE if sha256 else None,
            "max_length": max_length,
            "lm_eval_seeds": list(self.lm_eval_seeds),
            "subset": dict(self.subset) if self.subset else None,
            "generation": dict(self.generation) if self.generation else None,
            "floors": dict.fromkeys(self.floors, floor),
        }

    def check(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Refuse settings and tasks that cannot be meant: EvaluationError says why in one line."""
        if not tasks:
            raise EvaluationError("no tasks")
        for spec in tasks:
            if set(spec) - OF_A_TASK != TASK_KEYS:
                raise EvaluationError(
                    f"task {spec.get('name', spec)}: keys are {', '.join(sorted(TASK_KEYS))}, "
                    f"not {', '.join(sorted(spec))}"
                )
        names = [spec["name"] for spec in tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise EvaluationError(f"named twice: {', '.join(twice)}")
        for size in [self.batch_size, *(spec.get("batch_size", 1) for spec in tasks)]:
            if not isinstance(size, int) or size < 1:
                raise EvaluationError(f"batch_size {size!r} is not a positive whole number")
        if len(self.lm_eval_seeds) != 4:
            raise EvaluationError(
                "lm_eval_seeds: four numbers, for random, numpy, torch and few-shot"
            )
        subset, generation = self.subset, self.generation
        if subset is not None and (set(subset) != {"n", "seed"} or subset["n"] < 1):
            raise EvaluationError(f"subset {dict(subset)}: give n (at least 1) and seed")
        limit = {"max_gen_toks"}
        if generation is not None and (set(generation) != limit or generation["max_gen_toks"] < 1):
            raise EvaluationError(f"generation {dict(generation)}: give max_gen_toks, at least 1")
        if unknown := sorted(set(self.floors) - set(WIDTH_FLOORS)):
            known = ", ".join(WIDTH_FLOORS)
            raise EvaluationError(f"no floor {', '.join(unknown)}; there is: {known}")


def template_sha256(tokenizer) -> str | None:
    """The hash of a tokenizer's chat template, None without one."""
    template = tokenizer.chat_template
    return records.fingerprint({"template": template}) if template else None


def own_format(spec: Mapping[str, Any], settings: Mapping[str, Any], tokenizer) -> dict[str, Any]:
    """What a task's prompts have other than the study's, for its fingerprint; empty if nothing."""
    own = {
        name: spec[name]
        for name in PROMPT_FORMAT
        if name in spec and spec[name] != settings.get(name)
    }
    if own.get("apply_chat_template"):
        own |= {"chat_template_sha256": template_sha256(tokenizer), "chat_date": CHAT_DATE}
    return own


def model_inputs(loaded) -> dict[str, Any]:
    """What of a `models.Loaded` goes into a fingerprint; threads count on a CPU only.

    Of a trivial baseline: which it is, its seed, and the tokenizer that counts its tokens.
    """
    identity = loaded.identity
    if "responder" in identity:
        return {key: identity[key] for key in RESPONDER_KEYS}
    inputs = {key: identity[key] for key in MODEL_KEYS}
    if generation := hashes.generation_sha256(loaded.folder):
        inputs["generation_sha256"] = generation
    if str(identity["device"]).startswith("cpu"):
        inputs["threads"] = identity["threads"]
    return inputs


def subset_indices(
    sizes: Mapping[str, int], subset: Mapping[str, int] | None, *, group: str
) -> dict[str, list[int]] | None:
    """Which documents of each task a subset takes: sorted positions; None means all.

    A group's tasks share n in proportion to their sizes, at least one document each.

    Args:
        sizes: documents per task.
        subset: `{n, seed}`.
    Raises:
        EvaluationError: if n is less than the number of the group's tasks.
    """
    if subset is None or subset["n"] >= sum(sizes.values()):
        return None
    if subset["n"] < len(sizes):
        raise EvaluationError(
            f"{group}: subset n {subset['n']} is less than its {len(sizes)} tasks"
        )
    quota = {name: subset["n"] * size / sum(sizes.values()) for name, size in sizes.items()}
    taken = dict.fromkeys(sizes, 1)
    for _ in range(subset["n"] - len(sizes)):
        free = [name for name in sizes if taken[name] < sizes[name]]
        taken[max(free, key=lambda name: quota[name] - taken[name])] += 1
    chosen = {}
    for name, count in taken.items():
        generator = np.random.default_rng([subset["seed"], zlib.crc32(name.encode())])
        positions = generator.choice(sizes[name], count, replace=False)
        chosen[name] = sorted(positions.tolist())
    return chosen
