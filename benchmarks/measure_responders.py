"""Measure what trivial baselines score on IFEval: makes `trivial_responders.csv`.

    python benchmarks/measure_responders.py --data-root D --output FILE

Every answer goes through lm-eval's own `ifeval` task, with langdetect (seeded) and nltk's punkt as
they are, over all 541 prompts. The data root holds `datasets/google/IFEval` and `nltk_data`.
"""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import click

from ppmlib import bench
from ppmlib.data import data_root
from ppmlib.evaluation import harness, tasks, trivial_baselines
from ppmlib.model import models
from ppmlib.record import records

COLUMNS = (
    *("response", "kind", "prompt_strict_count", "prompt_level_strict_acc"),
    *("inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc"),
)
NEW_TOKENS = 100_000  # more than any answer has: none is cut
SEEDS = (0, 1234, 1234, 1234)
CONSTANTS = {
    '"the"': "the",
    '"a"': "a",
    "the*200": "the " * 200,
    "the*1000": "the " * 1000,
    "newline-the*300": "the\n" * 300,
    "THE*400": "THE " * 400,
    '"." ': ". ",
    "i am not sure what you mean": "i am not sure what you mean",
}
ECHOES: dict[str, Callable[[str], str]] = {
    "echo prompt once": lambda prompt: prompt,
    "echo prompt x4 newline": lambda prompt: "\n".join([prompt] * 4),
    "the prompt lower": str.lower,
    "lower w/o commas of prompt": lambda prompt: prompt.lower().replace(",", ""),
}
ANSWERS: dict[str, tuple[str, Callable[[str], str]]] = {
    "empty": ("empty", lambda prompt: ""),
    **{name: ("constant", lambda prompt, text=text: text) for name, text in CONSTANTS.items()},
    **{name: ("echo", change) for name, change in ECHOES.items()},
}


class _Given(trivial_baselines.Responder):
    """Answers with a function of the prompt."""

    def __init__(self, change: Callable[[str], str], tokenizer) -> None:
        super().__init__("echo", tokenizer, max_length=2 * NEW_TOKENS)
        self.change = change

    def answer(self, prompt: str, limit: int) -> str:
        """The function's answer; the limit is not reached with this tokenizer."""
        return self.change(prompt)


def measure(name: str, task: tasks.LoadedTask, tokenizer) -> dict[str, str | int | float]:
    """One row of the table: the four IFEval scores of one answer to every prompt of the task."""
    kind, change = ANSWERS[name]
    results = harness.run(
        _Given(change, tokenizer), task, indices=None, seeds=SEEDS, apply_chat_template=False
    )
    strict = [entry["prompt_level_strict_acc"] for entry in results["samples"]["ifeval"]]
    scores = results["results"]["ifeval"]
    row = {"response": name, "kind": kind, "prompt_strict_count": int(sum(strict))}
    return row | {column: round(scores[f"{column},none"], 4) for column in COLUMNS[3:]}


def load_task() -> tasks.LoadedTask:
    """lm-eval's own `ifeval`, in which no answer is cut."""
    task = tasks.load(
        "ifeval",
        num_fewshot=0,
        fewshot_seed=SEEDS[3],
        generation=None,
        folders=[bench.tasks_dir()],
    )
    limit = {"max_gen_toks": NEW_TOKENS}
    task.tasks["ifeval"].set_config("generation_kwargs", limit, update=True)
    return task


@click.command(help=__doc__.splitlines()[0])
@click.option("--data-root", "folder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(folder: Path, output: Path) -> None:
    """Measure every answer and write the table."""
    os.environ |= data_root.environment(folder)
    task, (tokenizer, _) = load_task(), models.load_tokenizer("bench")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name in ANSWERS:
        writer.writerow(measure(name, task, tokenizer))
    records.write_text(output, text.getvalue())


if __name__ == "__main__":
    main()
