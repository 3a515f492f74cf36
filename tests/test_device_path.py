"""What a GPU is told and asked, in order, without one: a device that is not the CPU.

Tensors on the meta device have shapes and no values: whatever reads a value back raises there.
Tensors that say they are on CUDA hold the order of waiting, clock and memory counter.
"""

from types import SimpleNamespace

import pytest
import torch
from test_profiling import FakeModel, keep_of, tiny_llama

from ppmlib.model import device
from ppmlib.profile import energy, limits, profiling
from ppmlib.profile.counters import Meter
from ppmlib.profile.widths import Widths
from ppmlib.prune import slicing

GPU = torch.device("cuda", 0)
WORK = profiling.Workload("fixed", prompt_tokens=6, new_tokens=3, batch_sizes=(1, 2))


class OnGpu(torch.Tensor):
    """A tensor of the CPU that says it is on the GPU."""

    device = GPU


@pytest.fixture
def told(monkeypatch):
    """What torch.cuda was called for, in order."""
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *where: calls.append("wait"))
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda where: calls.append(f"reset {where}")
    )

    def peak(where):
        calls.append(f"peak {where}")
        return 100

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peak)
    return calls


def watched(calls):
    """A model and a clock that write down when they are used."""
    model = FakeModel()

    def forward(**inputs):
        calls.append("pass")
        return FakeModel.__call__(model, **inputs)

    def clock():
        calls.append("clock")
        return model.now

    return forward, clock


def test_each_token_is_waited_for_before_the_clock_is_read(told):
    model, clock = watched(told)
    ids = torch.ones(1, 6, dtype=torch.int64).as_subclass(OnGpu)
    meter = device.peak_meter(GPU)
    timing = profiling.time_parts(model, ids, 3, meter=meter, clock=clock)
    step = ["pass", "wait", "clock"]
    assert told == ["reset cuda:0", "wait", "clock", *step * 3, "peak cuda:0"]
    assert timing.peak_bytes == 100 and "on the GPU" in meter.what


def test_the_whole_waits_for_each_token_and_reads_the_clock_twice(told):
    model, clock = watched(told)
    ids = torch.ones(1, 6, dtype=torch.int64).as_subclass(OnGpu)
    profiling.time_whole(model, ids, 3, clock=clock)
    assert told == ["wait", "clock", *["pass", "wait"] * 3, "wait", "clock"]


def test_a_rate_is_timed_with_the_device_waited_for_on_both_sides(monkeypatch):
    calls = []
    monkeypatch.setattr(device, "SHORTEST_S", 0.0)
    device._fastest_s(lambda: calls.append("work"), lambda: calls.append("wait"), 2)
    assert calls == ["work", *["wait", "work", "wait"] * 2]


@pytest.fixture
def meta(monkeypatch):
    """The meta device with a way to wait for it; nothing on it has a value to check."""
    waits = []
    monkeypatch.setattr(
        torch, "meta", SimpleNamespace(synchronize=lambda: waits.append(1)), raising=False
    )
    monkeypatch.setattr(slicing, "_check_keep", lambda *keep: None)
    return waits


@pytest.fixture
def sliced_on_meta(meta):
    """Widths of a model on the meta device, their kept indices on the CPU."""
    model = tiny_llama()
    keep = keep_of(model, 7)
    return Widths(model.to("meta"), {"dense/r0.00": None, "ppm/r0.71": keep})


def test_what_is_timed_reads_no_value_back_from_the_device(sliced_on_meta, meta):
    rounds = profiling.Rounds(warmup=1, repeats=2)
    sets = profiling.draw_prompt_sets([WORK], rounds, 50, [0])
    rows = profiling.profile(sliced_on_meta, [WORK], sets, rounds)
    parts, whole = 2 * 3 * 2 * (1 + 3), 2 * 2 * 2 * (1 + 3 + 1)
    assert len(meta) == parts + whole
    rates = {"copy_bytes_per_s": 1e9, "matmul_flop_per_s": 1e9}
    for row in limits.add_limits(rows, sliced_on_meta, rates):
        assert row["kv_cache_bytes"] == row["kv_cache_bytes_computed"]
        assert row["peak_memory_bytes"] is None


def test_what_is_read_back_would_be_noticed(sliced_on_meta):
    ids = torch.ones(1, 6, dtype=torch.int64, device="meta")

    def reads(model, ids, new_tokens, mark):
        tokens, cache = profiling.greedy(model, ids, new_tokens, mark)
        tokens[0, 0].item()
        return tokens, cache

    with pytest.raises(RuntimeError, match="meta"), sliced_on_meta.install("ppm/r0.71") as model:
        profiling.time_whole(model, ids, 3, generate=reads)


def test_joules_are_counted_of_the_same_waited_for_work(sliced_on_meta, meta):
    class Monitor:
        def begin_window(self, name):
            meta.clear()

        def end_window(self, name):
            seen.append(len(meta))
            return SimpleNamespace(
                time=1.0, gpu_energy={0: 1.0}, cpu_energy=None, dram_energy=None
            )  # fmt: skip

    seen = []
    sets = profiling.draw_prompt_sets([WORK], profiling.Rounds(0, 1), 50, [0])
    energy.measure(
        sliced_on_meta, [WORK], sets, Meter("", Monitor()), seconds=0.0, repeats=1,
        sleep=lambda seconds: None,
    )  # fmt: skip
    assert seen == [0, *[1, WORK.new_tokens] * 4]


def test_the_rates_of_a_device_are_measured_on_it_in_the_dtype_of_the_weights(monkeypatch, meta):
    monkeypatch.setattr(device, "SHORTEST_S", 0.0)
    made = []
    to = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, dtype: made.append(dtype) or to(self, dtype)
    )
    rates = device.limits(torch.device("meta"), torch.bfloat16)
    assert made == [torch.bfloat16] * 2 + [torch.float32] * 2
    assert min(rates.values()) > 0 and len(meta) == 3 * 2 * 3


def test_the_faster_of_two_measurements_counts():
    before, after = {"copy": 2.0, "matmul": 5.0}, {"copy": 3.0, "matmul": 4.0}
    assert device.fastest(before, after) == {"copy": 3.0, "matmul": 5.0}
