"""A Llama-3.2-1B-shaped model with random weights through a study's stages: time and peak memory.

    python benchmarks/large_model.py --shape llama-3.2-1b --documents 4

The weights are written once as a bfloat16 checkpoint, together with the bench model's small
tokenizer, and then read as any model's are: loaded, scored, pruned, and evaluated on a seeded
subset of bench tasks. What the random model scores means nothing. Each stage is printed as it ends:
seconds, the peak of anonymous memory (what is not a file's pages); at the end a table with that
peak in copies of the dense weights. Linux only.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ppmlib import bench
from ppmlib.evaluation import run as evaluation
from ppmlib.model import glu, models, random_shapes
from ppmlib.prune import kept_neurons, scoring, slicing
from ppmlib.study_file.selection import Selection

TASKS = [
    {"name": "bench_knowledge", "num_fewshot": 0, "metric": "acc", "filter": "none",
     "axis": "knowledge"},
    {"name": "bench_instructions", "num_fewshot": 0, "metric": "prompt_level_strict_acc",
     "filter": "none", "axis": "instruction"},
]  # fmt: skip
SAMPLE_EVERY_S = 0.005


def anonymous_bytes() -> int:
    """This process's anonymous resident memory, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status tells no RssAnon")


class Stages:
    """Runs stages one after another, each with its time and its peak of anonymous memory."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work of a stage and note what it took; returns what the work returns."""
        peak, done = [anonymous_bytes()], threading.Event()

        def watch() -> None:
            while not done.wait(SAMPLE_EVERY_S):
                peak[0] = max(peak[0], anonymous_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        try:
            return work()
        finally:
            took = time.perf_counter() - started
            done.set()
            watcher.join()
            row = {"stage": name, "seconds": took, "peak_anonymous_bytes": peak[0],
                   "after_bytes": anonymous_bytes()}  # fmt: skip
            self.rows.append(row)
            print(json.dumps(row), flush=True)


def write_checkpoint(shape: str, folder: Path) -> int:
    """Write the random model and a tokenizer; the bytes of its weights."""
    model = random_shapes.build(f"{random_shapes.PREFIX}{shape}", "bfloat16", "cpu")
    model.save_pretrained(folder)
    for name in models.TOKENIZER_FILES:
        file = bench.model_dir("bench") / name
        if file.is_file():
            shutil.copy(file, folder)
    return sum(p.numel() * p.element_size() for p in model.parameters())


def measure(folder: Path, ratio: float, documents: int, batch_size: int) -> Stages:
    """All stages in this process."""
    stages = Stages()
    loaded = stages.run("load", lambda: models.load(str(folder), dtype="bfloat16", device="cpu"))
    values = stages.run("score", lambda: scoring.score_model(loaded.model, "ppm", 0))
    kept = stages.run(
        "choose", lambda: kept_neurons.choose_neurons(
            loaded.model, Selection(pruning_ratio=ratio), model_scores=values)
    )  # fmt: skip
    stages.run("slice", lambda: slicing.slice_mlps(loaded.model, kept.keep, reuse_memory=True))
    with tempfile.TemporaryDirectory() as root:
        for task in TASKS:
            stages.run(
                task["name"],
                lambda task=task: evaluation.evaluate(
                    loaded,
                    [task],
                    root=Path(root),
                    run=kept.run,
                    kept_inputs={"keep_sha256": kept.keep_sha256},
                    batch_size=batch_size,
                    add_bos_token=True,
                    softmax_dtype="float32",
                    subset={"n": documents, "seed": 0},
                    floors=[],
                ),
            )
    if glu.intermediate_size(loaded.model) != kept.k:
        raise RuntimeError("the model was not sliced")
    return stages


def main() -> None:
    """Make the model, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="llama-3.2-1b", choices=sorted(random_shapes.SHAPES))
    parser.add_argument("--ratio", type=float, default=0.4)
    parser.add_argument("--documents", type=int, default=4, help="per task")
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ppm-large-") as folder:
        made = Path(folder, "model")
        # In another process, which leaves nothing of it in this one's memory.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            weights = pool.apply(write_checkpoint, (arguments.shape, made))
        stages = measure(made, arguments.ratio, arguments.documents, arguments.batch_size)
    table = pd.DataFrame(stages.rows).set_index("stage")
    table["dense copies at the peak"] = table["peak_anonymous_bytes"] / weights
    shown = table.assign(
        **{"peak GB": table["peak_anonymous_bytes"] / 1e9, "after GB": table["after_bytes"] / 1e9}
    ).drop(columns=["peak_anonymous_bytes", "after_bytes"])
    print(f"{arguments.shape}: {weights / 1e9:.2f} GB of bfloat16 weights")
    print(shown.round(2).to_string())
    print(json.dumps({"weights_bytes": weights, "threads": torch.get_num_threads(),
                      "stages": stages.rows, **vars(arguments)}))  # fmt: skip


if __name__ == "__main__":
    main()
