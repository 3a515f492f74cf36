"""Find the GLU MLPs of a Hugging Face causal LM; widths, expansion ratio, parameter counts.

Neuron i of a layer is row i of gate_proj and up_proj and column i of down_proj:

    mlp(x) = down_proj(act(gate_proj(x)) * up_proj(x))

so a neuron can be removed without touching the others, if nothing else acts across neurons.
"""

from dataclasses import dataclass

from torch import nn

from ppmlib.model.checkpoint import EXPERT_COUNTS

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class GluMlp:
    """The three projections of one decoder layer; weights (I, h), (I, h) and (h, I)."""

    layer: int
    module: nn.Module
    gate: nn.Linear
    up: nn.Linear
    down: nn.Linear


def glu_mlps(model: nn.Module) -> list[GluMlp]:
    """The GLU MLPs of all decoder layers, in order of depth, all of one width.

    Raises:
        ValueError: naming what does not fit: no separate gate, up and down projections, a mixture
            of experts, quantised or adapter layers, something else that acts across neurons,
            layers without a GLU MLP, or layers of different widths.
    """
    config = model.config.get_text_config()
    for name in EXPERT_COUNTS:
        if (getattr(config, name, None) or 0) > 1:
            raise ValueError(f"a mixture of experts ({name} is {getattr(config, name)}): not a GLU")
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError("quantised weights cannot be scored or sliced; load the original model")

    mlps = {}
    for name, module in model.named_modules():
        children = dict(module.named_children())
        if not set(PROJECTIONS) <= set(children):
            continue
        gate, up, down = (_plain_linear(f"{name}.{p}", children[p]) for p in PROJECTIONS)
        _check_mlp(name, module, gate, up, down)
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        if len(numbers) != 1 or numbers[0] in mlps:
            raise ValueError(f"{name}: expected one GLU MLP in each layer of one stack of layers")
        mlps[numbers[0]] = GluMlp(numbers[0], module, gate, up, down)

    layers = config.num_hidden_layers
    if not mlps:
        raise ValueError(
            f"{type(model).__name__} has no separate gate_proj, up_proj and down_proj: "
            "not a GLU model that can be sliced by neuron"
        )
    if sorted(mlps) != list(range(layers)):
        raise ValueError(f"GLU MLPs in layers {sorted(mlps)}, but the model has {layers} layers")
    shapes = sorted({tuple(mlp.gate.weight.shape) for mlp in mlps.values()})
    if len(shapes) > 1:
        raise ValueError(f"layers of different widths: gate_proj weights of shapes {shapes}")
    return [mlps[layer] for layer in range(layers)]


def _plain_linear(name: str, module: nn.Module) -> nn.Linear:
    # Subclasses (quantised, adapters, tensor-parallel) keep state that slicing would not reach.
    if type(module) is not nn.Linear or not module.weight.is_floating_point():
        raise ValueError(f"{name} is a {type(module).__name__}, not a plain floating-point Linear")
    return module


def _check_mlp(name: str, module: nn.Module, gate, up, down) -> None:
    others = sorted(
        parameter
        for parameter, _ in module.named_parameters()
        if parameter.split(".")[0] not in PROJECTIONS
    )
    if others:
        raise ValueError(f"{name} has {', '.join(others)}, which act across neurons")
    width, hidden = gate.weight.shape
    if up.weight.shape != (width, hidden) or down.weight.shape[1] != width:
        shapes = [tuple(linear.weight.shape) for linear in (gate, up, down)]
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
