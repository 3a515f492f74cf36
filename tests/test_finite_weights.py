"""Weights that are not finite are found before work, and nothing else is blamed for them.

What `ppm run` says of them is in test_bad_input.py.
"""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_study import TINY, ppm, write_local_study, write_study
from tiny_models import llama, qwen2

from ppmlib import bench
from ppmlib.evaluation import backends
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.model import checkpoint, models
from ppmlib.model.checkpoint import (
    WEIGHTS,
    WEIGHTS_INDEX,
    ModelError,
    check_finite,
    count_not_finite,
)
from ppmlib.record import records
from ppmlib.study_file.params import Study
from ppmlib.workflow import plan

KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2)


@pytest.fixture
def folder(tmp_path):
    """A copy of the small bench model in two files."""
    folder = shutil.copytree(bench.model_dir("bench-small"), tmp_path / "a-model")
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    files = {
        name: "one.safetensors" if "layers.0" in name else "two.safetensors" for name in tensors
    }
    for file in set(files.values()):
        part = {name: tensors[name] for name in tensors if files[name] == file}
        save_file(part, folder / file, {"format": "pt"})
    (folder / WEIGHTS_INDEX).write_text(json.dumps({"weight_map": files}))
    return folder


def spoil(file, value, *names):
    tensors = load_file(file)
    for name in names:
        tensors[name].flatten()[7] = value
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_each_value_that_is_not_finite_is_counted_in_every_floating_type(kind, place, monkeypatch):
    monkeypatch.setattr(checkpoint, "VALUES_AT_ONCE", 64)
    weights = torch.randn(33, 5, generator=torch.Generator().manual_seed(0)).to(kind)
    assert count_not_finite(weights) is None
    for value in (math.nan, math.inf, -math.inf):
        weights[place] = value
        words = "5 NaN and 0" if math.isnan(value) else "0 NaN and 5"
        assert count_not_finite(weights) == f"{words} infinite values"
    weights[1] = math.inf  # the sum of both infinities is NaN
    assert count_not_finite(weights) == "0 NaN and 10 infinite values"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_largest_values_of_a_type_are_finite_though_their_sum_is_not(kind):
    largest = torch.full((9, 9), torch.finfo(kind).max, dtype=torch.float64).to(kind)
    assert count_not_finite(largest) is None


def test_tensors_of_whole_numbers_without_values_or_of_one_value_are_finite():
    for weights in (torch.arange(5), torch.ones(3, dtype=torch.bool), torch.zeros(0, 4)):
        assert count_not_finite(weights) is None
    assert count_not_finite(torch.tensor(math.nan)) == "1 NaN and 0 infinite values"


def test_every_file_of_a_model_is_searched_and_one_line_names_the_first(folder):
    check_finite(folder, "mine", "float32")
    spoil(folder / "two.safetensors", math.inf, "model.norm.weight")
    line = (
        "'mine': model.norm.weight in two.safetensors has 0 NaN and 1 infinite values: fetch or "
        "convert the weights again"
    )
    with pytest.raises(ModelError) as refusal:
        check_finite(folder, "mine", "float32")
    assert str(refusal.value) == line
    gate, up = (f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up"))
    spoil(folder / "one.safetensors", math.nan, gate, up)
    with pytest.raises(ModelError) as refusal:
        check_finite(folder, "mine", "float32")
    assert str(refusal.value) == (
        f"'mine': {gate} in one.safetensors has 1 NaN and 0 infinite values (and 2 more tensors "
        "have such values): fetch or convert the weights again"
    )


def test_weights_are_read_for_a_first_plan_and_again_only_when_they_change(tmp_path, monkeypatch):
    path = write_local_study(tmp_path)
    root, read = tmp_path / "reports" / "small", []
    monkeypatch.setattr(checkpoint, "check_finite", lambda folder, model, dtype: read.append(dtype))

    def build():
        made = plan.build(Study.load(path), path, root)
        made.pop("located")
        records.write_json(root / records.PLAN_FILE, made)
        return len(read)

    root.mkdir(parents=True)
    assert [build(), build()] == [1, 1]
    spoil(tmp_path / "my-model" / WEIGHTS, 1.0, "model.norm.weight")
    assert [build(), build()] == [2, 2]
    path = write_study(tmp_path, TINY, model={"id": "./my-model", "dtype": "float16"})
    assert [build(), build()] == [3, 3] and read[-1] == "float16"


def test_weights_that_the_dtype_cannot_hold_are_found_before_work(folder):
    spoil(folder / "two.safetensors", 65504.0, "model.norm.weight")
    for dtype in ("float32", "bfloat16", "float16"):
        check_finite(folder, "mine", dtype)
    spoil(folder / "two.safetensors", 1e6, "model.norm.weight")
    check_finite(folder, "mine", "bfloat16")
    with pytest.raises(ModelError) as refusal:
        check_finite(folder, "mine", "float16")
    assert str(refusal.value) == (
        "'mine': model.norm.weight in two.safetensors has 1 values that float16 cannot hold: set "
        "model.dtype to another one, such as bfloat16 or float32"
    )


def test_a_tensor_in_two_files_is_refused(folder):
    tensors = load_file(folder / "two.safetensors")
    name = "model.layers.0.mlp.gate_proj.weight"
    save_file(tensors | {name: torch.zeros(3)}, folder / "two.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"two.safetensors has {name}, which another file of"):
        checkpoint.shapes(folder)


def test_ppm_check_and_a_dry_run_name_them_too(tmp_path):
    path = write_local_study(tmp_path)
    spoil(tmp_path / "my-model" / WEIGHTS, math.nan, "model.norm.weight")
    line = "model.norm.weight in model.safetensors has 1 NaN and 0 infinite values"
    checked = ppm("check", path, cwd=tmp_path)
    assert checked.returncode == 1 and line in checked.stdout.splitlines()[-1]
    dry = ppm("run", path, "-n", cwd=tmp_path)
    assert dry.returncode == 2 and line in dry.stderr


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer("bench-small")[0]


def backend(model, tokenizer, engine):
    return backends.load(
        model,
        tokenizer,
        batch_size=2,
        add_bos_token=False,
        max_length=None,
        softmax_dtype=None,
        engine=engine,
    )


@pytest.mark.parametrize("engine", ["plain", "fast"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (llama, "model.embed_tokens.weight"),
        (llama, "model.layers.1.mlp.down_proj.weight"),
        (qwen2, "model.norm.weight"),
        (qwen2, "lm_head.weight"),
    ],
)
def test_an_engine_names_the_weights_that_make_logits_nan(make, name, engine, tokenizer):
    model = make()
    with torch.no_grad():
        model.get_parameter(name).flatten()[-1] = math.nan
    with pytest.raises(EvaluationError, match="set engine|not finite") as refusal:
        backend(model, tokenizer, engine)
    assert str(refusal.value) == (
        f"{type(model).__name__}: its logits are not finite: {name} has 1 NaN and 0 infinite "
        "values: fetch or convert the weights again"
    )


@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_an_engine_names_the_dtype_when_finite_weights_overflow(engine, tokenizer):
    model = llama()
    with torch.no_grad():
        for layer in model.model.layers:
            for part in (layer.mlp.gate_proj, layer.mlp.up_proj):
                part.weight.mul_(1e5)
    backend(model, tokenizer, engine)
    with pytest.raises(EvaluationError, match="set engine|not finite") as refusal:
        backend(model.half(), tokenizer, engine)
    assert str(refusal.value) == (
        "LlamaForCausalLM: its logits are not finite although its weights are: float16 overflows "
        "along the way: set model.dtype to another one, such as bfloat16 or float32"
    )
