"""Neurons removed from a model in memory, or silenced at full width to test that."""

import copy

import torch
from torch import Tensor, nn

from ppmlib.model import glu, layouts
from ppmlib.prune import compaction


@torch.no_grad()
def slice_mlps(model: nn.Module, keep: Tensor, *, reuse_memory: bool = False) -> None:
    """Remove all neurons but the kept ones, in place; the model's config follows.

    Rows of gate and up, columns of down and biases are cut; modules, hooks and the global random
    state stay as they are. Everything is checked before the first layer is touched.

    Args:
        keep: (num_layers, k) indices, strictly ascending in each layer.
        reuse_memory: where possible the kept neurons are moved to the front of the dense weights'
            own memory: faster, without a second copy, but a dense weight that the caller still
            holds is overwritten.
    Raises:
        ValueError: if the model or `keep` does not fit; the model is then unchanged.
    """
    mlps = glu.glu_mlps(model)
    _check_keep(keep, len(mlps), mlps[0].gate.out_features)
    width = keep.shape[1]
    if width == mlps[0].gate.out_features:
        return
    for mlp, kept_rows in zip(mlps, keep, strict=True):
        kept_rows = kept_rows.to(mlp.down.weight.device)
        for name, linear in mlp.linears.items():
            for kind in ("weight", "bias"):
                _cut(linear, mlp.layout, name, kind, kept_rows, reuse_memory)
            linear.out_features, linear.in_features = linear.weight.shape
        if hasattr(mlp.module, "intermediate_size"):
            mlp.module.intermediate_size = width
    config = model.config.get_text_config()
    for name, value in layouts.width_settings(config, width).items():
        setattr(config, name, value)


@torch.no_grad()
def zero_neurons(model: nn.Module, keep: Tensor) -> None:
    """Silence all neurons but the kept ones, in place, at full width: the oracle of slicing.

    Sets their columns of down to zero. Arguments and errors as `slice_mlps`.
    """
    mlps = glu.glu_mlps(model)
    _check_keep(keep, len(mlps), mlps[0].gate.out_features)
    for mlp, kept_rows in zip(mlps, keep, strict=True):
        _zero_columns(mlp.down, kept_rows)


@torch.no_grad()
def mlp_outputs(model: nn.Module, keep: Tensor | None = None, *, rows: int = 4) -> Tensor:
    """Outputs of every MLP for one random batch, in float64 on the CPU, layer by layer.

    With `keep`, all other neurons are silenced first; the model itself is not changed. Equal
    outputs before and after slicing show that slicing removed those neurons' contribution only.

    Returns:
        (num_layers, rows, hidden_size) float64; the batch is the same for every model of a width.
    """
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(rows, glu.hidden_size(model), generator=generator, dtype=torch.float64)
    outputs = []
    for mlp in glu.glu_mlps(model):
        copied = copy.deepcopy(mlp.module).to("cpu", torch.float64)
        if keep is not None:
            _zero_columns(getattr(copied, mlp.layout.down), keep[mlp.layer])
        outputs.append(copied(batch))
    return torch.stack(outputs)


def _zero_columns(down: nn.Linear, kept: Tensor) -> None:
    gone = torch.ones(down.in_features, dtype=torch.bool)
    gone[kept.cpu()] = False
    down.weight[:, gone.to(down.weight.device)] = 0


def _cut(
    linear: nn.Linear,
    layout: layouts.GluLayout,
    name: str,
    kind: str,
    kept: Tensor,
    reuse_memory: bool,
) -> None:
    whole, dim = getattr(linear, kind), layout.dim(name, kind)
    if whole is None or dim is None:
        return
    indices = layout.kept_indices(name, kept, whole.shape[dim])
    if reuse_memory and compaction.can_compact(whole):
        part = compaction.compact(whole, indices, dim)
    else:
        part = compaction.copy_kept(whole, indices, dim)
    setattr(linear, kind, nn.Parameter(part, requires_grad=whole.requires_grad))


def _check_keep(keep: Tensor, num_layers: int, width: int) -> None:
    if keep.is_floating_point() or keep.dtype == torch.bool:
        raise ValueError(f"keep holds {keep.dtype}, not indices")
    if keep.dim() != 2 or keep.shape[0] != num_layers or not 1 <= keep.shape[1] <= width:
        raise ValueError(
            f"keep has shape {tuple(keep.shape)}; the model has {num_layers} layers of {width}"
        )
    if (keep[:, 1:] <= keep[:, :-1]).any():
        raise ValueError("kept indices must ascend strictly in each layer")
    if keep.min() < 0 or keep.max() >= width:
        raise ValueError(f"kept indices must lie in 0..{width - 1}")
