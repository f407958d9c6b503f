# The two commands of the README are `make demo` and `make test`.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,$(shell $(name) -c 'import sys; sys.version_info[:2] == (3, 11) and print("$(name)")' 2>/dev/null)))
BIN := .venv/bin
WORKERS ?= 2
REAL ?= ../shared/data

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test thorough view check docs bench experiment clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: .venv/.ready ## the virtual environment .venv, with everything that the tests need

.venv/.ready: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "synthgen needs Python 3.11 (Blender's bpy 5.0 is built for it) and found none on the PATH."; \
	  echo "Install it (for example: apt-get install python3.11 python3.11-venv, brew install python@3.11, or uv python install 3.11),"; \
	  echo "or name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11"; exit 1; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) lacks venv; install it (for example: apt-get install python3.11-venv)."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test,check]'
	@touch $@

view: # mypy and editors see the packages where they install
	@rm -rf .view && mkdir -p .view/synthgen
	@for file in synthgen/*; do ln -s ../../$$file .view/$$file; done
	@for folder in generator pose_spaces shape_spaces blender_assets training; do ln -s ../../$$folder .view/synthgen/$$folder; done

demo: setup ## 2,000 hands and 500 bodies with their contact sheets, in data/
	$(BIN)/synthgen render --spec hand.yaml --count 2000 --workers $(WORKERS) --out data/demo_hand
	$(BIN)/synthgen render --spec body.yaml --count 500 --workers $(WORKERS) --out data/demo_body
	@echo "Contact sheets: data/demo_hand/assets/contact_sheet.png data/demo_body/assets/contact_sheet.png"

quick: setup ## the tests of everyday work: without Blender, in under 90 s
	$(BIN)/pytest -m "not slow and not bpy"

test: setup check ## lint, types and all tests but those of `make thorough`
	$(BIN)/pytest --durations=25

thorough: setup ## the laws on 1,000 random examples each, and the Hub's Xet transfers
	$(BIN)/pytest --hypothesis-profile=thorough -m "hypothesis or thorough"

check: setup view ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .view/synthgen

docs: setup ## the parts of docs/ that are generated
	$(BIN)/python -m synthgen.specs.reference > docs/spec.md
	$(BIN)/python -m benchmarks.landmark_figures
	$(BIN)/synthgen preview --engine raster --spec paper_hand -n 24 --out docs/images/hands.png
	$(BIN)/synthgen preview --engine raster --spec paper_body -n 12 --out docs/images/bodies.png
	$(BIN)/synthgen preview --engine raster --spec paper_hand -n 12 --artefacts --out docs/images/hands_artefacts.png
	$(BIN)/synthgen preview --engine raster --spec paper_body -n 6 --artefacts --out docs/images/bodies_artefacts.png

bench: setup ## every measurement that the docs quote; half an hour
	$(BIN)/python -m benchmarks.throughput --hands 6000 --bodies 1500
	$(BIN)/python -m benchmarks.throughput --workers --hands 5000 --bodies 1500
	$(BIN)/python -m benchmarks.memory --spec hand --count 20000
	$(BIN)/python -m benchmarks.memory --spec body --count 20000
	$(BIN)/python -m benchmarks.shape_coverage
	$(BIN)/python -m benchmarks.pose_coverage
	$(BIN)/python -m benchmarks.label_truth
	$(BIN)/python -m benchmarks.engines
	$(BIN)/python -m benchmarks.rate --hands 50000 --bodies 10000 --rounds 2
	$(BIN)/python -m benchmarks.first_image
	$(BIN)/python -m benchmarks.live
	$(BIN)/synthgen render --spec hand --engine raster --count 10000 --workers $(WORKERS) --out data/bench_hand
	$(BIN)/python -m benchmarks.streaming --data data/bench_hand --what read
	$(BIN)/python -m benchmarks.streaming --data data/bench_hand --what train
	$(BIN)/python -m benchmarks.neighbours
	$(BIN)/python -m benchmarks.push_change
	$(BIN)/python -m benchmarks.scan_truth --spec paper_body --spacing 1.5 -n 50
	$(BIN)/python -m benchmarks.scan_truth --spec body --spacing 4 -n 20
	$(BIN)/python -m benchmarks.scan_truth --spec hand --spacing 1.5 -n 25
	$(BIN)/python -m benchmarks.scan_truth --spec hand --spacing 4 -n 25

experiment: setup ## the paper's methods on nine real radiographs in REAL; an hour
	@mkdir -p data
	$(BIN)/synthgen spec init hand --out - | sed 's/^landmarks: fingertips/landmarks: fingertip_bones/' > data/bones.yaml
	$(BIN)/synthgen render --spec data/bones.yaml --engine raster --count 62500 --workers $(WORKERS) --out data/bones
	$(BIN)/python -m benchmarks.radiographs --data $(REAL) --out data/radiographs --landmarks fingertip_bones
	test -e data/radiographs/scans.h5 || $(BIN)/synthgen scans build data/radiographs/scans.csv --spec data/bones.yaml --out data/radiographs/scans.h5
	$(BIN)/synthgen experiment --data data/bones --scans data/radiographs/scans.h5 --config quick_hand --folds 3 --out results/quick_hand
	$(BIN)/python -m benchmarks.offsets --scans data/radiographs/scans.h5 --results results/quick_hand
	$(BIN)/synthgen experiment --data data/bones --scans data/radiographs/scans.h5 --config quick_heatmap --folds 3 --out results/quick_heatmap
	$(BIN)/python -m benchmarks.offsets --scans data/radiographs/scans.h5 --results results/quick_heatmap

clean: ## everything that make made, except data/
	rm -rf .venv .view build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
