"""Find the GLU MLPs of a Hugging Face causal LM; widths, expansion ratio, parameter counts.

Neuron i of a layer is row i of gate and up and column i of down:

    mlp(x) = down(act(gate(x)) * up(x))

so a neuron can be removed without touching the others, if nothing else acts across neurons. How
families name the three projections, or fuse two of them, is in `layouts`.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ppmlib.model import layouts
from ppmlib.model.checkpoint import EXPERT_COUNTS


@dataclass(frozen=True)
class Half:
    """Gate (half 0) or up (half 1) of a fused linear layer, read like a linear layer of its own.

    Weight and bias are views: what is written to them is written to the fused layer.
    """

    fused: nn.Linear
    half: int

    @property
    def weight(self) -> Tensor:
        """(I, h)."""
        return self.fused.weight.chunk(2)[self.half]

    @property
    def bias(self) -> Tensor | None:
        """(I,)."""
        return None if self.fused.bias is None else self.fused.bias.chunk(2)[self.half]

    @property
    def in_features(self) -> int:
        """Width of the residual stream."""
        return self.fused.in_features

    @property
    def out_features(self) -> int:
        """Neurons."""
        return self.fused.out_features // 2


@dataclass(frozen=True)
class GluMlp:
    """The three projections of one decoder layer; weights (I, h), (I, h) and (h, I)."""

    layer: int
    module: nn.Module
    layout: layouts.GluLayout
    gate: nn.Linear | Half
    up: nn.Linear | Half
    down: nn.Linear

    @property
    def linears(self) -> dict[str, nn.Linear]:
        """The linear layers by their names in the module: two or three."""
        return {name: getattr(self.module, name) for name in self.layout.names}


def glu_mlps(model: nn.Module) -> list[GluMlp]:
    """The GLU MLPs of all decoder layers, in order of depth, all of one width.

    Raises:
        ValueError: naming what does not fit: no gate, up and down projections, a mixture of
            experts, quantised or adapter layers, something else that acts across neurons, layers
            without a GLU MLP, or layers of different widths.
    """
    config = model.config.get_text_config()
    for name in EXPERT_COUNTS:
        if (getattr(config, name, None) or 0) > 1:
            raise ValueError(f"a mixture of experts ({name} is {getattr(config, name)}): not a GLU")
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError("quantised weights cannot be scored or sliced; load the original model")

    mlps = {}
    for name, module in model.named_modules():
        layout = layouts.find(child for child, _ in module.named_children())
        if layout is None:
            continue
        _check_mlp(name, module, layout)
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        if len(numbers) != 1 or numbers[0] in mlps:
            raise ValueError(f"{name}: expected one GLU MLP in each layer of one stack of layers")
        gate, up, down = (getattr(module, part) for part in (layout.gate, layout.up, layout.down))
        if layout.is_fused:
            gate, up = Half(gate, 0), Half(up, 1)
        mlps[numbers[0]] = GluMlp(numbers[0], module, layout, gate, up, down)

    layers = config.num_hidden_layers
    if not mlps:
        raise ValueError(
            f"{type(model).__name__} has no GLU MLPs ({layouts.describe()}): it cannot be sliced "
            "by neuron"
        )
    if sorted(mlps) != list(range(layers)):
        raise ValueError(f"GLU MLPs in layers {sorted(mlps)}, but the model has {layers} layers")
    shapes = sorted({tuple(mlp.gate.weight.shape) for mlp in mlps.values()})
    if len(shapes) > 1:
        raise ValueError(f"layers of different widths: gate weights of shapes {shapes}")
    return [mlps[layer] for layer in range(layers)]


def _check_mlp(name: str, module: nn.Module, layout: layouts.GluLayout) -> None:
    linears = {part: getattr(module, part) for part in layout.names}
    for part, linear in linears.items():
        # Subclasses (quantised, adapters, tensor-parallel) keep state that slicing would not reach.
        if type(linear) is not nn.Linear or not linear.weight.is_floating_point():
            kind = type(linear).__name__
            raise ValueError(f"{name}.{part} is a {kind}, not a plain floating-point Linear")
    others = sorted(
        parameter
        for parameter, _ in module.named_parameters()
        if parameter.split(".")[0] not in layout.names
    )
    if others:
        raise ValueError(f"{name} has {', '.join(others)}, which act across neurons")
    shapes = {part: tuple(linear.weight.shape) for part, linear in linears.items()}
    hidden, neurons = shapes[layout.down]
    if shapes != layout.shapes(neurons, hidden):
        raise ValueError(f"{name}: gate, up and down do not fit together: {shapes}")


def intermediate_size(model: nn.Module) -> int:
    """Number of GLU neurons per layer, read from the weights."""
    return glu_mlps(model)[0].gate.weight.shape[0]


def hidden_size(model: nn.Module) -> int:
    """Width of the residual stream that the MLPs read."""
    return glu_mlps(model)[0].gate.weight.shape[1]


def expansion_ratio(model: nn.Module) -> float:
    """intermediate_size / hidden_size, such as 4.0."""
    return intermediate_size(model) / hidden_size(model)


def parameter_count(model: nn.Module) -> int:
    """Parameters of the model, tied ones counted once, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def pruned_parameter_count(model: nn.Module, keep_count: int) -> int:
    """Parameters the model will have with `keep_count` neurons per layer, in closed form."""
    mlps = glu_mlps(model)
    width = intermediate_size(model)
    per_neuron = sum(
        mlp.gate.in_features
        + mlp.up.in_features
        + mlp.down.out_features
        + (mlp.gate.bias is not None)
        + (mlp.up.bias is not None)
        for mlp in mlps
    )
    return parameter_count(model) - (width - keep_count) * per_neuron


def describe(model: nn.Module) -> dict[str, int | float]:
    """Layers, widths, expansion ratio and parameters of a model, counted from its weights."""
    return {
        "num_layers": len(glu_mlps(model)),
        "intermediate_size": intermediate_size(model),
        "hidden_size": hidden_size(model),
        "expansion_ratio": expansion_ratio(model),
        "parameters": parameter_count(model),
    }
