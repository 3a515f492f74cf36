"""A small study's records as the stages write them, made up; with hostile text on demand."""

import base64

from ppmlib.record import records

# 2 by 1 pixels at 192 dots per inch.
SIZED = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x02\x00\x00\x00\x01\x08\x02\x00\x00\x00"
    b"{@\xe8\xdd\x00\x00\x00\tpHYs\x00\x00\x1d\x87\x00\x00\x1d\x87\x01"
).decode()
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe \x1b[31mred\x07 10%\r99%"
)

TASKS = [
    {"name": name, "num_fewshot": 0, "metric": metric, "filter": "none", "axis": axis}
    for name, metric, axis in [
        ("facts", "acc", "knowledge"),
        ("orders", "prompt_level_strict_acc", "instruction"),
        ("text", "word_perplexity", "language"),
    ]
]
RATIOS = {
    "dense/r0.00": (0.0, 4.0, 512),
    "ppm/r0.20": (0.2, 3.2, 410),
    "ppm/r0.40": (0.4, 2.4, 308),
}
RUN = {key: {"run": key, "criterion": key.split("/")[0], "seed": 0, "pruning_ratio": ratio,
             "expansion_ratio": expansion, "intermediate_size": width, "parameters": 1000 * width}
       for key, (ratio, expansion, width) in RATIOS.items()}  # fmt: skip


def verdict(run, task, diff, change, level):
    return {
        **RUN[run], "task": task["name"], "metric": task["metric"], "filter": "none",
        "axis": task["axis"], "n": 300, "method": "McNemar, exact",
        "unit": "percent" if task["name"] == "text" else "points",
        "value": 0.5, "dense_value": 0.5 - diff / 100,
        "diff_points": diff, "ci_low_points": diff - 3, "ci_high_points": diff + 3,
        "p_value": 0.01, "p_adjusted": 0.02, "change": change, "level": level,
        "floor": 0.25, "floor_kind": "chance", "mde_points": 5.2,
    }  # fmt: skip


def fake_study(root, leave_out=(), planted_held=True):
    """Records of a tiny study, as the stages write them, and its plan."""
    jobs = {"1_scoring": "1_scoring"}
    records.write(root, "1_scoring", inputs={}, results={})
    for key, about in RUN.items():
        jobs |= {f"{key}/2_pruning": "2_pruning", f"{key}/3_evaluation": "3_evaluation"}
        records.write(root, f"{key}/2_pruning", inputs={}, results={
            **about, "requested": {"pruning_ratio": about["pruning_ratio"]},
            "intermediate_size_dense": 512, "hidden_size": 128, "num_layers": 2,
            "parameters_dense": 512000, "parameter_reduction": 1 - about["intermediate_size"] / 512,
            "keep_sha256": "ab" * 32, "ties_at_cut": [0, 2]})  # fmt: skip
        described = {task["name"]: {
            "version": "1.0", "num_fewshot": 0, "n": 300, "kind": "accuracy", "truncated": 0,
            "first_prompt": "Where is " + HOSTILE, "first_token_ids": [1]}
            for task in TASKS}  # fmt: skip
        records.write(root, f"{key}/3_evaluation",
                      inputs={"model": {"id": "bench", "dtype": "float32"}, "kept": {"k": key},
                              "settings": {"add_bos_token": True, "subset": None}},
                      results={**about, "rows": [], "tasks": described})  # fmt: skip
    jobs["ppm/4_profiling"] = "4_profiling"
    widths = [
        {**about, "weights_bytes": 4000 * about["intermediate_size"]} for about in RUN.values()
    ]
    timing = {"ttft_s": 0.01, "ttft_s_q25": 0.009, "ttft_s_q75": 0.011, "tpot_s": 0.002,
              "tpot_s_q25": 0.0019, "tpot_s_q75": 0.0021, "tokens_per_s": 480.0,
              "workload": "fixed", "mfu": 0.4, "mbu": 0.5}  # fmt: skip
    rows = [{"run": key, "batch_size": 1, "peak_memory_bytes": None, **timing} for key in RUN]
    records.write(root, "ppm/4_profiling", inputs={}, measured={
        "rows": rows, "joules": {"idle_w": [], "rows": []},
        "peak_memory": "of the process", "energy": "not measurable here",
        "conclusions": ["Decode takes 0.98 of the dense model's time."]}, results={
        "device": "cpu", "random_weights": False, "widths": widths,
        "workloads": [{"name": "fixed", "prompt_tokens": 64, "new_tokens": 16}]})  # fmt: skip
    jobs["5_analysis"] = "5_analysis"
    main = b"the_axis,y\nmath,-0.123456\n"
    files = {"figures/main.png": base64.b64decode(SIZED), "tables/main.csv": main,
             "figures/main.pdf": b"%PDF", "tables/verdicts.tex": b"tex"}  # fmt: skip
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    facts, orders, text = TASKS
    records.write(root, "5_analysis", inputs={}, files=[root / name for name in files], results={
        "study": "fake", "model": "bench", "synthetic": True, "draft": False, "question": "Q?",
        "conclusions": ["Facts fell by 12.0 points at 40%.", f"Hostile: {HOSTILE}"],
        "planted": [{"task": "null", "expected": "null", "declared": "nothing may be found",
                     "found": "nothing was found", "held": planted_held}],
        "verdicts": [verdict("ppm/r0.20", facts, -1, "inconclusive", "above floor"),
                     verdict("ppm/r0.40", facts, -12, "worse", "not above floor"),
                     verdict("ppm/r0.40", orders, 4, "better", "above floor"),
                     verdict("ppm/r0.40", text, 80, "worse", "no floor")],
        "claims": [{"task": "facts", "pruning_ratio": 0.4, "direction": "worse", "margin_points": 0,
                    "holds": True, "p_value": 0.0001, "p_holm": 0.0002,
                    "sentence": "Facts are worse."}],
        "figures": [{"name": "main", "title": "Scores", "alt": "Scores against expansion ratio."}],
        "main_figure": "main", "limits": ["One model only."], "missing": []})  # fmt: skip
    for key in leave_out:
        records.record_path(root, key).unlink()
    settings = {
        "study": "fake", "question": "Which abilities go?", "criterion": "ppm", "controls": [],
        "model": {"id": "bench", "revision": None, "dtype": "float32"}, "keep_multiple_of": 1,
        "pruning_ratios": [0.2, 0.4], "expansion_ratios": None, "profiling": {},
        "tasks": [dict(task) for task in TASKS],
        "claims": [{"task": "facts", "pruning_ratio": 0.4}],
    }  # fmt: skip
    plan = {key: {"stage": stage} for key, stage in jobs.items()}
    return {"study": settings, "synthetic": True, "draft": False, "jobs": plan}


def hostile_study(root):
    """A fake study whose names, sentences and errors are what a hostile model would write."""
    plan = fake_study(root)
    record = records.read(root, "5_analysis")
    results = record["results"]
    results |= {"question": HOSTILE, "conclusions": [HOSTILE, "x" * 50_000 + HOSTILE]}
    results |= {"limits": [HOSTILE], "missing": [HOSTILE]}
    results["figures"][0] |= {"title": HOSTILE, "alt": HOSTILE}
    for row in results["planted"]:
        row |= dict.fromkeys(("task", "expected", "declared", "found"), HOSTILE)
    for row in results["claims"]:
        row |= {"task": HOSTILE, "sentence": "Declared: " + HOSTILE}
    for row in results["verdicts"]:
        row |= {"task": HOSTILE + row["task"], "axis": HOSTILE, "method": HOSTILE}
    for task in plan["study"]["tasks"]:
        task |= {"name": HOSTILE + task["name"], "axis": HOSTILE}
    plan["study"] |= {"study": HOSTILE, "question": HOSTILE}
    files = [root / name for name in record["files"]]
    records.write(root, "5_analysis", inputs={}, results=results, files=files)
    key = "ppm/r0.40/3_evaluation"
    records.record_path(root, key).unlink()
    note = {
        "run": key,
        "cell": 7,
        "interrupted": False,
        "error": "ValueError: " + HOSTILE + "x" * 1_000_000,
    }
    records.write_json(root / "logs" / f"{key}.failed.json", note)
    return plan
