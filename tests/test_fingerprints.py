"""Whatever can change a number changes the fingerprints of what it changes, and nothing else does.

Once for the plan, which decides whether a job is run again; once for the stored result of a task,
which decides whether it is evaluated again.
"""

import inspect
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_study import INSTRUCTIONS, KNOWLEDGE, write_local_study
from toy_tasks import spec, write_tasks

from ppmlib import bench
from ppmlib.evaluation import protocol, task_code, tasks
from ppmlib.evaluation.run import evaluate
from ppmlib.model import hashes, models
from ppmlib.prune import calibration, kept_neurons, noise, scored
from ppmlib.record import records
from ppmlib.study_file.params import Study
from ppmlib.study_file.selection import Selection
from ppmlib.workflow import plan

SCORING, PRUNING, NOISE = "1_scoring", "2_pruning", "2_noise"
EVALUATION, PROFILING, ANALYSIS = "3_evaluation", "4_profiling", "5_analysis"
SCORE_FILE = "def mine(gate, up, down):\n    return gate.abs().sum(1)\n"
STUDY = {
    "pruning_ratios": [0.4, 0.5],
    "tasks": [KNOWLEDGE, INSTRUCTIONS],
    "floors": ["permuted", "constant"],
    "aa_batch_size": 8,
    "calibration": {"file": "text.txt"},
    "controls": [
        {"criterion": "score.py:mine"},
        {"criterion": "random", "seeds": [0]},
        {"criterion": "noise", "match": "word_perplexity"},
    ],
}


def change_json(file: Path, **changes) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | changes))


def change_a_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] += 0.125
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def shard(folder: Path, names=("model-00001-of-00002", "model-00002-of-00002")) -> None:
    """Two files and an index in place of the one file of weights."""
    tensors = sorted(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    halves = tensors[::2], tensors[1::2]
    for name, half in zip(names, halves, strict=True):
        save_file(dict(half), folder / f"{name}.safetensors", {"format": "pt"})
    files = {n: f"{name}.safetensors" for name, half in zip(names, halves, strict=True)
             for n, _ in half}  # fmt: skip
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def add_text(name: str, text: str = "{# another #}"):
    def change(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(file.read_text() + text if file.exists() else text)

    return change


TOKENIZER = {NOISE, EVALUATION, PROFILING}
EVERY = {SCORING, PRUNING, *TOKENIZER}
# A file of the model's folder, how it is changed, and the notebooks whose numbers it changes.
FILES = {
    "weights": (change_a_weight, {*EVERY, ANALYSIS}),
    "config.json": (lambda f: change_json(f / "config.json", rms_norm_eps=0.01), EVERY),
    "eos ids": (
        lambda f: change_json(f / "generation_config.json", eos_token_id=[1, 5]),
        {EVALUATION},
    ),
    "no eos id": (
        lambda f: (f / "generation_config.json").write_text('{"bos_token_id": 0}'),
        {EVALUATION},
    ),
    "repetition penalty": (
        lambda f: change_json(f / "generation_config.json", repetition_penalty=1.5),
        {EVALUATION},
    ),
    "tokenizer.json": (
        lambda f: change_json(f / "tokenizer.json", pre_tokenizer={"type": "Whitespace"}),
        TOKENIZER,
    ),
    "tokenizer_config.json": (
        lambda f: change_json(f / "tokenizer_config.json", pad_token="</s>"),
        TOKENIZER,
    ),
    "special_tokens_map.json": (
        lambda f: change_json(f / "special_tokens_map.json", pad_token="</s>"),
        TOKENIZER,
    ),
    "added_tokens.json": (lambda f: change_json(f / "added_tokens.json"), TOKENIZER),
    "chat_template.json": (
        lambda f: change_json(f / "chat_template.json", chat_template="{{ messages }}"),
        TOKENIZER,
    ),
    "chat_template.jinja": (add_text("chat_template.jinja"), TOKENIZER),
    "another template": (add_text("additional_chat_templates/tool.jinja"), TOKENIZER),
}


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory) -> Path:
    """A folder with a study file, a model, a score file and a calibration text next to it."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "score.py").write_text(SCORE_FILE)
    (folder / "text.txt").write_text("A quiet town by the sea.")
    write_local_study(folder, **STUDY)
    return folder


@pytest.fixture
def copied(study_folder, tmp_path) -> Path:
    return Path(shutil.copytree(study_folder, tmp_path / "copy", dirs_exist_ok=True))


def jobs(folder: Path, study: Study | None = None) -> dict[str, tuple[str, str]]:
    """Notebook and digest of what decides whether it is run again, of every job."""
    file = folder / "small.yaml"
    built = plan.build(study or Study.load(file), file, folder / "reports" / "small")
    return {
        key: (
            job.get("notebook", job["stage"]),
            records.fingerprint({name: job[name] for name in ("parameters", "static")}),
        )
        for key, job in built["jobs"].items()
    }


def run_again(before, after) -> set[str]:
    """The notebooks of the jobs that are new, gone or decided otherwise."""
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    return {(after.get(key) or before[key])[0] for key in changed}


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_of_the_model_runs_again_what_reads_it(copied, file):
    before = jobs(copied)
    change, expected = FILES[file]
    change(copied / "my-model")
    assert run_again(before, jobs(copied)) == expected


def test_a_changed_score_file_or_calibration_text_runs_again_what_reads_it(copied):
    before = jobs(copied)
    add_text("score.py", "# better\n")(copied)
    after = jobs(copied)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {SCORING, "score.mine/r0.40/2_pruning", "score.mine/r0.50/2_pruning"}
    add_text("text.txt", " And a second one.")(copied)
    assert run_again(after, jobs(copied)) == {NOISE}


def test_files_touched_copied_or_without_a_say_run_nothing_again(study_folder, copied):
    before, model = jobs(study_folder), copied / "my-model"
    for file in [path for path in copied.rglob("*") if path.is_file()]:
        os.utime(file, (1, 1))
    for name in ("README.md", "LICENSE.txt", "modeling_mine.py", "trainer_state.json"):
        (model / name).write_text("{}")
    change_json(model / "generation_config.json", transformers_version="4.0", do_sample=False)
    change_json(model / "config.json", transformers_version="4.0")
    assert jobs(copied) == before
    (model / "generation_config.json").unlink()
    assert jobs(copied) == before


ALL = {*EVERY, ANALYSIS}
# A key of the study file, what it is changed to, and the notebooks whose numbers it changes.
SETTINGS = {
    "study": ("other", {ANALYSIS}),
    "question": ("Why?", {ANALYSIS}),
    "model": ({"id": "./my-model", "dtype": "bfloat16"}, EVERY),
    "criterion": ("l2", ALL),
    "pruning_ratios": ([0.4], {SCORING, PRUNING, NOISE, EVALUATION, PROFILING}),
    "expansion_ratios": ([2.0], {SCORING, PRUNING, NOISE, EVALUATION, PROFILING}),
    "keep_multiple_of": (8, EVERY),
    "controls": (STUDY["controls"][1:], {SCORING, PRUNING, EVALUATION}),
    "calibration": ({"file": "score.py"}, {NOISE}),
    "floors": (["constant"], {EVALUATION}),
    "tasks": ([{**KNOWLEDGE, "batch_size": 2}, INSTRUCTIONS], {EVALUATION, ANALYSIS}),
    "claims": (
        [{"task": "bench_knowledge", "pruning_ratio": 0.5, "direction": "worse",
          "margin_points": 0}],
        {ANALYSIS},
    ),
    "tradeoff_margin_points": (5.0, {ANALYSIS}),
    "add_bos_token": (False, {NOISE, EVALUATION}),
    "apply_chat_template": (True, {EVALUATION}),
    "system_instruction": ("Be brief.", {EVALUATION}),
    "split_evaluation": (True, {EVALUATION}),
    "batch_size": (4, {NOISE, EVALUATION}),
    "aa_batch_size": (4, {EVALUATION}),
    "engine": ("plain", {EVALUATION}),
    "lm_eval_seeds": ([1, 2, 3, 4], {EVALUATION}),
    "softmax_dtype": ("float32", {NOISE, EVALUATION}),
    "max_length": (300, {NOISE, EVALUATION}),
    "generation": ({"max_gen_toks": 4}, {EVALUATION}),
    "subset": ({"n": 10, "seed": 1}, {EVALUATION}),
    "threads": (2, TOKENIZER),
    "limits": ({"notebook_minutes": 5.0}, set()),
    "seeds": ({"bootstrap": 1}, {ANALYSIS}),
    "profiling": ({"prompt_tokens": 4, "new_tokens": 4}, {PROFILING}),
}  # fmt: skip


def test_a_changed_setting_runs_again_the_notebooks_whose_numbers_it_changes(study_folder):
    assert set(SETTINGS) == set(Study.model_fields), "say of the new setting what it changes"
    base = Study.load(study_folder / "small.yaml")
    before = jobs(study_folder, base)
    for name, (value, expected) in SETTINGS.items():
        changed = base.model_dump() | {name: value}
        if name == "expansion_ratios":
            changed["pruning_ratios"] = None
        after = jobs(study_folder, Study.model_validate(changed))
        assert run_again(before, after) == expected, name


def test_an_example_study_made_before_still_has_nothing_to_run_again():
    repository = Path(__file__).parents[1]
    file, root = repository / "params" / "bench-full.yaml", repository / "reports" / "example-bench"
    built = plan.build(Study.load(file), file, root)["jobs"]
    assert built == records.read_json(root / records.PLAN_FILE)["jobs"]


# --- the stored result of a task


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "my-model"
    return Path(shutil.copytree(bench.model_dir("bench-small"), folder))


@pytest.fixture(scope="module")
def loaded(model_folder):
    return models.load(str(model_folder), device="cpu")


PAGES = """
FACTOR = 2

def words(doc):
    return FACTOR * len(doc["text"].split())

def score(doc, results):
    return {"word_perplexity": (results[0], words(doc))}
"""
GENERATE = spec("toy_generate", "exact_match", "first-word")
SHOTS = spec("toy_shots", "acc", num_fewshot=1)
PAGED, GROUPED = spec("toy_pages", "word_perplexity"), spec("toy_group", "acc")
ENTRIES = [GENERATE, SHOTS, PAGED, GROUPED]


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Path:
    """Toy tasks; one has code that calls code, one takes its examples from another file."""
    folder = write_tasks(tmp_path_factory.mktemp("toy"))
    (folder / "toy_pages.py").write_text(PAGES)
    text = (folder / "toy_left.yaml").read_text().replace("toy_left\n", "toy_shots\n", 1)
    train = f"fewshot_split: train\ndataset_kwargs: {{data_files: {{train: {folder}/shots.jsonl, "
    text = text.replace("dataset_kwargs: {data_files: {", train)
    (folder / "toy_shots.yaml").write_text(text)
    shutil.copy(folder / "toy_right.jsonl", folder / "shots.jsonl")
    return folder


@pytest.fixture(scope="module")
def results(loaded, toys, tmp_path_factory) -> Path:
    """A folder with the stored results of ENTRIES."""
    root = tmp_path_factory.mktemp("results")
    assert not reused(loaded, toys, root)
    return root


def reused(loaded, folder: Path, root: Path, entries=ENTRIES, **changes) -> list[str]:
    """The tasks that are not evaluated, because a stored result answers."""
    settings = {
        "run": "ppm/r0.40",
        "kept_inputs": {"keep_sha256": "a"},
        "batch_size": 4,
        "add_bos_token": True,
        "task_folders": [folder],
    }
    return evaluate(loaded, entries, root=root, **(settings | changes)).reused


@pytest.fixture
def again(results, tmp_path) -> Path:
    """A copy of the stored results, to be evaluated into."""
    return Path(shutil.copytree(results, tmp_path / "again"))


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_of_the_model_is_not_answered_from_a_stored_result(
    model_folder, toys, again, tmp_path, file
):
    copy = Path(shutil.copytree(model_folder, tmp_path / "my-model"))
    same = models.load(str(copy), device="cpu")
    assert reused(same, toys, again, [GENERATE]) == ["toy_generate"]
    FILES[file][0](copy)
    assert not reused(models.load(str(copy), device="cpu"), toys, again, [GENERATE])


def test_every_file_of_weights_and_the_index_count(tmp_path):
    folders = [Path(shutil.copytree(bench.model_dir("bench-small"), tmp_path / n)) for n in "abc"]
    shard(folders[0])
    shard(folders[1])
    assert hashes.weights_sha256(folders[0]) == hashes.weights_sha256(folders[1])
    for name in ("model-00001-of-00002", "model-00002-of-00002"):
        file = folders[1] / f"{name}.safetensors"
        original = file.read_bytes()
        file.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        assert hashes.weights_sha256(folders[0]) != hashes.weights_sha256(folders[1])
        file.write_bytes(original)
    shard(folders[2], ("one", "two"))  # the same tensors under other names in the index
    assert hashes.weights_sha256(folders[2]) != hashes.weights_sha256(folders[0])


def test_of_a_single_file_and_an_index_the_file_that_is_loaded_is_hashed(tmp_path):
    folder = Path(shutil.copytree(bench.model_dir("bench-small"), tmp_path / "m"))
    single = (folder / "model.safetensors").read_bytes()
    alone = hashes.weights_sha256(folder)
    shard(folder)
    (folder / "model.safetensors").write_bytes(single)
    assert hashes.weights_sha256(folder) == alone
    change_a_weight(folder)
    weight = models.load(str(folder), device="cpu").model.model.norm.weight
    assert torch.equal(weight, load_file(folder / "model.safetensors")["model.norm.weight"])
    assert hashes.weights_sha256(folder) != alone


@pytest.mark.parametrize("name", ["adapter_config.json", "config.json"])
def test_weights_that_would_be_loaded_from_elsewhere_are_refused(tmp_path, name):
    folder = Path(shutil.copytree(bench.model_dir("bench-small"), tmp_path / "m"))
    change_json(folder / name, transformers_weights="other.safetensors", peft_type="LORA")
    with pytest.raises(models.ModelError, match=r"adapter_config.json|transformers_weights"):
        models.locate(str(folder))


IDENTITY_OF_NO_NUMBER = {"id", "revision", "synthetic"}


def test_whatever_identifies_a_model_but_its_name_counts(loaded, toys, results):
    for name, value in loaded.identity.items():
        other = replace(loaded, identity=loaded.identity | {name: f"not {value}"})
        same = protocol.model_inputs(other) == protocol.model_inputs(loaded)
        assert same == (name in IDENTITY_OF_NO_NUMBER), name
    on_gpu = replace(loaded, identity=loaded.identity | {"device": "cuda X", "threads": None})
    assert "threads" not in protocol.model_inputs(on_gpu)


# A parameter of `evaluate` and another value; None for one that changes no number.
ARGUMENTS = {
    **dict.fromkeys(("loaded", "tasks", "root", "run", "task_folders", "progress")),
    "kept_inputs": {"keep_sha256": "b"},
    "batch_size": 2,
    "engine": "fast",
    "add_bos_token": False,
    "apply_chat_template": True,
    "system_instruction": "Be brief.",
    "max_length": 200,
    "softmax_dtype": "float32",
    "lm_eval_seeds": (0, 1, 1234, 1234),
    "subset": {"n": 3, "seed": 0},
    "generation": {"max_gen_toks": 5},
    "floors": [],
    "floor_seed": 1,
}


def test_a_changed_setting_is_not_answered_from_a_stored_result(loaded, toys, again):
    assert set(ARGUMENTS) == set(inspect.signature(evaluate).parameters), "say what it changes"
    assert reused(loaded, toys, again, [GENERATE]) == ["toy_generate"]
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for name, value in ARGUMENTS.items():
        if value is None:
            continue
        loaded.tokenizer.chat_template = template if name == "apply_chat_template" else None
        found = reused(loaded, toys, again, [GENERATE], **{name: value})
        assert found == [], name
        assert reused(loaded, toys, again, [GENERATE], **{name: value}) == ["toy_generate"]
    assert not reused(loaded, toys, again, [GENERATE | {"batch_size": 1}])
    assert not reused(loaded, toys, again, [SHOTS | {"num_fewshot": 2}])


@pytest.mark.parametrize("package", [*records.PACKAGES])
def test_another_version_is_not_answered_from_a_stored_result(
    loaded, toys, again, package, monkeypatch
):
    installed = records.package_versions()
    monkeypatch.setattr(records, "package_versions", lambda *_: installed | {package: "0.0"})
    assert not reused(loaded, toys, again, [GENERATE])


# A file of the tasks, what is replaced in it, and the tasks whose numbers that changes.
TASK_FILES = [
    ("toy_generate.yaml", '"{{question}}"', '"{{question}} big"', ["toy_generate"]),
    ("toy_generate.yaml", "max_gen_toks: 12", "max_gen_toks: 11", ["toy_generate"]),
    ("toy_generate.jsonl", "a bird", "a dark bird", ["toy_generate"]),
    ("toy_generate.jsonl", '"house"', '"home"', ["toy_generate"]),
    ("toy_pages.py", "FACTOR = 2", "FACTOR = 3", ["toy_pages"]),
    ("toy_pages.py", "FACTOR * len", "1 + FACTOR * len", ["toy_pages"]),
    ("shots.jsonl", "Who sees the fox?", "Who hears the fox?", ["toy_shots"]),
    ("toy_group.yaml", "weight_by_size: true", "weight_by_size: false", ["toy_group"]),
    ("toy_group.yaml", "toy_left, toy_right", "toy_left", ["toy_group"]),
    ("toy_left.jsonl", "Who sees the bird?", "Who hears the bird?", ["toy_shots", "toy_group"]),
]


@pytest.mark.parametrize(("name", "old", "new", "expected"), TASK_FILES)
def test_a_changed_file_of_a_task_is_not_answered_from_a_stored_result(
    loaded, toys, again, name, old, new, expected
):
    file = toys / name
    original = file.read_text()
    assert original.count(old)
    try:
        file.write_text(original.replace(old, new))
        kept = [entry["name"] for entry in ENTRIES if entry["name"] not in expected]
        assert reused(loaded, toys, again) == kept
    finally:
        file.write_text(original)


def test_task_files_touched_and_copied_are_answered_from_the_stored_results(
    loaded, toys, again, tmp_path
):
    for file in toys.iterdir():
        os.utime(file)
    names = [entry["name"] for entry in ENTRIES]
    assert reused(loaded, toys, again) == names
    copy = Path(shutil.copytree(toys, tmp_path / "copied"))
    for file in copy.glob("*.yaml"):
        file.write_text(file.read_text().replace(str(toys), str(copy)))
    assert reused(loaded, copy, again) == names


def test_the_packages_that_a_tasks_code_imports_count(toys, tmp_path):
    copy = Path(shutil.copytree(toys, tmp_path / "copied"))
    (copy / "helper.py").write_text("def f():\n    import json, yaml\n    from torch import nn\n")
    (copy / "broken.py").write_text("import click; print 1")
    found = task_code.described([loaded_task("toy_pages", copy)])
    assert found["packages"] == records.package_versions(["PyYAML"])
    for name in ("bench_trap", "bench_knowledge", "bench_text", "bench_instructions"):
        assert task_code.described([loaded_task(name, bench.tasks_dir())]) == {}


def test_the_packages_that_lm_evals_metrics_of_a_task_use_count(toys, tmp_path):
    copy = Path(shutil.copytree(toys, tmp_path / "copied"))
    file = copy / "toy_generate.yaml"
    text = file.read_text()
    for metric, package in (("bleu", "sacrebleu"), ("f1", "scikit-learn")):
        added = f"metric_list:\n  - {{metric: {metric}, aggregation: {metric}}}"
        file.write_text(text.replace("metric_list:", added))
        found = task_code.described([loaded_task("toy_generate", copy)])
        assert found == {"packages": records.package_versions([package])}


def test_the_data_that_a_tasks_code_has_nltk_look_up_counts(toys, tmp_path, monkeypatch):
    nltk = pytest.importorskip("nltk")
    copy = Path(shutil.copytree(toys, tmp_path / "copied"))
    add_text("toy_pages.py", '\nimport nltk\ndef g():\n    nltk.data.find("tokenizers/mine")\n')(
        copy
    )
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])

    def described():
        return task_code.described([loaded_task("toy_pages", copy)])

    before = described()
    assert "nltk" in before["packages"] and "nltk_sha256" not in before
    for text in ("a", "b"):
        add_text("mine/words.txt", text)(mkdir(tmp_path / "nltk_data" / "tokenizers"))
        after = described()
        assert after["nltk_sha256"] != before.get("nltk_sha256")
        before = after


def loaded_task(name: str, folder: Path):
    found = tasks.load(name, num_fewshot=0, fewshot_seed=0, generation=None, folders=[folder])
    return found.tasks[name]


def mkdir(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- scores, kept neurons, noise


def test_scores_and_kept_neurons_depend_on_weights_configuration_dtype_and_score_file(
    loaded, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("score.py").write_text(SCORE_FILE)
    request = {"criterion": "score.py:mine", "pruning_ratio": 0.4}

    def inputs(identity):
        scoring = scored.scoring_inputs(
            identity, criteria=["score.py:mine"], seeds=[0], counts={"r0.40": 2}
        )
        return scoring, kept_neurons.pruning_inputs(identity, Selection(**request))

    before = inputs(loaded.identity)
    of_weights = {"id", "revision", "dtype", "weights_sha256", "config_sha256"}
    for name in loaded.identity:
        after = inputs(loaded.identity | {name: "other"})
        assert (before[0] != after[0]) == (before[1] != after[1]) == (name in of_weights), name
    Path("score.py").write_text(SCORE_FILE + "# better")
    after = inputs(loaded.identity)
    assert before[0] != after[0] and before[1] != after[1]
    Path("score.py").write_text("import yaml\n")
    before = inputs(loaded.identity)
    monkeypatch.setattr(records, "package_versions", lambda names: dict.fromkeys(names, "0.0"))
    after = inputs(loaded.identity)
    assert before[0] != after[0] and before[1] != after[1]


def test_tuned_noise_depends_on_all_that_reads_the_calibration_text(loaded):
    text = calibration.Text("t", ("A quiet town.",))
    asked = {
        "matched": kept_neurons.choose_neurons(loaded.model, Selection(pruning_ratio=0.4)),
        "wanted": Selection("noise", pruning_ratio=0.4),
        "text": text,
        "settings": {"add_bos_token": True},
    }
    before = noise.inputs(loaded.identity | {"threads": 1}, **asked)
    counts = {"id", "revision", "dtype", "weights_sha256", "config_sha256", "tokenizer_sha256",
              "device", "threads"}  # fmt: skip
    for name in loaded.identity:
        value = 2 if name == "threads" else not loaded.identity[name]
        after = noise.inputs(loaded.identity | {"threads": 1, name: value}, **asked)
        assert (before != after) == (name in counts or name == "synthetic"), name
    others = {
        "wanted": [Selection("noise", 1, pruning_ratio=0.4), Selection("noise", pruning_ratio=0.5)],
        "text": [calibration.Text("t", ("A town.",))],
    }
    for name, value in ((name, value) for name, values in others.items() for value in values):
        assert noise.inputs(loaded.identity | {"threads": 1}, **asked | {name: value}) != before
