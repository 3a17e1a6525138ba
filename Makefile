# `make demo` and `make test` are all a newcomer needs; both make .venv when it is missing.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help install demo test test-fast proofs coverage kubeflow results up status down lint types lock clean ablation chaos

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The stamps make an interrupted install start again and an up-to-date one cost nothing.
$(VENV)/.installed: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; install Python 3.11 or set PYTHON=..."; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

install: $(VENV)/.installed-dev  ## create .venv with everything, the development tools too

demo: $(VENV)/.installed  ## the sample profile from clips to a registered model (minutes)
	@grep -q '^profile: sample' params.yaml || { echo 'params.yaml names another profile than sample: run `dvc repro`'; exit 2; }
	dvc repro
	@python -m components.results
	@echo 'Next: source .venv/bin/activate, then the command above, or `cfnsr --help`'

# Tests of one file stay in one process, because they share what is slow to make. Files keep the order of
# tests/conftest.py: the longest first. A process that died is not restarted: it would run the same test and die again.
TEST_JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: install lint types $(VENV)-kubeflow/.installed  ## everything that CI runs
	$(PYTEST)

test-fast: install  ## the tests without the slow ones
	$(PYTEST) -m 'not slow and not services and not proof'

proofs: install  ## the tests that take minutes each: the whole demo, several machines, the studies on real files
	$(PYTEST) -m proof

coverage: install  ## the tests, and the lines they reach; takes longer than `make test`
	$(PYTEST) --cov --cov-report=term

# Its libraries can't be installed beside the rest.
$(VENV)-kubeflow/.installed: requirements-kubeflow.txt
	test -x $(VENV)-kubeflow/bin/python || $(PYTHON) -m venv $(VENV)-kubeflow
	$(VENV)-kubeflow/bin/pip install --quiet --disable-pip-version-check -r requirements-kubeflow.txt
	touch $@

kubeflow: $(VENV)-kubeflow/.installed  ## compile the Kubeflow pipeline to kubeflow.yaml
	$(VENV)-kubeflow/bin/python -m pipelines.kubeflow kubeflow.yaml
	@echo 'kubeflow.yaml is ready to be uploaded; docs/scaling.md says how'

results: $(VENV)/.installed  ## docs/results.* from real files: make results RAVDESS=FOLDER
	@test -d "$(RAVDESS)" || { echo 'name your folder of RAVDESS files: make results RAVDESS=FOLDER'; exit 2; }
	python -m pipelines.studies.experiments "$(RAVDESS)"

ablation: $(VENV)/.installed  ## docs/ablation-<profile>.*: every fusion and both encoders of the profile, side by side
	dvc repro mfcc faces
	python -m pipelines.studies.ablation

chaos: install  ## docs/reliability.*: kills, full disks, damaged media, load; about an hour, full disks only as root
	OMP_NUM_THREADS=1 python -m benchmarks.chaos

PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000

up: $(VENV)/.installed  ## Prefect server, MLflow server and workers on this machine, flows deployed
	@python -m pipelines.local.services up --prefect-port $(PREFECT_PORT) --mlflow-port $(MLFLOW_PORT)

status:  ## are the servers and the workers that `make up` started still running
	@python -m pipelines.local.services status

down:  ## end what `make up` has started
	@python -m pipelines.local.services down

lint: install  ## style and common mistakes
	ruff check .
	ruff format --check .

types: install  ## static types
	mypy

# With hashes, pip installs only the very files that were resolved, and refuses whatever has no hash. Extras stay in the
# names because some versions of pip don't find the hash of a package whose extra another one asks for.
COMPILE := uv pip compile --universal -p 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-annotate --no-header

lock: install  ## resolve the pinned requirements again from pyproject.toml
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv
	$(COMPILE) pyproject.toml --upgrade -o requirements.txt
	$(COMPILE) pyproject.toml --extra dev --extra demo --extra onnx --extra openvino --extra postgres --extra kubernetes \
		-c requirements.txt -o requirements-dev.txt
	$(COMPILE) pyproject.toml --extra postgres --extra kubernetes -c requirements-dev.txt -o requirements-services.txt
	sed -n 's/^kubeflow = \["\(.*\)"\].*/\1/p' pyproject.toml | $(COMPILE) - --upgrade -o requirements-kubeflow.txt

clean:  ## remove what the runs made, not .venv and not the DVC cache
	rm -rf data runs studies plots metrics models mlartifacts mlflow.db mlflow.db.lock
