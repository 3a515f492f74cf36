import copy
import itertools
import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from ppmlib.model import device, glu
from ppmlib.profile import limits, profiling, ratios
from ppmlib.profile.widths import Widths
from ppmlib.prune import slicing
from ppmlib.show import efficiency_sentences, efficiency_tables
from ppmlib.show.figures import efficiency as plots

WORK = profiling.Workload("fixed", prompt_tokens=6, new_tokens=4, batch_sizes=(1, 3))
ROUNDS = profiling.Rounds(warmup=2, repeats=3)
PREFILL_S, STEP_S = 5.0, 0.5


class FakeCache:
    def __init__(self, positions, batch):
        self.positions, self.batch = positions, batch

    def get_seq_length(self):
        return self.positions

    @property
    def layers(self):
        keys = torch.zeros(self.batch, 1, self.positions, 2)
        return [SimpleNamespace(keys=keys, values=keys)]


class FakeModel:
    """Every pass takes a known time on a clock of its own; `slow` seconds are added to each."""

    def __init__(self):
        self.now, self.slow, self.calls = 0.0, 0.0, []

    def clock(self):
        return self.now

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, *, input_ids, past_key_values, **options):
        assert "attention_mask" not in options
        batch, tokens = input_ids.shape
        seen = past_key_values.positions if past_key_values else 0
        self.calls.append((batch, tokens, seen))
        self.now += (STEP_S if seen else PREFILL_S) + self.slow
        output = torch.zeros(batch, 1, 9)
        return SimpleNamespace(logits=output, past_key_values=FakeCache(seen + tokens, batch))


class FakeWidths:
    """Two widths; installing one takes long, and the first `ROUNDS.warmup` visits run slow."""

    def __init__(self, model):
        self.model, self.runs, self.visits = model, ("dense/r0.00", "ppm/r0.50"), []

    @contextmanager
    def install(self, run):
        self.model.now += 1000.0
        self.visits.append(run)
        self.model.slow = 77.0 if self.visits.count(run) <= ROUNDS.warmup else 0.0
        yield self.model

    def parked_bytes(self, run):
        return 0


def profile_fake(generate=profiling.greedy):
    model = FakeModel()
    widths = FakeWidths(model)
    sets = profiling.draw_prompt_sets([WORK], ROUNDS, 9, [0])
    rows = profiling.profile(widths, [WORK], sets, ROUNDS, clock=model.clock, generate=generate)
    return model, widths, rows


def tiny_llama(**changes):
    torch.manual_seed(0)
    settings = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 50,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "max_position_embeddings": 64,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**settings | changes)).eval()


def keep_of(model, k):
    rows = [torch.randperm(glu.intermediate_size(model))[:k].sort().values for _ in range(2)]
    return torch.stack(rows)


def test_loading_slicing_settling_and_warm_up_are_outside_the_window():
    _, widths, rows = profile_fake()
    assert [(r["run"], r["batch_size"]) for r in rows] == [
        (run, batch) for run in widths.runs for batch in WORK.batch_sizes
    ]
    for row in rows:
        assert row["repeats"]["ttft_s"] == [PREFILL_S] * ROUNDS.repeats
        assert row["repeats"]["tpot_s"] == [STEP_S] * ROUNDS.repeats
        assert row["total_s"] == PREFILL_S + 3 * STEP_S == row["end_to_end_s"]


def test_only_generated_tokens_count_not_prompts_nor_warm_up():
    _, _, rows = profile_fake()
    for row in rows:
        assert row["tokens"] == row["batch_size"] * WORK.new_tokens
        assert row["tokens_per_s"] == pytest.approx(row["tokens"] / (PREFILL_S + 3 * STEP_S))


def test_every_width_does_the_same_passes():
    model, widths, _ = profile_fake()
    per_visit = len(model.calls) / len(widths.visits)
    settle = [(1, 6, 0), (1, 1, 6)]
    measured = [(1, 6, 0), (1, 1, 6), (1, 1, 7), (1, 1, 8)]
    assert model.calls[:6] == settle + measured
    assert per_visit == 10 + 8 * ROUNDS.repeats / (ROUNDS.warmup + ROUNDS.repeats)


def test_a_width_that_stops_early_is_an_error():
    def stops_early(model, ids, new_tokens, mark):
        return profiling.greedy(model, ids, min(new_tokens, 3), mark)

    with pytest.raises(RuntimeError, match=r"\(1, 3\) tokens came back, \(1, 4\) were asked for"):
        profile_fake(stops_early)


def test_padding_after_an_early_stop_is_an_error():
    def pads(model, ids, new_tokens, mark):
        tokens, cache = profiling.greedy(model, ids, min(new_tokens, 3), mark)
        padding = torch.zeros(len(ids), new_tokens - tokens.shape[1], dtype=torch.int64)
        return torch.cat([tokens, padding], 1), cache

    with pytest.raises(RuntimeError, match="the cache holds 8 positions, not 9"):
        profile_fake(pads)


def test_prompts_are_seeded_full_length_and_free_of_special_ids():
    ids = profiling.draw_prompts(WORK, 9, [0, 3], seed=0)
    assert ids.shape == (3, 6)
    assert set(ids.unique().tolist()) <= {1, 2, 4, 5, 6, 7, 8}
    assert torch.equal(ids, profiling.draw_prompts(WORK, 9, [0, 3], seed=0))
    assert not torch.equal(ids, profiling.draw_prompts(WORK, 9, [0, 3], seed=1))


@pytest.mark.parametrize("change", [{"new_tokens": 1}, {"prompt_tokens": 0}, {"batch_sizes": (0,)}])
def test_impossible_workloads_are_refused(change):
    with pytest.raises(ValueError):
        profiling.Workload(**vars(WORK) | change)


@pytest.mark.parametrize("change", [{"repeats": 0}, {"warmup": -1}, {"prompt_seeds": (1, 2, 3, 4)}])
def test_impossible_rounds_are_refused(change):
    with pytest.raises(ValueError):
        profiling.Rounds(**vars(ROUNDS) | change)


def test_rounds_take_turns_with_the_prompt_sets_and_every_workload_is_measured():
    model = FakeModel()
    widths = FakeWidths(model)
    rounds = profiling.Rounds(warmup=2, repeats=3, prompt_seeds=(42, 123))
    longer = profiling.Workload("longer", prompt_tokens=7, new_tokens=5, batch_sizes=(1,))
    sets = profiling.draw_prompt_sets([WORK, longer], rounds, 9, [0])
    assert len({ids.sum() for ids in sets.values()}) == len(sets) == 4
    seen = []

    def watched(model, ids, new_tokens, mark):
        seen.append(next(key for key, all_ids in sets.items() if ids[0].equal(all_ids[0])))
        return profiling.greedy(model, ids, new_tokens, mark)

    rows = profiling.profile(
        widths, [WORK, longer], sets, rounds, clock=model.clock, generate=watched
    )
    assert [(row["workload"], row["batch_size"]) for row in rows[:3]] == [
        ("fixed", 1), ("fixed", 3), ("longer", 1),
    ]  # fmt: skip
    assert rows[2]["total_s"] == PREFILL_S + 4 * STEP_S
    assert {row["prompt_tokens"] for row in rows if row["workload"] == "longer"} == {7}
    starts = [0, 8, 16, 30, 44, 58]  # measured rounds time every job a second time, as a whole
    per_round = [seen[first:end] for first, end in itertools.pairwise(starts)]
    assert [{seed for _, seed in each} for each in per_round] == [{42}, {123}, {42}, {123}, {42}]
    assert len(seen) == starts[-1]
    assert all(row["repeats"]["prompt_seed"] == [42, 123, 42] for row in rows)


def test_rounds_interleave_all_widths_and_rotate_the_first():
    runs = list("abcde")
    order = profiling.order_visits(runs, 5, seed=0)
    assert all(sorted(visited) == runs for visited in order)
    assert sorted(visited[0] for visited in order) == runs
    _, widths, _ = profile_fake()
    halves = np.reshape(widths.visits, (-1, 2))
    assert all(set(pair) == set(widths.runs) for pair in halves)
    assert len(set(halves[:, 0])) == 2


@pytest.mark.parametrize("mlp_bias", [False, True])
def test_installed_widths_equal_sliced_models_and_leave_the_dense_model_unchanged(mlp_bias):
    model = tiny_llama(mlp_bias=mlp_bias)
    before = {name: (p.data_ptr(), p.clone()) for name, p in model.named_parameters()}
    keep, ids = keep_of(model, 7), torch.arange(10)[None]
    sliced = copy.deepcopy(model)
    slicing.slice_mlps(sliced, keep)
    widths = Widths(model, {"dense/r0.00": None, "ppm/r0.71": keep})
    dense_logits = model(ids).logits
    with widths.install("ppm/r0.71") as narrow:
        assert torch.equal(narrow(ids).logits, sliced(ids).logits)
        assert narrow.config.intermediate_size == 7
        assert glu.parameter_count(narrow) == glu.parameter_count(sliced)
    with pytest.raises(KeyboardInterrupt), widths.install("ppm/r0.71"):
        raise KeyboardInterrupt
    assert torch.equal(model(ids).logits, dense_logits)
    assert model.config.intermediate_size == 24
    assert model.model.layers[0].mlp.down_proj.in_features == 24
    for name, parameter in model.named_parameters():
        pointer, values = before[name]
        assert parameter.data_ptr() == pointer and torch.equal(parameter, values)


def test_only_the_mlp_weights_of_a_width_are_new():
    model = tiny_llama()
    widths = Widths(model, {"ppm/r0.71": keep_of(model, 7)})
    dense = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    with widths.install("ppm/r0.71"):
        new = {n for n, p in model.named_parameters() if p.data_ptr() != dense[n]}
    assert new == {name for name in dense if ".mlp." in name}
    assert widths.parked_bytes("ppm/r0.71") == 2 * 3 * 16 * 24 * 4


def test_described_widths_follow_the_closed_form():
    model = tiny_llama()
    widths = Widths(model, {"dense/r0.00": None, "ppm/r0.71": keep_of(model, 7)})
    dense, narrow = (widths.describe(run) for run in widths.runs)
    assert (dense["pruning_ratio"], dense["expansion_ratio"]) == (0, 1.5)
    assert narrow["pruning_ratio"] == 1 - 7 / 24
    assert narrow["weights_bytes"] == 4 * glu.pruned_parameter_count(model, 7)
    assert narrow["weights_bytes_computed"] == narrow["weights_bytes"]
    assert dense["weights_bytes_computed"] == dense["weights_bytes"] > narrow["weights_bytes"]


def test_greedy_equals_generate_without_end_of_sequence():
    model, ids = tiny_llama(), torch.arange(1, 13).reshape(2, 6)
    tokens, cache = profiling.greedy(model, ids, 5, lambda: None)
    reference = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, min_new_tokens=5,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    assert torch.equal(tokens, reference[:, 6:])
    assert cache.get_seq_length() == 6 + 5 - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cache_bytes_in_closed_form_equal_those_of_the_tensors(dtype):
    model = tiny_llama().to(dtype)
    _, cache = profiling.greedy(model, torch.ones(3, 6, dtype=torch.int64), 5, lambda: None)
    expected = 2 * 2 * 2 * 4 * dtype.itemsize * 3 * 10
    assert profiling.count_cache_bytes(cache) == expected
    assert limits.kv_cache_bytes(model, 3, 10) == expected


@pytest.mark.parametrize("tokens", [1, 6])
def test_prefill_flops_equal_those_that_torch_counts(tokens):
    model = tiny_llama(attn_implementation="eager")
    ids = torch.ones(3, tokens, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids, logits_to_keep=1)
    layers_by_channels, masked_pairs = 2 * 16, tokens * (tokens - 1) // 2
    masked = 3 * 4 * layers_by_channels * masked_pairs
    counted = counter.get_total_flops() - masked
    assert limits.prefill_flops(model, 3, tokens) == counted


def test_decode_flops_are_those_of_one_pass_with_a_cache():
    model = tiny_llama(attn_implementation="eager")
    _, cache = profiling.greedy(model, torch.ones(3, 6, dtype=torch.int64), 1, lambda: None)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones(3, 1, dtype=torch.int64), past_key_values=cache, logits_to_keep=1)
    # Two new tokens: one decode step, which sees the six prompt positions and its own.
    assert limits.decode_flops(model, 3, 6, 2) == counter.get_total_flops()


def test_decode_reads_an_embedding_only_when_it_is_the_head():
    tied, untied = (tiny_llama(tie_word_embeddings=tie) for tie in (True, False))
    assert limits.decode_bytes(tied, 1, 6, 4) == limits.decode_bytes(untied, 1, 6, 4)


def test_a_decode_step_reads_the_cache_that_it_leaves_on_the_average():
    model = tiny_llama()
    caches = [
        profiling.greedy(model, torch.ones(3, 6, dtype=torch.int64), new, lambda: None)[1]
        for new in (2, 3, 4)
    ]
    read = [profiling.count_cache_bytes(cache) for cache in caches]
    bytes_read = limits.pass_bytes(model) + sum(read) / 3
    assert limits.decode_bytes(model, 3, 6, 4) == bytes_read


def row(run, ttft, batch=1):
    repeats = {"ttft_s": ttft, "tpot_s": ttft, "total_s": ttft}
    quartiles = {k: v for name in repeats for k, v in ratios.spread(name, ttft).items()}
    work = {"workload": "fixed", "batch_size": batch, "prompt_tokens": 6, "new_tokens": 11}
    limits = {"ttft_limit_s": 0.1, "tpot_limit_s": 0.1}
    return {"run": run, **work, "repeats": repeats, **limits, **quartiles}


def test_overlapping_ranges_are_no_measurable_difference():
    dense = row("dense/r0.00", [1.0, 1.1, 1.2])
    apart, overlapping, one_round = (
        row("a", [0.5, 0.5, 0.6]), row("b", [1.0, 1.0, 1.15]), row("c", [0.5, 0.5, 1.3])
    )  # fmt: skip
    gains = ratios.speed_ups([dense, apart, overlapping, one_round], "dense/r0.00")
    assert [g["differs"] for g in gains if g["phase"] == "decode"] == [True, False, False]
    assert gains[0]["speed_up"] == 2.0
    assert gains[0]["limit_speed_up"] == 1.0


def test_break_even_is_the_answer_made_in_the_dense_models_time():
    dense, narrow = row("dense/r0.00", [1.0, 2.0, 3.0]), row("ppm/r0.50", [0.5, 1.0, 1.5])
    (found,) = ratios.break_even([dense, narrow], "dense/r0.00")
    # Dense: 11 tokens in 11 s; at half the time per pass 22 tokens in the same time.
    assert found["length_ratio"] == found["length_ratio_q25"] == 2.0


def width(run, neurons, requested, multiple):
    return {"run": run, "intermediate_size": neurons, "requested": requested,
            "keep_multiple_of": multiple}  # fmt: skip


def test_alignment_compares_the_same_ratio_and_names_widths_that_are_one():
    described = [
        width("dense/r0.00", 8192, "r0.00", 1),
        width("ppm/r0.10", 7373, "r0.10", 1), width("ppm/r0.10-m128", 7296, "r0.10", 128),
        width("ppm/r0.50", 4096, "r0.50", 1), width("ppm/r0.50-m128", 4096, "r0.50", 128),
    ]  # fmt: skip
    times = [[9.0, 9.0, 9.0], [3.0, 3.1, 3.2], [1.5, 1.55, 1.6], [2.0, 2.1, 2.2], [2.1, 2.0, 2.2]]
    rows = [row(each["run"], time) for each, time in zip(described, times, strict=True)]
    found = ratios.alignment(rows, described)
    odd, equal = (next(f for f in found if f["requested"] == asked) for asked in ("r0.10", "r0.50"))
    assert (odd["neurons"], odd["aligned_neurons"], odd["multiple"]) == (7373, 7296, 128)
    assert odd["ratio"] == 2.0 and odd["differs"] and not odd["same"]
    assert equal["same"] and not equal["differs"]
    said = efficiency_sentences.alignment_sentences(found)
    assert "measurably faster in 1 of 1 comparisons" in said[0] and "2.00 times" in said[0]
    assert said[-1].startswith("2 comparisons are of a width with itself")
    assert len(efficiency_tables.alignment_table(found)) == len(found) == 4
    assert plots.draw_alignment(found).alt


def test_a_whole_profile_has_limits_tables_figures_and_sentences(tmp_path):
    model = tiny_llama()
    widths = Widths(model, {"dense/r0.00": None, "ppm/r0.71": keep_of(model, 7)})
    sets = profiling.draw_prompt_sets([WORK], ROUNDS, 50, [0, 1, 2])
    rows = profiling.profile(widths, [WORK], sets, ROUNDS)
    rates = {"copy_bytes_per_s": 1e9, "matmul_flop_per_s": 1e9}
    rows = limits.add_limits(rows, widths, rates)
    own = {"keep_multiple_of": 1}
    described = [widths.describe(run) | own for run in widths.runs]
    dense, narrow = rows[1], rows[3]
    assert narrow["tpot_limit_s"] < dense["tpot_limit_s"]
    assert dense["tpot_bytes"] == limits.decode_bytes(model, 3, 6, 4)
    assert dense["mbu"] == dense["tpot_bytes"] / 1e9 / dense["tpot_s"]
    assert dense["mfu"] == dense["ttft_flops"] / 1e9 / dense["ttft_s"]
    assert dense["ttft_limit_s"] == max(dense["ttft_flops"], dense["ttft_bytes"]) / 1e9
    assert dense["kv_cache_bytes"] == dense["kv_cache_bytes_computed"]
    for table, length in (
        (efficiency_tables.widths_table(described), 2),
        (efficiency_tables.times_table(rows), 4),
        (efficiency_tables.limits_table(rows), 4),
        (efficiency_tables.memory_table(rows, described), 4),
        (efficiency_tables.checks_table(rows), 4),
    ):
        assert len(table) == length and not table.isna().any(axis=None)
    sentences = efficiency_sentences.conclusions(rows, described, "dense/r0.00")
    assert sum("times the dense speed" in sentence for sentence in sentences) == 4
    gains = ratios.speed_ups(rows, "dense/r0.00")
    for figure in (
        plots.draw_times(rows, described, name="ppm/times"),
        plots.draw_memory(rows, described, name="ppm/memory"),
        plots.draw_speed(gains, described, dense="dense/r0.00", name="ppm/speed"),
    ):
        assert all(file.is_file() for file in figure.write(tmp_path))


def test_peak_memory_is_measured_anew_or_said_to_be_unmeasurable():
    meter = device.peak_meter(torch.device("cpu"))
    meter.reset()
    before = meter.read()
    if before is None:
        assert meter.what.startswith("not measurable here")
        return
    block = torch.ones(2**26, dtype=torch.uint8)
    assert meter.read() - before > 0.9 * block.nbytes
    del block
    meter.reset()
    assert meter.read() - before < 0.5 * 2**26


def test_rates_of_the_device_are_plausible():
    rates = device.limits(torch.device("cpu"), torch.float32)
    assert 1e8 < rates["copy_bytes_per_s"] < 1e13
    assert 1e8 < rates["matmul_flop_per_s"] < 1e15


def test_the_notebook_runs_bare_on_a_real_model(tmp_path, monkeypatch):
    if "PPMLIB_TEST_DATA" not in os.environ:
        pytest.skip("PPMLIB_TEST_DATA is not set: no real model at hand")
    papermill = pytest.importorskip("papermill")
    from ppmlib.record import records

    notebook = Path(__file__).parents[1] / "notebooks" / "4_profiling.ipynb"
    model = str(Path(os.environ["PPMLIB_TEST_DATA"]) / "models" / "stories260K")
    small = {"pruning_ratios": [0.4], "batch_sizes": [2], "new_tokens": 3, "repeats": 2}
    monkeypatch.chdir(tmp_path)
    papermill.execute_notebook(
        notebook, "out.ipynb", {"model": model, **small}, kernel_name="python3", cwd=tmp_path
    )
    record = records.read(tmp_path / "ppm-out", "ppm/4_profiling")
    assert [width["intermediate_size"] for width in record["results"]["widths"]] == [172, 104]
    assert [row["tokens"] for row in record["measured"]["rows"]] == [6, 6]
    assert record["measured"]["energy"] and record["results"]["random_weights"] is False
