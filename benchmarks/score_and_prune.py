"""Scoring and pruning in memory against optipfair 0.4.2 and the memory bandwidth.

    python benchmarks/score_and_prune.py --shape llama-3.2-1b --repeats 3
    python benchmarks/score_and_prune.py --shape llama-3.2-3b --device cuda

Each side runs in fresh processes, turn by turn, on the same random bfloat16 weights; 40% of the
neurons go. Prints a table and one JSON line. Peaks are what a side needs beyond the model: of the
process on a CPU, of the allocator on a GPU. A third process times scoring like the read bandwidth
it is held against, both as the median of several goes; `score_s` is the first go of a process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import pandas as pd
import torch
from memory import read_bandwidth

from ppmlib.model import device, glu, random_shapes
from ppmlib.prune import kept_neurons, scoring, slicing, weight_rows
from ppmlib.study_file.selection import Selection

RATIO = 0.4
SCORINGS = 5


def ours(model, sync) -> dict[str, float]:
    started = time.perf_counter()
    values = scoring.score_model(model, "ppm")
    scored = time.perf_counter()
    wanted = Selection(pruning_ratio=RATIO)
    keep = kept_neurons.choose_neurons(model, wanted, model_scores=values).keep
    planned = time.perf_counter()
    slicing.slice_mlps(model, keep, reuse_memory=True)
    sync()
    done = time.perf_counter()
    return {
        "score_s": scored - started,
        "select_s": planned - scored,
        "slice_s": done - planned,
        "total_s": done - started,
    }


def time_scoring(model, sync) -> dict[str, float]:
    """Median seconds of scoring a model again and again."""
    took = []
    for _ in range(SCORINGS):
        started = time.perf_counter()
        scoring.score_model(model, "ppm")
        took.append(time.perf_counter() - started)
    return {"score_again_s": statistics.median(took)}


def optipfair(model, sync) -> dict[str, float]:
    from optipfair import prune_model

    started = time.perf_counter()
    prune_model(
        model,
        pruning_type="MLP_GLU",
        neuron_selection_method="PPM",
        pruning_percentage=100 * RATIO,
        show_progress=False,
    )
    sync()
    return {"total_s": time.perf_counter() - started}


SIDES = {"ours": ours, "optipfair": optipfair, "scoring": scoring}


def side(name: str, shape: str, threads: int, where: torch.device) -> None:
    """One side, once, in this process; prints JSON."""
    torch.set_num_threads(threads)
    sync = device.synchronizer(where)
    model = random_shapes.build(f"shape:{shape}", "bfloat16", where)
    layer_bytes = sum(p.nbytes for p in model.model.layers[0].parameters())
    mlps = glu.glu_mlps(model)
    scored_bytes = sum(mlp.gate.weight.nbytes + mlp.up.weight.nbytes for mlp in mlps)
    moved = sum(mlp.down.weight.nbytes for mlp in mlps) + scored_bytes
    if name == "optipfair":
        import optipfair as _  # noqa: F401  its import is not its pruning
    read = read_bandwidth(where)  # also starts the GPU up
    meter = device.peak_meter(where)
    meter.reset()
    before = meter.read()
    found = SIDES[name](model, sync)
    found["peak_extra_mb"] = (meter.read() - before) / 1e6
    found |= {
        "layer_mb": layer_bytes / 1e6,
        "scored_mb": scored_bytes / 1e6,
        "mlps_mb": moved / 1e6,
        "width": glu.intermediate_size(model),
    }
    del model
    found["read_gb_per_s"] = statistics.median([read, read_bandwidth(where)]) / 1e9
    found["copy_gb_per_s"] = device.copy_bandwidth(where) / 1e9
    print(json.dumps(found))


def main() -> None:
    """Turn by turn, then the table of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=random_shapes.SHAPES, default="llama-3.2-1b")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--side", choices=SIDES)
    asked = parser.parse_args()
    if asked.side:
        return side(asked.side, asked.shape, asked.threads, torch.device(asked.device))
    rows = []
    for _ in range(asked.repeats):
        for name in SIDES:
            command = [sys.executable, __file__, "--side", name, "--shape", asked.shape]
            command += ["--threads", str(asked.threads), "--device", asked.device]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"side": name} | json.loads(done.stdout.splitlines()[-1]))
    table = pd.DataFrame(rows).groupby("side").median().T
    print(table.round(3).to_string())
    ours, theirs, again = table["ours"], table["optipfair"], table["scoring"]
    score_gb_per_s = again["scored_mb"] / 1e3 / again["score_again_s"]
    summary = {
        "shape": asked.shape,
        "device": torch.cuda.get_device_name() if asked.device == "cuda" else "cpu",
        "threads": asked.threads,
        "row_extremes_compiled": weight_rows.compiled() is not None,
        "times_faster": theirs["total_s"] / ours["total_s"],
        "score_gb_per_s": score_gb_per_s,
        "score_of_read_bandwidth": score_gb_per_s / again["read_gb_per_s"],
        "extra_layers": ours["peak_extra_mb"] / ours["layer_mb"],
        "extra_layers_optipfair": theirs["peak_extra_mb"] / ours["layer_mb"],
    }
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in summary.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
