"""Which energy counters can be read here and what they count, or the reason why none can.

NVML counts an NVIDIA GPU from Volta on, RAPL a CPU's packages and, where it can, their memory, both
through zeus. The GPU is the one that torch uses, found by its UUID.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

NOT_HERE = "not measurable here"


@dataclass(frozen=True)
class Meter:
    """A ZeusMonitor, or None where nothing can be read, and what it counts or why not, in words."""

    what: str
    monitor: Any | None = None


def open_meter(device: torch.device) -> Meter:
    """The energy meter of a device, with a sentence on what it counts and leaves out."""
    if device.type not in ("cpu", "cuda"):
        return _none(f"the device is {device.type}; NVIDIA GPUs and CPUs are read")
    if device.type == "cuda" and torch.version.hip is not None:
        return _none("the GPU is AMD's; only NVIDIA GPUs are read, through NVML")
    if find_spec("zeus") is None:
        return _none("zeus is not installed (pip install 'ppmlib[energy]')")
    packages, counted = _rapl()
    if device.type == "cpu":
        if not packages:
            return _none(counted)
        return _open([], packages, f"RAPL counts {counted}, all that runs on it")
    index = torch.cuda.current_device() if device.index is None else device.index
    refused = _nvml(index)
    if refused:
        return _none(refused)
    cpu = f"RAPL also counts {counted}" if packages else f"{counted}, so the CPU is not counted"
    return _open([index], packages, f"NVML counts the GPU, the whole board; {cpu}")


def _none(why: str) -> Meter:
    return Meter(f"{NOT_HERE}: {why}")


def _open(gpus: list[int], packages: list[int], what: str) -> Meter:
    from zeus.device.exception import ZeusBaseGPUError
    from zeus.monitor import ZeusMonitor

    try:  # zeus looks at all GPUs, also where none is to be read
        return Meter(what, ZeusMonitor(gpu_indices=gpus, cpu_indices=packages))
    except (ImportError, ValueError, ZeusBaseGPUError) as error:
        return _none(_why_no_gpus(error))


def _rapl() -> tuple[list[int], str]:
    """CPU packages that RAPL lets this process read, and what they are or why there are none."""
    from zeus.device import cpu
    from zeus.device.cpu.common import ZeusCPUNoPermissionError
    from zeus.device.exception import ZeusBaseCPUError

    if not cpu.rapl_is_available():
        return [], "this CPU shows no RAPL counters"
    try:
        cpus = cpu.get_cpus()
        names = [
            Path(cpus.rapl_dir, f"intel-rapl:{each.cpu_index}", "name").read_text()
            for each in cpus.cpus
        ]
    except ZeusCPUNoPermissionError:
        return [], "the RAPL counters may be read by root only"
    except (ZeusBaseCPUError, OSError) as error:
        return [], f"the RAPL counters cannot be read ({type(error).__name__})"
    # Laptops also have a zone `psys`, which includes the packages and more.
    packages = [i for i, name in enumerate(names) if name.startswith("package")]
    if not packages:
        return [], "RAPL shows no CPU package"
    memory = any(cpus.cpus[i].supports_get_dram_energy_consumption() for i in packages)
    if len(packages) == 1:
        return packages, f"the CPU package{' and its memory' * memory}"
    return packages, f"{len(packages)} CPU packages{' and their memory' * memory}"


def _nvml(index: int) -> str | None:
    """Why NVML cannot count the GPU that torch uses; None if it can."""
    from zeus.device import gpu
    from zeus.device.exception import ZeusBaseGPUError

    if " MIG " in torch.cuda.get_device_name(index):
        return "the GPU is a MIG slice, and NVML counts whole GPUs only"
    try:
        if not gpu.nvml_is_available():
            return "NVML cannot be reached: the NVIDIA driver's library for it is missing"
        gpus = gpu.get_gpus()
        if index >= len(gpus) or _nvml_uuid(gpus, index) != _torch_uuid(index):
            return "NVML and CUDA number the GPUs differently: set CUDA_DEVICE_ORDER to PCI_BUS_ID"
        if not gpus.supports_get_total_energy_consumption(index):
            return "the GPU is older than Volta and has no energy counter"
        gpus.get_total_energy_consumption(index)
    except (ImportError, ValueError, ZeusBaseGPUError) as error:
        return _why_no_gpus(error)
    return None


def _nvml_uuid(gpus, index: int) -> str:
    import pynvml

    return pynvml.nvmlDeviceGetUUID(gpus.gpus[index].handle)


def _torch_uuid(index: int) -> str:
    return f"GPU-{torch.cuda.get_device_properties(index).uuid}"


def _why_no_gpus(error: Exception) -> str:
    """The reason behind an error that zeus raised about GPUs."""
    if isinstance(error, ImportError):
        return "a package named pynvml hides NVIDIA's own (nvidia-ml-py): pip uninstall pynvml"
    if isinstance(error, ValueError):
        return "zeus needs CUDA_VISIBLE_DEVICES to name GPUs by their index, and it does not"
    return f"NVML refuses to count this GPU ({type(error).__name__})"
