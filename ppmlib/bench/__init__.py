"""The bench model: a small Llama trained on a synthetic world, an instrument check with
planted truths, not evidence about any real model.

world.yaml  the words, relations and scenes that the world is made of, and the planted truths
words       the same in Python; invented names, number words
world       facts, rumours and badges of one seed
exercises   sums, moved objects, instructions: prompts with their answers
prose       plain text
documents   the test documents of every task
planted     what the planted tasks are expected to show, declared beforehand
tasks/      lm-eval task YAMLs over local JSONL, with their scoring
models/     the trained weights: bench and bench-small

Their training is in notebooks/bench_training.
"""

from pathlib import Path

MODELS = ("bench", "bench-small")
TASKS = (
    "bench_knowledge",
    "bench_arithmetic",
    "bench_tracking",
    "bench_instructions",
    "bench_truthfulness_mc1",
    "bench_truthfulness_mc2",
    "bench_text",
    "bench_null",
    "bench_fall",
    "bench_trap",
)


def model_dir(name: str) -> Path:
    """Folder of a packaged model, as `from_pretrained` takes it. KeyError if there is none."""
    if name not in MODELS:
        raise KeyError(f"no bench model {name!r}; there are {', '.join(MODELS)}")
    return Path(__file__).parent / "models" / name


def tasks_dir() -> Path:
    """Folder of the task YAMLs, for `lm_eval --include_path` or `TaskManager(include_path=...)`."""
    return Path(__file__).parent / "tasks"
