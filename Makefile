# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
IMAGE ?= tusrec
TOOLS := .cache/tools
SOURCES := predict.py predict_ddfs.py evaluate.py reconstruct.py simulate.py train.py \
	tusrec model pipeline sim training view bench test

# Two torch processes that spin on the same cores run ten times slower than they need.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint bench score train rivals finetune convert-baseline clean \
	image judge faults submission sbom licences lock image-lint
# What is built is used by the next, and each takes all cores.
.NOTPARALLEL:

demo: $(READY)  ## predict the sample scan, print its errors and scores, write its report and volume
	$(PY) predict.py --input sample --output out/demo/tusrec --overwrite --report
	$(PY) predict.py --input sample --output out/demo/classical --model classical --overwrite
	$(PY) evaluate.py --truth sample --pred out/demo/tusrec out/demo/classical --mirror --json out/demo/evaluation.json
	$(PY) reconstruct.py --input sample --pred out/demo/tusrec --output out/demo/volume --lit --fill-holes 4
	@echo 'look at out/demo/tusrec/report.html in a browser, out/demo/volume in 3D Slicer'

test: $(READY)  ## all tests
	$(PY) -m pytest

lint: $(READY)  ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(SOURCES)

# Needs 12 GB under TMPDIR, for the dense fields of a long scan; 2.2 GB of held-out scans stay in .cache/score.
bench: $(READY)  ## time and memory as ratios within one run; the simulator against its physics
	$(PY) -m bench.main_job
	$(PY) -m bench.simulator
	$(PY) -m bench.volume
	$(PY) -m bench.report
	$(PY) -m bench.pose_model
	$(PY) -m bench.speckle_floor
	$(PY) -m bench.recordings

SCORE ?= out/score.json

score: $(READY)  ## errors and scores of what has weights: make score [CHECKPOINT=FILE] [BASELINE=FILE]
	mkdir -p $(dir $(SCORE))
	$(PY) -m bench.score --json $(SCORE) $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) \
		$(if $(BASELINE),--baseline-checkpoint $(BASELINE))
	$(PY) -m bench.persistence

CLIPS ?= .cache/clips
CLIPS_EACH ?= 5000
# Processes that make clips. nproc would heed what OpenMP is told, which is of threads.
MAKERS ?= $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
SIMULATE = $(PY) -m training.simulated --jobs $(MAKERS)
MINUTES ?= 600
# Long clips that set the uncertainty, and twice as many of rotation scans.
UNSEEN_SWEEPS ?= 30
# Processes that train. On a CPU one a core sees 1.6 times as many pairs as one on two cores.
TRAINERS ?= 1
TUNING_MINUTES ?= 240
# FOLD= trains on everybody; CALIBRATE then names scans of people who are not in DATA.
FOLD ?= 0
OUTPUT ?= out/finetune/fold$(FOLD)
FROM ?= weights/tusrec.safetensors
CALIBRATE ?= $(if $(FOLD),$(DATA))

train: $(READY)  ## as the shipped weights were made: simulate clips, train; the same command goes on
	$(SIMULATE) $(CLIPS)/rotation --seed 1 --usual rotation --length 32 --count $(CLIPS_EACH)
	$(SIMULATE) $(CLIPS)/wide --seed 2 --length 48 --count $(CLIPS_EACH)
	$(SIMULATE) $(CLIPS)/sweeps --seed 3 --usual sweeps --length 32 --count $(CLIPS_EACH)
	$(SIMULATE) $(CLIPS)/grabbed --seed 4 --usual rotation --grabbed --length 32 --count $(CLIPS_EACH)
	$(SIMULATE) $(CLIPS)/grabbed --seed 5 --usual sweeps --grabbed --length 32 --count $(CLIPS_EACH)
	$(PY) $(if $(filter-out 1,$(TRAINERS)),-m torch.distributed.run --standalone --nproc-per-node $(TRAINERS)) train.py \
		--data $(CLIPS)/rotation $(CLIPS)/wide $(CLIPS)/sweeps $(CLIPS)/grabbed --rate 2e-3 --keep 2000 \
		--minutes $(MINUTES) --validate-minutes 1e9 --output out/train
	$(SIMULATE) $(CLIPS)/unseen/sweeps --seed 3 --usual sweeps --length 400 --first 100000 \
		--count $(UNSEEN_SWEEPS)
	$(SIMULATE) $(CLIPS)/unseen/rotation --seed 1 --usual rotation --length 400 --first 100000 \
		--count $$((2 * $(UNSEEN_SWEEPS)))
	$(PY) -m training.export out/train --weights out/train/weights --calibrate $(CLIPS)/unseen

RIVALS_EACH ?= 400
RIVALS_MINUTES ?= 40

rivals: $(READY)  ## tusrec against the organisers' network, both from the start, same clips and minutes
	$(SIMULATE) $(CLIPS)/sweeps --seed 3 --usual sweeps --length 32 --count $(RIVALS_EACH)
	$(SIMULATE) $(CLIPS)/rotation --seed 1 --usual rotation --length 32 --count $(RIVALS_EACH)
	export OMP_NUM_THREADS=1; trap 'kill $$baseline 2>/dev/null' EXIT INT TERM; \
	$(PY) train.py --model baseline --data $(CLIPS)/rotation $(CLIPS)/sweeps --keep 500 \
		--minutes $(RIVALS_MINUTES) --validate-minutes 1e9 --output out/rivals/baseline & baseline=$$!; \
	$(PY) train.py --data $(CLIPS)/rotation $(CLIPS)/sweeps --keep 500 \
		--minutes $(RIVALS_MINUTES) --validate-minutes 1e9 --output out/rivals/tusrec && wait $$baseline
	$(MAKE) score CHECKPOINT=out/rivals/tusrec/checkpoint.safetensors \
		BASELINE=out/rivals/baseline/checkpoint.safetensors SCORE=out/rivals/score.json

finetune: $(READY)  ## tune the shipped weights on tracked scans: make finetune DATA="DIR DIR" [FOLD=0] [OUTPUT=DIR] [FROM=FILE] [CALIBRATE="DIR DIR"]
	@test -n "$(DATA)" || { echo 'usage: make finetune DATA="DIR DIR" [FOLD=0] [OUTPUT=DIR] [FROM=FILE] [CALIBRATE="DIR DIR"]' >&2; exit 2; }
	$(PY) train.py --data $(DATA) $(if $(FOLD),--fold $(FOLD)) --from $(FROM) \
		--minutes $(TUNING_MINUTES) --cache out/clips --output $(OUTPUT)
	$(PY) -m training.export $(OUTPUT) --weights $(OUTPUT)/weights $(if $(CALIBRATE),--calibrate $(CALIBRATE))

convert-baseline: $(READY)  ## the organisers' weight file to safetensors: make convert-baseline FILE=...
	@test -n "$(FILE)" || { echo "usage: make convert-baseline FILE=best_validation_dist_model" >&2; exit 2; }
	$(PY) -m model.convert_baseline "$(FILE)"

image:  ## the container: make image [ARGS="TORCH_BUILD=cu126 TORCH_INDEX=..."]
	IMAGE=$(IMAGE) container/build.sh $(ARGS)

judge: $(READY)  ## play the organisers with it: make judge [TORCH=+cpu]
	$(PY) test/container/judge.py $(IMAGE) --torch "$(TORCH)"

faults: $(READY)  ## a table of faults tried in the running container
	$(PY) test/container/faults.py $(IMAGE)

submission: $(TOOLS)/.ready  ## build, judge, save; print what the organisers' form asks for: make submission [TORCH=+cpu]
	$(MAKE) image judge
	TOOLS=$(TOOLS)/bin container/submission.sh $(IMAGE) out/submission "$(TORCH)"

sbom: $(TOOLS)/.ready  ## what is in the image, for machines
	mkdir -p out
	TOOLS=$(TOOLS)/bin container/sbom.sh $(IMAGE) out/sbom.cdx.json

licences: $(TOOLS)/.ready  ## the list of licences that goes into the image
	mkdir -p out
	TOOLS=$(TOOLS)/bin container/sbom.sh $(IMAGE) out/sbom.cdx.json THIRD_PARTY_LICENSES.md

lock: $(TOOLS)/.ready  ## requirements.txt to the image's hash-locked files
	$(TOOLS)/bin/python container/lock.py

image-lint: $(TOOLS)/.ready
	$(TOOLS)/bin/hadolint Dockerfile

$(TOOLS)/.ready: container/requirements.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet -r $<
	touch $@

$(READY): requirements.txt requirements-sim.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:  ## remove what minutes make again; trained weights, cut clips, scores and submissions stay in out
	rm -rf out/demo out/sbom.cdx.json $(VENV)
