"""Statistics of the rows of weight matrices, at the speed of memory where possible.

On CPUs matrices are cut into strips of rows, read by a pool of threads with one torch thread each:
a strip stays in the cache for all its statistics, and no thread waits for another.
"""

import ctypes
import functools
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

STRIP_VALUES = 1 << 20  # weights a thread reads at a time: 2 MB in bfloat16, 4 in float32
MOST_THREADS = 16  # that read at a time: more only hold more strips in memory


class Reading(NamedTuple):
    """Values of each row of a matrix (I, h).

    of_strip: writes the values of a strip (rows, h) into `out`, a tensor (rows,) or two. The strip
        is in float32, or a part of the matrix's `view`, if there is one, which is no copy.
    values: how many values a row has.
    finish: the matrix and its rows' values, tensors (I,) -> the final values.
    """

    of_strip: Callable[..., Any]
    values: int = 1
    view: Callable[[Tensor], Tensor] | None = None
    finish: Callable[..., tuple[Tensor, ...]] | None = None


def read(weights: Sequence[Tensor], readings: Iterable[Reading]) -> dict[Reading, list]:
    """Every reading of every matrix, each matrix read once.

    Args:
        weights: matrices (I, h) of any float dtype, on any devices. None is copied whole.
    Returns:
        For each reading a list, in the order of `weights`, of tuples of (I,) tensors.
    """
    readings = list(dict.fromkeys(readings))
    weights = [weight.detach() for weight in weights]
    exact = all(reading.view for reading in readings)
    found = {reading: [] for reading in readings}
    strips = []
    for weight in weights:
        rows = max(1, STRIP_VALUES // weight.shape[1])
        if exact and not weight.is_cpu:
            rows = len(weight)
        tasks = []
        for reading in readings:
            given = reading.view(weight) if reading.view else weight
            dtype = given.dtype if reading.view else torch.float32
            values = [given.new_empty(len(weight), dtype=dtype) for _ in range(reading.values)]
            found[reading].append(values)
            outs = zip(*(each.split(rows) for each in values), strict=True)
            tasks.append(zip(given.split(rows), outs, strict=True))
        strips += zip(*tasks, strict=True)

    threads = min(torch.get_num_threads(), MOST_THREADS, len(strips))
    if threads > 1 and all(weight.is_cpu for weight in weights):
        share = -(-len(strips) // threads)
        shares = [strips[first : first + share] for first in range(0, len(strips), share)]
        with one_torch_thread(), ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda some: _read_strips(some, readings), shares))
    else:
        _read_strips(strips, readings)
    return {
        reading: [
            reading.finish(weight, *values) if reading.finish else tuple(values)
            for weight, values in zip(weights, found[reading], strict=True)
        ]
        for reading in readings
    }


def _read_strips(strips: Sequence[tuple], readings: Sequence[Reading]) -> None:
    scratch = {}
    for tasks in strips:
        converted = None
        for reading, (strip, outs) in zip(readings, tasks, strict=True):
            if not reading.view and strip.dtype != torch.float32:
                if converted is None:
                    # One buffer for all strips: new memory would have to be paged in.
                    buffer = scratch.setdefault(strip.device, torch.empty(0, device=strip.device))
                    converted = buffer.resize_(strip.shape).copy_(strip)
                strip = converted
            reading.of_strip(strip, out=outs if reading.values > 1 else outs[0])


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Within the block, and in threads started there, torch uses one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def compiled() -> Callable[..., None] | None:
    """`row_extremes` of row_extremes.c, if the installation could compile it."""
    path = Path(__file__).with_name(f"row_extremes-{sys.platform}-{platform.machine()}.so")
    if not path.exists():
        return None
    function = ctypes.CDLL(str(path)).row_extremes
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 2]
    function.restype = None
    return function


def _bits_on_cpu(weight: Tensor) -> Tensor:
    # CPUs compare integers at the speed of memory, 16-bit floats far more slowly.
    return weight.view(torch.int16) if weight.is_cpu and weight.itemsize == 2 else weight


def _extremes(strip: Tensor, out: tuple[Tensor, Tensor]) -> None:
    highest, lowest = out
    if strip.dtype == torch.int16:
        _extremes_of_bits(strip, highest, lowest)
    elif strip.is_cuda:
        torch.aminmax(strip, dim=1, out=(lowest, highest))
    else:
        # amax and amin apart: on a CPU torch.aminmax is ten times slower.
        torch.amax(strip, 1, out=highest)
        torch.amin(strip, 1, out=lowest)


def _extremes_of_bits(bits: Tensor, highest: Tensor, lowest: Tensor) -> None:
    # The largest signed number is the largest value, the largest unsigned one the smallest.
    function = compiled()
    if function is not None and bits.stride(1) == 1:
        out = highest.data_ptr(), lowest.data_ptr()
        function(bits.data_ptr(), *bits.shape, bits.stride(0), *out)
        return
    # torch is fast at the first, numpy at the second, with the strip in the cache.
    torch.amax(bits, 1, out=highest)
    unsigned, out = (each.numpy().view(np.uint16) for each in (bits, lowest))
    np.maximum.reduce(unsigned, axis=1, out=out)


def _extremes_of_signs(weight: Tensor, highest: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
    if highest.dtype != torch.int16:
        return highest, lowest
    extremes = highest.view(weight.dtype), lowest.view(weight.dtype)
    # Bits misjudge rows of one sign, which are rare.
    one_sign = ((highest < 0) | (lowest >= 0)).nonzero().flatten()
    if len(one_sign):
        odd = weight[one_sign]
        extremes[0][one_sign], extremes[1][one_sign] = odd.amax(dim=1), odd.amin(dim=1)
    return extremes


# The largest and the smallest value of each row, in the dtype of the weights.
EXTREMES = Reading(_extremes, 2, view=_bits_on_cpu, finish=_extremes_of_signs)
NORM1 = Reading(functools.partial(torch.linalg.vector_norm, ord=1, dim=1))
NORM2 = Reading(functools.partial(torch.linalg.vector_norm, ord=2, dim=1))
VARIANCE = Reading(functools.partial(torch.var, dim=1))
