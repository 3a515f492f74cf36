"""`engine: fast` against lm-eval's own backend on the same requests, side by side in one process.

    python benchmarks/engines.py --model bench
    python benchmarks/engines.py --model shape:llama-3.2-1b --dtype bfloat16 --documents 4
    python benchmarks/engines.py --model shape:llama-3.2-1b --dtype bfloat16 --device cuda

Four kinds of requests: options of questions after a header of five examples, long endings of one
context, perplexity of texts, greedy answers after the same header. Both engines at the batch sizes
asked for; prints a table with times, how many times faster, the largest difference per token, and
one JSON line. Columns `own_`: lm-eval against itself at the first batch size, the measure for
bfloat16. `cpu_times` is the ratio of CPU seconds, which other work on the machine disturbs less.
"""

import argparse
import json
import random
import time

import pandas as pd
import torch
from lm_eval.api.instance import Instance

from ppmlib import bench
from ppmlib.evaluation import backends
from ppmlib.model import models
from ppmlib.model.quiet import quiet_libraries

HEADER_TOKENS, CONTEXT_TOKENS, ENDING_TOKENS, TEXT_TOKENS = 600, 60, 25, 400
NEW_TOKENS = 24


def load(model: str, dtype: str, device: str):
    """A packaged model, or random weights of a shape with the bench model's tokenizer."""
    if not model.startswith("shape:"):
        return models.load(model, dtype=dtype, device=device)
    shaped = models.load(model, dtype=dtype, device=device)
    tokenizer = models.load("bench", device="cpu").tokenizer
    shaped.model.generation_config.eos_token_id = tokenizer.eos_token_id
    return models.Loaded(shaped.model, tokenizer, shaped.identity, None)


def requests(tokenizer, documents: int, longest: int) -> dict[str, list[Instance]]:
    """Requests of each kind, from the bench texts; lengths shrink with a short window."""
    rnd = random.Random(0)
    lines = bench.model_dir("bench").parent.parent / "texts.py"
    words = sorted(set(lines.read_text().replace("_", " ").split()))
    words = [word for word in words if word.isalpha()]
    scale = min(1.0, (longest - NEW_TOKENS - 40) / (HEADER_TOKENS + CONTEXT_TOKENS + ENDING_TOKENS))

    def text(tokens: float) -> str:
        chosen: list[str] = []
        while len(tokenizer.encode(" ".join(chosen), add_special_tokens=False)) < tokens * scale:
            chosen += rnd.choices(words, k=4)
        return " ".join(chosen)

    def instances(kind, arguments):
        return [Instance(kind, {}, a, i, metadata=("t", i, 1)) for i, a in enumerate(arguments)]

    header = text(HEADER_TOKENS)
    questions = [f"{header}\n{text(CONTEXT_TOKENS)}" for _ in range(documents)]
    contexts = [text(CONTEXT_TOKENS * 2) for _ in range(documents)]
    return {
        "5-shot choice": instances(
            "loglikelihood", [(q, " " + text(4)) for q in questions for _ in range(4)]
        ),
        "endings": instances(
            "loglikelihood", [(c, " " + text(ENDING_TOKENS)) for c in contexts for _ in range(4)]
        ),
        "perplexity": instances(
            "loglikelihood_rolling", [(text(TEXT_TOKENS),) for _ in range(documents)]
        ),
        "generation": instances(
            "generate_until",
            [(q, {"until": ["e"], "max_gen_toks": NEW_TOKENS}) for q in questions],
        ),
    }


def timed(loaded, engine: str, batch_size: int, asked) -> tuple[float, float, list, list[int]]:
    """Seconds, CPU seconds, answers, and tokens of each answer's target."""
    lm = backends.load(
        loaded.model,
        loaded.tokenizer,
        batch_size=batch_size,
        add_bos_token=True,
        max_length=None,
        softmax_dtype=None,
        engine=engine,
    )
    lm.begin()
    started, cpu_started = time.perf_counter(), time.process_time()
    with torch.inference_mode(), quiet_libraries():
        answers = getattr(lm, asked[0].request_type)(asked)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    targets = [request.args[-1] for request in asked]
    lengths = [len(lm.tok_encode(t)) if isinstance(t, str) else 1 for t in targets]
    return seconds, cpu_seconds, answers, lengths


def differences(one: list, other: list, lengths: list[int]) -> dict[str, float]:
    """Largest difference of log-probabilities per token; how many answers differ outright."""
    pairs = list(zip(one, other, strict=True))
    if isinstance(one[0], str):
        return {"per_token": float("nan"), "flips": sum(a != b for a, b in pairs)}
    if isinstance(one[0], float):  # perplexity has no greedy flag
        pairs = [((a, None), (b, None)) for a, b in pairs]
    apart = [abs(a[0] - b[0]) / n for (a, b), n in zip(pairs, lengths, strict=True)]
    return {"per_token": max(apart), "flips": sum(a[1] != b[1] for a, b in pairs)}


def main() -> None:
    """Every kind of request, both engines, all batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bench")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load(options.model, options.dtype, options.device)
    longest = loaded.model.config.max_position_embeddings
    rows = []
    for kind, asked in requests(loaded.tokenizer, options.documents, longest).items():
        if options.kinds and kind not in options.kinds:
            continue
        first_plain = None
        for size in options.batch_sizes:
            seconds: dict[str, list[float]] = {"plain": [], "fast": []}
            cpu: dict[str, list[float]] = {"plain": [], "fast": []}
            for _ in range(options.repeats):
                for engine in ("plain", "fast"):
                    took, cpu_took, answers, lengths = timed(loaded, engine, size, asked)
                    seconds[engine].append(took)
                    cpu[engine].append(cpu_took)
                    if engine == "plain":
                        plain = answers
            apart = differences(plain, answers, lengths)
            row = {"kind": kind, "batch": size}
            row |= {f"{engine}_s": min(times) for engine, times in seconds.items()}
            row["times"] = row["plain_s"] / row["fast_s"]
            row["cpu_times"] = min(cpu["plain"]) / min(cpu["fast"])
            row |= apart
            if first_plain is None:
                first_plain = plain
            own = differences(first_plain, plain, lengths)
            rows.append(row | {f"own_{name}": value for name, value in own.items()})
    table = pd.DataFrame(rows)
    best = table.groupby("kind", sort=False)[["plain_s", "fast_s"]].min()
    best["times"] = best["plain_s"] / best["fast_s"]
    print(table.to_string(index=False, float_format="{:.3g}".format))
    print("\nBoth at their best batch size:")
    print(best.to_string(float_format="{:.3g}".format))
    summary = {
        "model": options.model,
        "dtype": options.dtype,
        "device": str(loaded.identity["device"]),
        "documents": options.documents,
        "threads": options.threads,
        "times_at_same_batch": {
            f"{r.kind} {r.batch}": round(r.times, 2) for r in table.itertuples()
        },
        "times_at_best_batch": best["times"].round(2).to_dict(),
        "largest_per_token": table["per_token"].max(),
        "flips": int(table["flips"].sum()),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
