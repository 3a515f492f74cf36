"""A checkpoint's weights copied with fewer neurons, tensor by tensor: safetensors to safetensors.

The new files are sharded like the old ones and keep their tensors' names and order. No tensor is
ever whole in memory: rows go through in blocks, read from a memory map.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppmlib.model.checkpoint import WEIGHTS, WEIGHTS_INDEX, ModelError, read_json, weight_files

BLOCK_BYTES = 32 * 2**20
PROJECTION = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:[\w.]+\.)?(gate|up|down)_proj\.(weight|bias)$")
NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
FLOATS = {name: dtype for dtype, name in NAMES.items()}


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
    found: dict[int, set[str]] = {}
    for file in files:
        for name in _header(file)[0]:
            if (match := PROJECTION.search(name)) and match[3] == "weight":
                found.setdefault(int(match[1]), set()).add(match[2])
    if sorted(found) != list(range(len(keep))) or any(len(names) < 3 for names in found.values()):
        raise ModelError(f"{source.name!r}: no gate, up and down weights in each of its layers")
    written = sum(_copy_file(file, target / file.name, keep, dtype) for file in files)
    index = source / WEIGHTS_INDEX
    if [file.name for file in files] != [WEIGHTS]:
        content = read_json(index)
        content["metadata"] = {"total_size": written}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (target / WEIGHTS_INDEX).write_text(text, encoding="utf-8")
    return written


def _header(file: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Tensors of a safetensors file by name, in the order of their data, and its metadata."""
    with open(file, "rb") as handle:
        entries = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    metadata = entries.pop("__metadata__", {"format": "pt"})
    return dict(sorted(entries.items(), key=lambda item: item[1]["data_offsets"])), metadata


def _copy_file(source: Path, target: Path, keep: Tensor, dtype: torch.dtype) -> int:
    from safetensors import safe_open

    entries, metadata = _header(source)
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, entry in entries.items():
        shape = list(entry["shape"])
        cut = _cut(name)
        if cut is not None:
            shape[cut[1]] = keep.shape[1]
        floating = entry["dtype"] in FLOATS
        width = dtype.itemsize if floating else _width(entry)
        size = width * math.prod(shape)
        kind = NAMES[dtype] if floating else entry["dtype"]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with safe_open(source, framework="pt") as tensors, open(target, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, entry in entries.items():
            for block in _blocks(tensors, name, entry["shape"], keep):
                block = block.to(dtype) if entry["dtype"] in FLOATS else block
                out.write(block.contiguous().reshape(-1).view(torch.uint8).numpy())
        assert out.tell() == 8 + len(text) + end, f"{target.name}: not as long as its header says"
        out.flush()
        os.fsync(out.fileno())
    return end


def _cut(name: str) -> tuple[int, int] | None:
    """The layer of a tensor that loses neurons and the dimension it loses them in, else None."""
    match = PROJECTION.search(name)
    if match is None or (match[2], match[3]) == ("down", "bias"):
        return None
    return int(match[1]), int(match[2] == "down")


def _width(entry: dict[str, Any]) -> int:
    first, last = entry["data_offsets"]
    return (last - first) // max(1, math.prod(entry["shape"]))


def _blocks(tensors, name: str, shape: list[int], keep: Tensor) -> Iterator[Tensor]:
    """A tensor's rows that stay, a block at a time."""
    if not shape:
        yield tensors.get_tensor(name)
        return
    whole = tensors.get_slice(name)
    cut = _cut(name)
    step = max(1, BLOCK_BYTES // (8 * math.prod(shape[1:])))
    for first in range(0, shape[0], step):
        block = whole[first : first + step]
        if cut is None:
            yield block
            continue
        layer, dim = cut
        if dim == 1:
            yield block.gather(1, keep[layer].expand(len(block), -1))
        else:
            low, high = torch.searchsorted(keep[layer], torch.tensor([first, first + step]))
            yield block.index_select(0, keep[layer][low:high] - first)
