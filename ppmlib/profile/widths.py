"""One model at several widths, all but its MLP weights shared; and which neurons each width keeps.

Widths          install one width after another, the dense weights parked meanwhile
choose_widths   the widths of a profile, further multiples of the neuron count among them
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ppmlib.model import glu, layouts
from ppmlib.prune import kept_neurons, scoring, slicing
from ppmlib.study_file.selection import Selection


class Widths:
    """One model at several widths: all but the MLP weights is shared.

    Only the dense weights and the slice of one width exist at a time, however many widths there
    are: a slice is made when its width is installed and dropped afterwards.

    Args:
        model: the dense model; it is dense again after each `install`.
        keeps: run -> (num_layers, k) kept indices, or None for the dense model itself.
    """

    def __init__(self, model, keeps: Mapping[str, Tensor | None]):
        self.model = model
        self.keeps = dict(keeps)
        self.runs = tuple(self.keeps)
        mlps = glu.glu_mlps(model)
        linears = [linear for mlp in mlps for linear in mlp.linears.values()]
        self._modules = [*(mlp.module for mlp in mlps), *linears]
        self._dense_bytes = sum(p.nbytes for linear in linears for p in linear.parameters())

    def parked_bytes(self, run: str) -> int:
        """Bytes of dense MLP weights that wait in memory while this width is installed."""
        return 0 if self.keeps[run] is None else self._dense_bytes

    @contextmanager
    def install(self, run: str) -> Iterator[Any]:
        """Yield the model at this width; its dense weights come back afterwards, whatever happens.

        Raises:
            ValueError: as `slicing.slice_mlps`, if the kept indices do not fit the model.
        """
        keep = self.keeps[run]
        if keep is None:
            yield self.model
            return
        config = self.model.config.get_text_config()
        dense = {name: getattr(config, name) for name in layouts.width_settings(config, 0)}
        saved = [(module, dict(module._parameters), _sizes(module)) for module in self._modules]
        try:
            slicing.slice_mlps(self.model, keep)
            yield self.model
        finally:
            for name, value in dense.items():
                setattr(config, name, value)
            for module, parameters, sizes in saved:
                module._parameters.update(parameters)
                vars(module).update(sizes)

    def describe(self, run: str) -> dict[str, Any]:
        """What a width is: achieved ratios, parameters, bytes of its tensors and in closed form."""
        hidden, dense = glu.hidden_size(self.model), glu.intermediate_size(self.model)
        keep = self.keeps[run]
        predicted = glu.pruned_parameter_count(self.model, dense if keep is None else keep.shape[1])
        with self.install(run) as model:
            width = glu.intermediate_size(model)
            return {
                "run": run,
                "pruning_ratio": 1 - width / dense,
                "expansion_ratio": width / hidden,
                "intermediate_size": width,
                "parameters": glu.parameter_count(model),
                "weights_bytes": sum(p.nbytes for p in model.parameters()),
                "weights_bytes_computed": predicted * model.dtype.itemsize,
            }


def _sizes(module) -> dict[str, int]:
    names = ("intermediate_size", "in_features", "out_features")
    return {name: vars(module)[name] for name in names if name in vars(module)}


def choose_widths(
    root: Path,
    loaded,
    wanted: Sequence[Selection],
    also_keep_multiples_of: Iterable[int] = (),
    *,
    record_dir: str,
) -> tuple[dict[str, kept_neurons.Kept], dict[str, dict[str, Any]]]:
    """The kept neurons of every narrower width, and what each run was asked to be.

    The study's own widths come from their pruning records. The same ratios rounded down to further
    multiples are named `ppm/r0.40-m64` and chosen by the same scores, as are all widths of a
    model with random weights, which has no records.

    Args:
        wanted: the study's own widths, the dense model first.
    Returns:
        run -> kept neurons; and run -> {requested, keep_multiple_of}, the dense run first.
    Raises:
        RecordError, ValueError: as `kept_neurons.find_neurons` and `choose_neurons`.
    """
    dense, *narrower = wanted
    multiples = [m for m in also_keep_multiples_of if m != dense.keep_multiple_of]
    fresh = None
    if multiples or loaded.random_weights:
        fresh = scoring.score_model(loaded.model, dense.criterion, dense.seed)
    kept, asked = {}, {dense.key: _request(dense)}
    for own in narrower:
        for each in [own, *(replace(own, keep_multiple_of=m) for m in multiples)]:
            if each is own and not loaded.random_weights:
                found = kept_neurons.find_neurons(root, loaded, own, record_dir=record_dir)
            else:
                found = kept_neurons.choose_neurons(loaded.model, each, model_scores=fresh)
            run = own.key if each is own else f"{own.key}-m{each.keep_multiple_of}"
            kept[run], asked[run] = found, _request(each)
    return kept, asked


def _request(wanted: Selection) -> dict[str, Any]:
    return {"requested": wanted.width, "keep_multiple_of": wanted.keep_multiple_of}
