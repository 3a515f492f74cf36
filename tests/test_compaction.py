"""Neurons taken out of a weight in its own memory."""

import copy
import os
import sys

import pytest
import torch
from tiny_models import llama
from torch import nn

from ppmlib.model import glu
from ppmlib.prune import compaction, kept_neurons, slicing
from ppmlib.study_file.selection import Selection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def held_bytes(address: int, size: int) -> int:
    """Bytes of a range of this process's memory that lie in RAM or in swap."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(address // page * 8)
        entries = torch.frombuffer(bytearray(file.read(size // page * 8)), dtype=torch.int64)
    return int(((entries >> 62) & 3 != 0).sum()) * page


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("share", [0.01, 0.6, 1.0])
def test_what_stays_is_what_indexing_gives(dtype, dim, share):
    generator = torch.Generator().manual_seed(dim)
    for rows, columns in [(7, 3), (700, 900), (3, 5000)]:
        weight = torch.randn(rows, columns, generator=generator).to(dtype)
        size = weight.shape[dim]
        count = max(1, int(share * size))
        kept = torch.randperm(size, generator=generator)[:count].sort().values
        expected = weight[kept] if dim == 0 else weight[:, kept]
        assert compaction.can_compact(weight)
        start = weight.data_ptr()
        part = compaction.compact(weight, kept, dim)
        assert torch.equal(part, expected) and part.is_contiguous()
        assert part.data_ptr() == start
        assert part.untyped_storage().nbytes() == part.nbytes


def test_the_rest_of_the_memory_goes_back_at_once_and_all_of_it_with_the_tensor():
    weight = torch.ones(4096, 4096)
    address, size = weight.data_ptr(), weight.nbytes
    assert held_bytes(address, size) > 0.99 * size
    part = compaction.compact(weight, torch.arange(0, 4096, 4), 0)
    assert 0.24 * size < held_bytes(address, size) < 0.26 * size
    del weight
    assert part.sum() == 1024 * 4096
    del part
    assert held_bytes(address, size) < 0.01 * size


def test_a_weight_that_is_not_alone_in_its_memory_is_not_taken_apart():
    assert not compaction.can_compact(torch.ones(4, 8)[:2])
    assert not compaction.can_compact(torch.ones(4, 8).t())
    assert not compaction.can_compact(torch.ones(8))
    assert not compaction.can_compact(torch.ones(4, 8, device="meta"))


def dense_weights(model):
    return [
        value
        for mlp in glu.glu_mlps(model)
        for linear in (mlp.gate, mlp.up, mlp.down)
        for value in (linear.weight, linear.bias)
        if value is not None
    ]


def test_slicing_changes_no_dense_weight_that_the_caller_still_holds():
    model = llama(mlp_bias=True)
    held = dense_weights(model)
    values = [weight.clone() for weight in held]
    assert len(held) == 6 * model.config.num_hidden_layers
    slicing.slice_mlps(model, kept_neurons.choose_neurons(model, Selection(pruning_ratio=0.4)).keep)
    assert all(torch.equal(*pair) for pair in zip(held, values, strict=True))


def test_slicing_reuses_the_dense_weights_memory_when_asked_with_the_same_result():
    model = llama()
    keep = kept_neurons.choose_neurons(model, Selection(pruning_ratio=0.4)).keep
    again = copy.deepcopy(model)
    slicing.slice_mlps(model, keep)
    where = [mlp.down.weight.data_ptr() for mlp in glu.glu_mlps(again)]
    slicing.slice_mlps(again, keep, reuse_memory=True)
    assert where == [mlp.down.weight.data_ptr() for mlp in glu.glu_mlps(again)]
    tokens = torch.arange(12).view(1, -1)
    assert torch.equal(model(tokens).logits, again(tokens).logits)


def test_a_compacted_weight_can_be_copied_trained_and_dropped():
    linear = nn.Linear(64, 64, bias=False)
    expected = linear.weight.detach()[::2].clone()
    linear.weight = nn.Parameter(compaction.compact(linear.weight, torch.arange(0, 64, 2), 0))
    twin = copy.deepcopy(linear)
    linear(torch.ones(1, 64)).sum().backward()
    assert linear.weight.grad.shape == (32, 64)
    del linear
    assert torch.equal(twin.weight, expected)
