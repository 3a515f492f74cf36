"""Every mistake in a study or its model is one clear line, exit status 2, no kernel, no trace."""

import json
import math
import shutil

import pytest
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from small_study import INSTRUCTIONS, KNOWLEDGE, SMALL, write_study

from ppmlib import bench, cli


def refused(path, *options) -> str:
    """The one line that `ppm run` prints on a study it refuses."""
    result = CliRunner().invoke(cli.main, ["run", str(path), *options])
    print(result.stderr)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("ppm: ")
    return line


@pytest.fixture
def study_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("*.ipynb")), "a kernel ran"
    assert not (tmp_path / "reports" / "small" / "study.json").exists()


@pytest.fixture
def model(study_folder):
    """A copy of the small bench model that a test may damage."""
    return shutil.copytree(bench.model_dir("bench-small"), study_folder / "a-model")


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


CLAIM = {"task": "bench_knowledge", "pruning_ratio": 0.2, "direction": "worse", "margin_points": 0}
IN_THE_FILE = {
    "unknown key": ({"surprise": 1}, "surprise: unknown key"),
    "wrong type": ({"batch_size": "many"}, "batch_size: expected a whole number (got 'many')"),
    "both ratios": ({"expansion_ratios": [2.0]}, "either pruning_ratios or expansion_ratios"),
    "neither ratios": ({"pruning_ratios": None}, "either pruning_ratios or expansion_ratios"),
    "ratio above 1": ({"pruning_ratios": [1.2]}, "pruning_ratios.0: must be below 1 (got 1.2)"),
    "ratio 0": ({"pruning_ratios": [0.0]}, "pruning_ratios.0: must be above 0 (got 0.0)"),
    "duplicate ratio": ({"pruning_ratios": [0.2, 0.2]}, "ppm/r0.20 appears twice"),
    "no neuron left": ({"keep_multiple_of": 4096}, "nothing would be left"),
    "expansion too large": (
        {"pruning_ratios": None, "expansion_ratios": [9.0]},
        "expansion_ratio 9.0 is above the model's own 4",
    ),
    "unknown criterion": ({"criterion": "magic"}, "unknown criterion 'magic': one of ppm, l2"),
    "unknown axis": ({"tasks": [{**KNOWLEDGE, "axis": "wit"}]}, "tasks.0.axis: "),
    "unknown task": (
        {"tasks": [{**KNOWLEDGE, "name": "bench_knowlege"}]},
        "no task 'bench_knowlege'; similar or known: bench_knowledge",
    ),
    "unknown metric": (
        {"tasks": [{**KNOWLEDGE, "metric": "accuracy"}]},
        "bench_knowledge: no metric 'accuracy'; it has acc, acc_norm",
    ),
    "unknown filter": (
        {"tasks": [{**INSTRUCTIONS, "filter": "strict"}]},
        "bench_instructions: no filter 'strict'; it has none",
    ),
    "too many shots": (
        {"tasks": [{**KNOWLEDGE, "num_fewshot": 5}]},
        "its definition fixes 0 examples",
    ),
    "claim of another ratio": (
        {"claims": [{**CLAIM, "pruning_ratio": 0.3}]},
        "pruning_ratio 0.3 is not in the study",
    ),
    "no such model": ({"model": {"id": "no-such-model"}}, "unknown model 'no-such-model'"),
    "no such folder": ({"model": {"id": "./nowhere"}}, "there is no folder './nowhere'"),
    "slash in the name": ({"study": "a/b"}, "study: only letters, digits,"),
    "no such score file": ({"criterion": "mine.py:score"}, "mine.py cannot be read (No such file"),
    "time limit 0": (
        {"limits": {"notebook_minutes": 0}},
        "limits.notebook_minutes: must be at least 0.01",
    ),
}


@pytest.mark.parametrize("mistake", IN_THE_FILE)
def test_a_mistake_in_the_study_file(study_folder, mistake):
    changes, expected = IN_THE_FILE[mistake]
    assert expected in refused(write_study(study_folder, **changes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("study: [", "not YAML"),
        ("", "holds no study"),
        ("study: a\nstudy: b\n", "key 'study' appears twice"),
    ],
)
def test_a_study_file_that_is_none(study_folder, text, expected):
    (study_folder / "small.yaml").write_text(text)
    assert expected in refused(study_folder / "small.yaml")


def test_a_study_file_that_is_not_there(study_folder):
    assert "nowhere.yaml: cannot be read" in refused("nowhere.yaml")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def other(gate, up, down): ...", "mine.py has no function 'score'"),
        ("def score(gate, up, down)", "mine.py is not Python"),
    ],
)
def test_a_score_file_without_its_function(study_folder, source, expected):
    (study_folder / "mine.py").write_text(source)
    assert expected in refused(write_study(study_folder, criterion="mine.py:score"))


def cut(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def pickled(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def renamed_pickle(model):
    (model / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(5000))


def damaged_header(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b'"shape"', b'"sharp"'))


def in_header(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def without_gates(model):
    tensors = load_file(model / "model.safetensors")
    renamed = {name.replace("gate_proj", "fc1"): value for name, value in tensors.items()}
    save_file(renamed, model / "model.safetensors")


def more_tokens(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["one too many"] = 5000
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


def config(**changes):
    return lambda model: change_json(model / "config.json", **changes)


def broken(name):
    return lambda model: (model / name).write_text("{")


def holding(value, name):
    """Two values of one tensor are not finite; the head is one of its own."""

    def spoil(model):
        tensors = load_file(model / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors[name].flatten()[-2:] = value
        save_file(tensors, model / "model.safetensors", {"format": "pt"})
        change_json(model / "config.json", tie_word_embeddings=False)

    return spoil


def missing_shard(model):
    (model / "model.safetensors").rename(model / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


IN_THE_MODEL = {
    "truncated": (cut, "model.safetensors does not have the size that its header states"),
    "truncated in the header": (in_header, "is cut short in its header"),
    "pickled": (pickled, "pickled weights only"),
    "a pickle under the name": (renamed_pickle, "is not a safetensors file"),
    "corrupt header": (damaged_header, "has a damaged header"),
    "missing shard": (missing_shard, "is incomplete: model-2.safetensors missing"),
    "no GLU MLPs": (without_gates, "has no GLU MLPs (gate_proj, up_proj, down_proj; gate_up_proj"),
    "mixture of experts": (config(num_local_experts=8), "mixture of experts (num_local_experts"),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), "is quantised"),
    "other width": (config(intermediate_size=100), "gate_proj of layer 0 has shape (256, 64)"),
    "no width": (config(intermediate_size=None), "no whole number intermediate_size"),
    "remote code": (config(model_type="own", auto_map={"AutoConfig": "c.C"}), "is never run"),
    "unfit tokenizer": (more_tokens, "the tokenizer has token 5000, the model embeds 1024"),
    "broken tokenizer": (broken("tokenizer.json"), "tokenizer.json is not valid JSON"),
    "broken config": (broken("config.json"), "config.json is not valid JSON"),
    "no config": (lambda model: (model / "config.json").unlink(), "has no config.json"),
}
NAN = "in model.safetensors has 2 NaN and 0 infinite values: fetch or convert the weights again"
for name in (
    "model.embed_tokens.weight",
    "model.layers.1.mlp.gate_proj.weight",
    "model.layers.2.mlp.down_proj.weight",
    "model.layers.0.post_attention_layernorm.weight",
    "lm_head.weight",
):
    IN_THE_MODEL[f"NaN in {name}"] = (holding(math.nan, name), f"'./a-model': {name} {NAN}")
IN_THE_MODEL["infinite weights"] = (
    holding(-math.inf, "model.layers.1.mlp.up_proj.weight"),
    "mlp.up_proj.weight in model.safetensors has 0 NaN and 2 infinite values",
)


@pytest.mark.parametrize("damage", IN_THE_MODEL)
def test_a_model_that_cannot_be_used(study_folder, model, damage):
    spoil, expected = IN_THE_MODEL[damage]
    spoil(model)
    assert expected in refused(write_study(study_folder, model={"id": "./a-model"}))


def test_a_folder_that_is_a_file(study_folder):
    (study_folder / "taken").write_text("")
    line = refused(write_study(study_folder), "--reports", "taken/reports")
    assert "taken/reports/small: cannot be written (Not a directory)" in line


def test_the_study_file_of_these_tests_is_good(tmp_path, monkeypatch):
    """Else every refusal above could have another reason."""
    monkeypatch.chdir(tmp_path)
    from ppmlib.study_file.params import Study
    from ppmlib.workflow import plan

    shutil.copytree(bench.model_dir("bench-small"), tmp_path / "a-model")
    for changes in ({}, {"model": {"id": "./a-model"}}):
        path = write_study(tmp_path, **changes)
        built = plan.build(Study.load(path), path, tmp_path / "reports" / "small")
        del built["located"]  # for the caller only
        assert str(tmp_path) not in json.dumps(built)
    assert yaml.safe_load(path.read_text())["tasks"] == SMALL["tasks"]
