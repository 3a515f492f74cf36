"""Neurons removed from a weight in its own memory: no second copy, no new memory to page in.

Kept indices ascend, so what stays only moves towards the front. The rest of the memory goes back to
the operating system at once; the address range goes with the tensor.
"""

import ctypes
import mmap
import os
import sys

import torch
from torch import Tensor

BLOCK_BYTES = 1 << 21  # moved at a time through a buffer that stays in cache
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # gathered faster than 16-bit floats


def can_compact(weight: Tensor) -> bool:
    """Whether `compact` may be used: on Linux, for a weight that owns its CPU memory.

    It may not for one inside a memory-mapped file or one that shares its storage.
    """
    return (
        sys.platform == "linux"
        and weight.device.type == "cpu"
        and weight.dim() == 2
        and weight.itemsize in BITS
        and weight.is_contiguous()
        and weight.untyped_storage().nbytes() == weight.nbytes
        and not weight.is_pinned()
    )


def copy_kept(weight: Tensor, kept: Tensor, dim: int) -> Tensor:
    """The kept rows (dim 0) or columns (dim 1) of a weight, in new memory."""
    # index_select is quick for rows and slow for columns, gather the other way round.
    if dim == 0:
        return weight.index_select(0, kept)
    return weight.gather(1, kept.expand(len(weight), -1))


@torch.no_grad()
def compact(weight: Tensor, kept: Tensor, dim: int) -> Tensor:
    """The kept rows (dim 0) or columns (dim 1) of a weight, in the weight's own memory.

    The weight must not be used afterwards.

    Args:
        weight: (rows, columns), for which `can_compact` holds.
        kept: (k,) int64, strictly ascending.
    Returns:
        (k, columns) or (rows, k), contiguous.
    Raises:
        OSError: if the rest of the memory cannot be returned to the operating system.
    """
    rows, columns = weight.shape
    shape = (len(kept), columns) if dim == 0 else (rows, len(kept))
    bits = weight.detach().view(BITS[weight.itemsize])
    values = bits.view(-1)
    step = max(1, BLOCK_BYTES // (columns * weight.itemsize))
    for first in range(0, shape[0], step):
        if dim == 0:
            block = copy_kept(bits, kept[first : first + step], 0)
        else:
            block = copy_kept(bits[first : first + step], kept, 1)
        start = first * shape[1]
        values[start : start + block.numel()] = block.view(-1)
    return _front(weight, shape)


def _front(weight: Tensor, shape: tuple[int, int]) -> Tensor:
    used = shape[0] * shape[1] * weight.itemsize
    start = weight.data_ptr()
    first = -(-(start + used) // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (start + weight.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > first:
        libc = ctypes.CDLL(None, use_errno=True)
        rest = ctypes.c_void_p(first), ctypes.c_size_t(end - first)
        if libc.madvise(*rest, mmap.MADV_DONTNEED):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    memory = (ctypes.c_char * used).from_address(start)
    memory.owner = weight.untyped_storage()
    return torch.frombuffer(memory, dtype=weight.dtype).view(shape)
