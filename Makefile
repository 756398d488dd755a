# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
SOURCES := predict.py predict_ddfs.py evaluate.py tusrec model pipeline bench test

# Two torch processes that spin on the same cores run ten times slower than they need.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint bench convert-baseline clean

demo: $(READY)  ## predict the sample scan and print its errors and scores
	$(PY) predict.py --input sample --output out/demo/classical --overwrite
	$(PY) evaluate.py --truth sample --pred out/demo/classical --mirror --json out/demo/evaluation.json

test: $(READY)  ## all tests
	$(PY) -m pytest

lint: $(READY)  ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(SOURCES)

bench: $(READY)  ## time and memory of the main job, as ratios in one run
	$(PY) -m bench.main_job

docs/sample.png: demo  ## the README's picture
	$(PY) -m bench.picture out/demo/classical $@

convert-baseline: $(READY)  ## the organisers' weight file to safetensors: make convert-baseline FILE=...
	@test -n "$(FILE)" || { echo "usage: make convert-baseline FILE=best_validation_dist_model" >&2; exit 2; }
	$(PY) -m model.convert_baseline "$(FILE)"

$(READY): requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf out $(VENV)
