"""The criteria: the score of every GLU neuron from its gate and up weights, higher = keep.

Plain definitions. Models are scored by `scoring`, which reads the weights faster and is tested
against these. A new criterion is a function here, a name in `CRITERIA` and one in
`study_file.selection.CRITERIA`.
"""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


def ppm(gate: Tensor, up: Tensor) -> Tensor:
    """Peak-to-peak magnitude of each GLU neuron.

    score[i] = (max(gate[i]) + |min(gate[i])|) + (max(up[i]) + |min(up[i])|)
    Equals the sum of (max - min) unless a row has one sign; we follow the published code.

    Args:
        gate, up: projection weights, (intermediate_size, hidden_size), any float dtype.
    Returns:
        (intermediate_size,) float32 on the input's device.
    Raises:
        ValueError: if the shapes differ or a weight is not finite.
    Source: Martra 2025, arXiv:2512.22671; named MAW in its first version.
    """
    gate, up = _checked(gate, up)
    return (gate.amax(1) + gate.amin(1).abs()) + (up.amax(1) + up.amin(1).abs())


def l2(gate: Tensor, up: Tensor) -> Tensor:
    """Sum of the L2 norms of a neuron's gate and up weights; arguments and errors as `ppm`."""
    gate, up = _checked(gate, up)
    return gate.norm(dim=1) + up.norm(dim=1)


def vow(gate: Tensor, up: Tensor) -> Tensor:
    """Variance of weights: unbiased var(gate[i]) + var(up[i]); arguments and errors as `ppm`."""
    gate, up = _checked(gate, up)
    return gate.var(dim=1) + up.var(dim=1)


def pon(gate: Tensor, up: Tensor) -> Tensor:
    """Product of norms: ||gate[i]||_1 * ||up[i]||_1; arguments and errors as `ppm`."""
    gate, up = _checked(gate, up)
    return gate.norm(p=1, dim=1) * up.norm(p=1, dim=1)


def inverse(gate: Tensor, up: Tensor) -> Tensor:
    """The negative of `ppm`: removes first what PPM calls most important (a control)."""
    return -ppm(gate, up)


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ppm": ppm,
    "l2": l2,
    "vow": vow,
    "pon": pon,
    "inverse": inverse,
}
RANDOM = "random"


def random_scores(intermediate_size: int, seed: int, layer: int) -> Tensor:
    """A random order of a layer's neurons: (intermediate_size,) float32, no two alike.

    One vector per seed and layer, whatever the width, so that the kept sets of wider models
    contain those of narrower ones. The global random state is neither used nor changed.
    """
    generator = make_generator(f"random {seed} layer {layer}")
    return torch.randperm(intermediate_size, generator=generator).float()


def make_generator(name: str) -> torch.Generator:
    """A random generator on the CPU, seeded by a name."""
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def check_shapes(gate: Tensor, up: Tensor) -> None:
    """ValueError unless both weights have one shape."""
    if gate.shape != up.shape:
        shapes = f"{tuple(gate.shape)} and {tuple(up.shape)}"
        raise ValueError(f"gate and up weights have different shapes: {shapes}")


def check_finite(scores: Tensor) -> None:
    """ValueError naming the first neuron whose score is not finite."""
    finite = scores.isfinite()
    if not finite.all():
        neuron = int((~finite).nonzero()[0])
        raise ValueError(f"the score of neuron {neuron} is not finite: NaN or infinity in weights")


def _checked(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    check_shapes(gate, up)
    gate, up = gate.float(), up.float()
    check_finite(gate.sum(1) + up.sum(1))
    return gate, up
