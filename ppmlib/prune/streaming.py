"""A checkpoint's weights copied with fewer neurons, tensor by tensor: safetensors to safetensors.

The new files are sharded like the old ones and keep their tensors' names and order. No tensor is
ever whole in memory: rows go through in blocks, read from a memory map.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppmlib.model import layouts
from ppmlib.model.checkpoint import (
    WEIGHTS,
    WEIGHTS_INDEX,
    ModelError,
    read_json,
    shapes,
    weight_files,
)

BLOCK_BYTES = 32 * 2**20
NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


def copy_weights(source: Path, target: Path, keep: Tensor, dtype: torch.dtype) -> int:
    """Write the weights of a model's folder into another one, with the kept neurons only.

    Args:
        source: a folder with safetensors weights.
        target: an existing folder.
        keep: (num_layers, k) indices, ascending in each layer.
        dtype: of the floating-point tensors written.
    Returns:
        bytes of all tensors written.
    Raises:
        ModelError: if the files do not hold gate, up and down weights of every layer.
    """
    files = weight_files(source)
    names = shapes(source)
    layout = layouts.find_in(names)
    found = {place[:2] for name in names if (place := layouts.place(name)) and place[2] == "weight"}
    if layout is None or found != {(i, part) for i in range(len(keep)) for part in layout.names}:
        raise ModelError(f"{source.name!r}: no gate, up and down weights in each of its layers")
    written = sum(_copy_file(file, target / file.name, layout, keep, dtype) for file in files)
    if [file.name for file in files] != [WEIGHTS]:
        content = read_json(source / WEIGHTS_INDEX) | {"metadata": {"total_size": written}}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (target / WEIGHTS_INDEX).write_text(text, encoding="utf-8")
    return written


def _copy_file(
    source: Path, target: Path, layout: layouts.GluLayout, keep: Tensor, dtype: torch.dtype
) -> int:
    from safetensors import safe_open

    with safe_open(source, framework="pt") as tensors, open(target, "wb") as out:
        names = tensors.offset_keys()  # in the order of their data
        header: dict[str, Any] = {"__metadata__": tensors.metadata() or {"format": "pt"}}
        end = 0
        for name in names:
            part = tensors.get_slice(name)
            shape, kind, width = part.get_shape(), part.get_dtype(), dtype.itemsize
            if kind in NAMES.values():
                kind = NAMES[dtype]
            else:
                width = tensors.get_tensor(name).itemsize
            if cut := _cut(name, shape, layout, keep):
                shape[cut[0]] = len(cut[1])
            size = width * math.prod(shape)
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
            end += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        out.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for block in _blocks(tensors, name, layout, keep):
                block = block.to(dtype) if block.dtype in NAMES else block
                out.write(block.contiguous().reshape(-1).view(torch.uint8).numpy())
        assert out.tell() == 8 + len(text) + end, f"{target.name}: not as long as its header says"
        out.flush()
        os.fsync(out.fileno())
    return end


def _cut(
    name: str, shape: Sequence[int], layout: layouts.GluLayout, keep: Tensor
) -> tuple[int, Tensor] | None:
    """The dimension in which a tensor loses neurons and the indices that stay there, else None."""
    place = layouts.place(name)
    if place is None or (dim := layout.dim(place.projection, place.kind)) is None:
        return None
    return dim, layout.kept_indices(place.projection, keep[place.layer], shape[dim])


def _blocks(tensors, name: str, layout: layouts.GluLayout, keep: Tensor) -> Iterator[Tensor]:
    """A tensor's rows that stay, a block at a time."""
    whole = tensors.get_slice(name)
    shape = whole.get_shape()
    if not shape:
        yield tensors.get_tensor(name)
        return
    cut = _cut(name, shape, layout, keep)
    step = max(1, BLOCK_BYTES // (8 * math.prod(shape[1:])))
    for first in range(0, shape[0], step):
        block = whole[first : first + step]
        if cut is None:
            yield block
            continue
        dim, kept = cut
        if dim == 1:
            yield block.gather(1, kept.expand(len(block), -1))
        else:
            low, high = torch.searchsorted(kept, torch.tensor([first, first + step]))
            yield block.index_select(0, kept[low:high] - first)
