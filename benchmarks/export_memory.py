"""Export from file to file against pruning in memory and `save_pretrained`.

    python benchmarks/export_memory.py --shape llama-3.2-3b --folder /some/disk

Writes a checkpoint of the shape with random bfloat16 weights into a new folder (6.4 GB for
llama-3.2-3b), exports it both ways at 40%, each in a fresh process, compares the tensors, deletes
everything. Prints a table and one JSON line. Anonymous memory is what the process asked for itself,
not files it has mapped.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import torch
from memory import process_bytes
from safetensors import safe_open

from ppmlib import bench
from ppmlib.model import device, glu, models, random_shapes
from ppmlib.model.checkpoint import weight_files
from ppmlib.prune import export, slicing
from ppmlib.study_file.selection import Selection

RATIO = 0.4
SAMPLE_S = 0.01


class AnonymousPeak:
    """The most anonymous memory of this process while the block runs, sampled."""

    def __enter__(self):
        self.bytes, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self.bytes = max(self.bytes, process_bytes("RssAnon"))

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()


def keep_of(layers: int, width: int) -> torch.Tensor:
    """Random neurons, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    count = Selection(pruning_ratio=RATIO).keep_count(width, 1)
    chosen = [torch.randperm(width, generator=generator)[:count] for _ in range(layers)]
    return torch.stack(chosen).sort(dim=1).values


def make(shape: str, folder: Path) -> None:
    model = random_shapes.build(f"shape:{shape}", "bfloat16", "cpu")
    model.save_pretrained(folder, max_shard_size="5GB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(bench.model_dir("bench") / name, folder / name)


def streamed(source: Path, target: Path) -> None:
    loaded = models.load(str(source), dtype="bfloat16", device="meta")
    keep = keep_of(len(glu.glu_mlps(loaded.model)), glu.intermediate_size(loaded.model))
    export.export(loaded, keep, target, Selection(pruning_ratio=RATIO))


def in_memory(source: Path, target: Path) -> None:
    loaded = models.load(str(source), dtype="bfloat16", device="cpu")
    keep = keep_of(len(glu.glu_mlps(loaded.model)), glu.intermediate_size(loaded.model))
    slicing.slice_mlps(loaded.model, keep, reuse_memory=True)
    loaded.model.save_pretrained(target, max_shard_size="5GB")


SIDES = {"streamed": streamed, "save_pretrained": in_memory}


def alike(one: Path, other: Path) -> bool:
    """Whether two folders hold the same tensors."""
    where = {}
    for file in weight_files(other):
        with safe_open(file, framework="pt") as tensors:
            where |= dict.fromkeys(tensors.keys(), file)
    for file in weight_files(one):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():
                with safe_open(where.pop(name), framework="pt") as others:
                    if not torch.equal(tensors.get_tensor(name), others.get_tensor(name)):
                        return False
    return not where


def main() -> None:
    """Make, export both ways, compare, delete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=random_shapes.SHAPES, default="llama-3.2-3b")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--side", choices=[*SIDES, "make"])
    asked = parser.parse_args()
    if asked.side == "make":
        return make(asked.shape, asked.folder)
    if asked.side:
        started = time.perf_counter()
        with AnonymousPeak() as peak:
            SIDES[asked.side](asked.folder / "dense", asked.folder / asked.side)
        found = {"seconds": time.perf_counter() - started, "anonymous_mb": peak.bytes / 1e6}
        print(json.dumps(found | {"resident_mb": process_bytes("VmHWM") / 1e6}))
        return None
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="ppmlib-export-") as name:
        folder, command = Path(name), [sys.executable, __file__, "--shape", asked.shape]
        subprocess.run([*command, "--side", "make", "--folder", str(folder / "dense")], check=True)
        rows = {}
        for side in SIDES:
            arguments = [*command, "--side", side, "--folder", name]
            done = subprocess.run(arguments, capture_output=True, text=True, check=True)
            rows[side] = json.loads(done.stdout.splitlines()[-1])
        size = sum(file.stat().st_size for file in weight_files(folder / "dense"))
        summary = {
            "shape": asked.shape,
            "dense_gb": round(size / 1e9, 3),
            "same_tensors": alike(folder / "streamed", folder / "save_pretrained"),
            "copy_gb_per_s": round(device.copy_bandwidth(torch.device("cpu")) / 1e9, 2),
        }
    print(pd.DataFrame(rows).round(1).to_string())
    for side, row in rows.items():
        summary |= {f"{side}_{key}": round(value, 1) for key, value in row.items()}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
