"""The six public verbs, as README shows them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ppmlib
from ppmlib.analyse import sources
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.prune import slicing

REPOSITORY = Path(__file__).parents[1]


def test_the_lines_of_the_readme_run():
    (lines,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert sum(f"ppmlib.{verb}(" in lines for verb in ppmlib.__all__) == len(ppmlib.__all__) == 6
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bench_knowledge" in done.stdout and "worse" in done.stdout


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = "import sys, ppmlib; print({'torch', 'transformers', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture(scope="module")
def model():
    return ppmlib.load("bench-small")


def test_slice_gives_a_narrower_copy_with_the_output_of_the_masked_model(model):
    scores = ppmlib.score(model)
    layers, width = scores.shape
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    keep = ppmlib.select(model, scores, pruning_ratio=0.5)
    assert keep.shape == (layers, width // 2)
    narrow = ppmlib.slice(model, keep)
    assert narrow.model.config.intermediate_size == width // 2
    assert narrow.tokenizer is model.tokenizer
    after = model.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    masked = slicing.mlp_outputs(model.model, keep)
    torch.testing.assert_close(slicing.mlp_outputs(narrow.model), masked)


def test_select_takes_an_expansion_ratio_and_refuses_two_ratios(model):
    scores = ppmlib.score(model)
    hidden_size = model.model.config.hidden_size
    keep = ppmlib.select(model, scores, expansion_ratio=2.0)
    assert keep.shape[1] == 2 * hidden_size
    with pytest.raises(ValueError, match="either pruning_ratio or expansion_ratio"):
        ppmlib.select(model, scores, pruning_ratio=0.5, expansion_ratio=2.0)


def test_evaluate_takes_names_and_rows_of_a_study_file(model):
    row = {"name": "bench_knowledge", "num_fewshot": 0, "metric": "acc_norm", "filter": "none",
           "axis": "knowledge"}  # fmt: skip
    named, rowed = (ppmlib.evaluate(model, [task], limit=20) for task in ("bench_knowledge", row))
    assert named.equals(rowed)
    assert set(named["metric"]) == {"acc", "acc_norm"} and set(named["n"]) == {20}
    with pytest.raises(EvaluationError, match="no task 'bench_knowlege'"):
        ppmlib.evaluate(model, ["bench_knowlege"])


def test_study_reads_the_tables_of_a_finished_study():
    tables = ppmlib.study(sources.example_dir())
    assert {"worse", "inconclusive"} <= set(tables.verdicts["change"])
    assert {"value", "low", "high", "level"} <= set(tables.scores)
    assert len(tables.claims) == 3 and tables.conclusions and tables.limits
