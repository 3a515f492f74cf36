"""Joules are held by closed forms with a monitor that counts known watts; words stand elsewhere."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from rapl_counter import TOKEN_J
from test_profiling import PREFILL_S, STEP_S, FakeModel, FakeWidths

from ppmlib.profile import counters, energy, profiling
from ppmlib.show import efficiency_sentences, efficiency_tables
from ppmlib.show.figures import efficiency as plots

WORK = profiling.Workload("fixed", prompt_tokens=6, new_tokens=4, batch_sizes=(1, 3))
SETS = profiling.draw_prompt_sets([WORK], profiling.Rounds(0, 1), 9, [0])
GPU_W, CPU_W, IDLE_GPU_W = 200.0, 50.0, 80.0
RUNS = ("dense/r0.00", "ppm/r0.50")


class FakeMonitor:
    """Counts GPU_W while a model runs and IDLE_GPU_W otherwise; CPU_W always."""

    def __init__(self, model, cpu=True):
        self.model, self.cpu, self.started = model, cpu, {}

    def begin_window(self, name):
        self.started[name] = (self.model.now, len(self.model.calls))

    def end_window(self, name):
        started, calls = self.started.pop(name)
        seconds = self.model.now - started
        watts = GPU_W if len(self.model.calls) > calls else IDLE_GPU_W
        cpu = {0: CPU_W * seconds} if self.cpu else None
        return SimpleNamespace(
            time=seconds, gpu_energy={0: watts * seconds}, cpu_energy=cpu, dram_energy=None
        )


def measured(cpu=True, generate=profiling.greedy):
    model = FakeModel()
    widths = FakeWidths(model)
    model.installed = widths.visits

    def sleep(seconds):
        model.now += seconds

    meter = counters.Meter("known watts", FakeMonitor(model, cpu))
    return energy.measure(
        widths, [WORK], SETS, meter, seconds=40.0, repeats=3, generate=generate,
        clock=model.clock, sleep=sleep,
    )  # fmt: skip


def test_joules_per_token_follow_from_watts_and_seconds():
    found = measured()
    assert [(r["run"], r["batch_size"]) for r in found["rows"]] == [
        (run, batch) for run in RUNS for batch in WORK.batch_sizes
    ]
    watts = GPU_W + CPU_W
    for row in found["rows"]:
        batch = row["batch_size"]
        # FakeWidths runs slow on the first two visits; the median of three is of a slow one.
        slow = row["repeats"][-1]
        assert slow["joules_per_prompt_token"] == pytest.approx(watts * PREFILL_S / (6 * batch))
        assert slow["joules_per_generated_token"] == pytest.approx(watts * STEP_S / batch)
        assert slow["joules_per_generation"] == pytest.approx(watts * (PREFILL_S + 3 * STEP_S))
        assert slow["joules_per_generated_token_gpu"] == pytest.approx(GPU_W * STEP_S / batch)
        assert slow["mean_w"] == pytest.approx(watts)


def test_idle_is_measured_the_same_way_and_taken_off():
    found = measured()
    assert [idle["all"] for idle in found["idle_w"]] == [IDLE_GPU_W + CPU_W] * 3
    above = GPU_W - IDLE_GPU_W
    row = found["rows"][0]["repeats"][-1]
    assert row["joules_per_generated_token_net"] == pytest.approx(above * STEP_S)
    assert row["joules_per_prompt_token_net"] == pytest.approx(above * PREFILL_S / 6)


def test_the_gpu_is_not_shown_twice_when_nothing_else_was_counted():
    row = measured(cpu=False)["rows"][0]
    assert "joules_per_prompt_token_gpu" not in row
    assert row["repeats"][-1]["joules_per_prompt_token"] == pytest.approx(GPU_W * PREFILL_S / 6)


def test_loading_and_warm_up_are_outside_the_energy_window():
    watts, model = GPU_W + CPU_W, FakeModel()
    meter = counters.Meter("known watts", FakeMonitor(model))
    widths = FakeWidths(model)
    found = energy.measure(
        widths, [WORK], SETS, meter, seconds=7.0, repeats=3, clock=model.clock,
        sleep=lambda seconds: setattr(model, "now", model.now + seconds),
    )  # fmt: skip
    # Installing takes 1000 s on this clock: one joule of it would show.
    row = found["rows"][0]["repeats"][-1]
    assert row["joules_per_generation"] == pytest.approx(watts * (PREFILL_S + 3 * STEP_S))


def test_the_first_pass_of_each_kind_after_installing_is_not_counted():
    seen = set()

    def first_is_slow(model, ids, new_tokens, mark):
        kind = (len(model.installed), len(ids), new_tokens)
        model.now += 0.0 if kind in seen else 500.0
        seen.add(kind)
        return profiling.greedy(model, ids, new_tokens, mark)

    assert measured(generate=first_is_slow)["rows"] == measured()["rows"]


def test_a_width_that_stops_early_spends_no_joules_unseen():
    def stops_early(model, ids, new_tokens, mark):
        return profiling.greedy(model, ids, min(new_tokens, 3), mark)

    with pytest.raises(RuntimeError, match=r"\(1, 3\) tokens came back, \(1, 4\) were asked for"):
        measured(generate=stops_early)


def test_a_counter_that_stands_still_is_an_error_not_zero_joules():
    still = SimpleNamespace(time=0.01, gpu_energy={0: 0.0}, cpu_energy=None, dram_energy=None)
    monitor = SimpleNamespace(begin_window=lambda name: None, end_window=lambda name: still)
    with pytest.raises(energy.StoodStill, match="the energy counter of gpu did not move"):
        energy.measure_window(counters.Meter("", monitor), "work", lambda: None, 0.0)


def test_tables_sentences_and_figure_of_energy():
    found = measured()
    described = [
        {"run": run, "expansion_ratio": ratio, "intermediate_size": 10 * ratio,
         "keep_multiple_of": 1} for run, ratio in zip(RUNS, (4.0, 2.0), strict=True)
    ]  # fmt: skip
    table = efficiency_tables.energy_table(found["rows"])
    assert len(table) == 4 and ("per prompt token, mJ", "GPU alone") in table.columns
    said = efficiency_sentences.energy_sentences(found, described, RUNS[0])
    assert said[0].startswith("Idle, with the model loaded, draws 130.0 W")
    assert any("mJ per generated token dense" in sentence for sentence in said)
    assert "millijoules per token" in plots.draw_energy(found["rows"], described).alt
    assert (
        efficiency_sentences.energy_sentences({"rows": [], "idle_w": []}, described, RUNS[0]) == []
    )


def test_where_nothing_can_be_read_nothing_is_measured():
    widths = FakeWidths(FakeModel())
    nothing = energy.measure(widths, [WORK], SETS, counters.Meter("why"), seconds=1, repeats=1)
    assert nothing == {"what": "why", "idle_w": [], "rows": []} and not widths.visits


class StuckMonitor(FakeMonitor):
    """Counts for so many windows, then its counters stand still."""

    def __init__(self, model, moving):
        super().__init__(model)
        self.moving = moving

    def end_window(self, name):
        found = super().end_window(name)
        self.moving -= 1
        if self.moving < 0:
            found.gpu_energy = {0: 0.0}
        return found


def stuck(moving):
    model = FakeModel()
    meter = counters.Meter("known watts", StuckMonitor(model, moving))
    return energy.measure(
        FakeWidths(model), [WORK], SETS, meter, seconds=40.0, repeats=2, clock=model.clock,
        sleep=lambda seconds: setattr(model, "now", model.now + seconds),
    )  # fmt: skip


def test_a_counter_that_never_moved_is_said_and_one_that_stops_is_an_error():
    never = stuck(0)
    assert never["rows"] == [] and never["idle_w"] == []
    assert never["what"] == (
        "not measurable here: the energy counter of gpu did not move in 40.0 s"
    )
    with pytest.raises(energy.StoodStill):
        stuck(3)


def test_energy_waits_for_every_token_as_the_clock_does(monkeypatch):
    waited = []
    monkeypatch.setattr(
        profiling.devices, "synchronizer", lambda where: lambda: waited.append(where)
    )
    found = measured()
    passes = sum(len(each["repeats"]) for each in found["rows"])
    assert len(waited) >= passes * (1 + WORK.new_tokens)


def test_the_real_zeus_reads_known_joules_from_rapl_and_leaves_no_process(tmp_path):
    pytest.importorskip("zeus")
    script = Path(__file__).with_name("rapl_counter.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["what"] == "RAPL counts the CPU package, all that runs on it"
    assert found["helpers"] == 0
    for row in found["rows"]:
        batch = row["batch_size"]
        assert row["joules_per_prompt_token"] == pytest.approx(TOKEN_J / (6 * batch))
        assert row["joules_per_generated_token"] == pytest.approx(TOKEN_J / batch)
        assert row["joules_per_generation"] == pytest.approx(4 * TOKEN_J)


CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def test_no_zeus_is_said(monkeypatch):
    monkeypatch.setattr(counters, "find_spec", lambda name: None)
    for device in (CPU, CUDA):
        meter = counters.open_meter(device)
        assert meter.monitor is None
        assert meter.what.startswith("not measurable here: zeus is not installed (pip install")


def test_zeus_hidden_from_import_is_said_without_a_trace_of_it():
    code = (
        "import sys; sys.modules['zeus'] = None\n"
        "import torch; from ppmlib.profile import counters\n"
        "print(counters.open_meter(torch.device('cpu')).what)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "zeus is not installed" in done.stdout and not done.stderr


def test_a_gpu_of_another_vendor_is_said(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.2")
    amd, intel = counters.open_meter(CUDA), counters.open_meter(torch.device("xpu"))
    assert amd.monitor is None and "the GPU is AMD's" in amd.what
    assert intel.monitor is None and "the device is xpu" in intel.what


@pytest.fixture
def zeus(monkeypatch, tmp_path):
    """A stand-in for zeus with switches: what of it is there, what it refuses."""
    state = SimpleNamespace(
        rapl=True, nvml=True, opened=[], memory=False, counts=True, uuid="GPU-1234", gpus=1,
        trouble={}, name="NVIDIA H100",
    )  # fmt: skip

    def raising(what, value):
        def call(*arguments):
            if what in state.trouble:
                raise state.trouble[what]
            return value()

        return call

    def cpus():
        zones = [int(folder.name.split(":")[1]) for folder in sorted(tmp_path.iterdir())]
        dram = SimpleNamespace(supports_get_dram_energy_consumption=lambda: state.memory)
        listed = [SimpleNamespace(cpu_index=zone, **vars(dram)) for zone in zones]
        return SimpleNamespace(cpus=listed, rapl_dir=tmp_path)

    class Gpus:
        gpus = (SimpleNamespace(handle="handle"),)

        def __len__(self):
            return state.gpus

        def supports_get_total_energy_consumption(self, index):
            return state.counts

        get_total_energy_consumption = staticmethod(raising("counter", lambda: 7))

    errors = ModuleType("zeus.device.exception")
    errors.ZeusBaseCPUError = type("ZeusBaseCPUError", (Exception,), {})
    errors.ZeusBaseGPUError = type("ZeusBaseGPUError", (Exception,), {})
    common = ModuleType("zeus.device.cpu.common")
    common.ZeusCPUNoPermissionError = type("NoPermission", (errors.ZeusBaseCPUError,), {})
    cpu, gpu = ModuleType("zeus.device.cpu"), ModuleType("zeus.device.gpu")
    cpu.rapl_is_available, cpu.get_cpus = lambda: state.rapl, raising("cpus", cpus)
    gpu.nvml_is_available = raising("nvml", lambda: state.nvml)
    gpu.get_gpus = raising("gpus", Gpus)
    monitor = ModuleType("zeus.monitor")

    def opened(**indices):
        raising("monitor", lambda: None)()
        return state.opened.append(indices) or "monitor"

    monitor.ZeusMonitor = opened
    device = ModuleType("zeus.device")
    device.cpu, device.gpu = cpu, gpu
    pynvml = ModuleType("pynvml")
    pynvml.nvmlDeviceGetUUID = lambda handle: state.uuid
    for module in (ModuleType("zeus"), device, cpu, common, gpu, monitor, errors, pynvml):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(counters, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: state.name)
    properties = SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    state.errors, state.common = errors, common

    def zone(number, name):
        folder = tmp_path / f"intel-rapl:{number}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")

    state.zone = zone
    zone(0, "package-0")
    return state


def test_no_rapl_is_said_on_a_cpu(zeus):
    zeus.rapl = False
    assert counters.open_meter(CPU) == counters.Meter(
        "not measurable here: this CPU shows no RAPL counters"
    )


def test_rapl_for_root_only_is_said(zeus):
    zeus.trouble["cpus"] = zeus.common.ZeusCPUNoPermissionError()
    assert counters.open_meter(CPU).what.endswith("the RAPL counters may be read by root only")


def test_a_laptops_zone_of_everything_is_not_counted_beside_its_package(zeus):
    zeus.zone(1, "psys")
    assert counters.open_meter(CPU).what == "RAPL counts the CPU package, all that runs on it"
    assert zeus.opened == [{"gpu_indices": [], "cpu_indices": [0]}]


def test_memory_that_is_counted_is_said_to_be(zeus):
    zeus.memory = True
    assert "the CPU package and their memory" not in counters.open_meter(CPU).what
    assert "the CPU package and its memory" in counters.open_meter(CPU).what


def test_no_nvml_is_said_on_a_gpu(zeus):
    zeus.nvml = False
    assert counters.open_meter(CUDA).what.startswith("not measurable here: NVML cannot be reached")


@pytest.mark.parametrize(
    "switch", [{"uuid": "GPU-5678"}, {"gpus": 0}], ids=["another", "none by this index"]
)
def test_another_gpu_than_torchs_is_not_read(zeus, switch):
    vars(zeus).update(switch)
    meter = counters.open_meter(CUDA)
    assert meter.monitor is None and "CUDA_DEVICE_ORDER" in meter.what and not zeus.opened


def test_a_slice_of_a_gpu_is_said_not_to_be_counted(zeus):
    zeus.name = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert counters.open_meter(CUDA).what.endswith("a MIG slice, and NVML counts whole GPUs only")


def test_a_gpu_without_a_counter_is_said_not_integrated_from_power(zeus):
    zeus.counts = False
    assert "older than Volta" in counters.open_meter(CUDA).what and not zeus.opened


def test_what_the_driver_refuses_is_said_before_anything_is_timed(zeus):
    for what in ("gpus", "counter", "monitor"):
        zeus.trouble = {what: zeus.errors.ZeusBaseGPUError("not supported")}
        assert "NVML refuses to count this GPU" in counters.open_meter(CUDA).what
    zeus.trouble = {"gpus": ValueError("invalid literal for int(): 'GPU-1234'")}
    assert "CUDA_VISIBLE_DEVICES" in counters.open_meter(CUDA).what
    for device, where in ((CUDA, "nvml"), (CPU, "monitor")):
        zeus.trouble = {where: ImportError("Unofficial pynvml package detected!")}
        assert "pip uninstall pynvml" in counters.open_meter(device).what


def test_what_is_counted_is_said_and_only_the_models_device_is_opened(zeus):
    zeus.zone(1, "package-1")
    assert "2 CPU packages" in counters.open_meter(CPU).what
    both = counters.open_meter(CUDA)
    assert both.monitor == "monitor" and "RAPL also counts 2 CPU packages" in both.what
    zeus.rapl = False
    assert "so the CPU is not counted" in counters.open_meter(CUDA).what
    assert zeus.opened == [
        {"gpu_indices": [], "cpu_indices": [0, 1]},
        {"gpu_indices": [0], "cpu_indices": [0, 1]},
        {"gpu_indices": [0], "cpu_indices": []},
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_process_that_a_kernel_spawned_dies_with_it():
    code = (
        "import ctypes, runpy\n"
        "runpy.run_module('ppmlib.workflow.kernel', run_name='__mp_main__')\n"
        "signum = ctypes.c_int()\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(signum))\n"
        "print(signum.value)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == signal.SIGKILL
