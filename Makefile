# make install   sets up .venv with .venv/bin/stormseg
# make demo      segments the shipped simulated image into demo_out/
# make test      style, types, tests, and the tests that need ImageJ's window or a browser
# make weights   trains a sister of stardist-storm in training/ (hours on 2 cores; go on after a stop with RESUME=--resume)
# make mask-weights   trains one of mask-rcnn-storm
# make picture   makes the README's pictures anew
# make clean     removes what demo and test made
#
# Another Python than python3: make install PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
SAMPLE := stormseg_ij/samples/tissue.tif
# What Java's windows need on a machine without a desktop (Debian's and Ubuntu's names).
WINDOW_PACKAGES := xvfb libx11-6 libxext6 libxi6 libxrender1 libxtst6 libfontconfig1 fonts-dejavu-core
# What shows the report's page to its tests: one of these, or Debian's package. Ubuntu has none: install Chrome by hand.
BROWSERS := chromium-headless-shell chromium chromium-browser google-chrome chrome-headless-shell
BROWSER_PACKAGES := chromium-headless-shell
# The tests without a window: a process for each core, but no more than four, because each holds a TensorFlow and a Java
# (about 2 GB). The tests of one file stay together: they share what its fixtures made.
IN_PARALLEL := -n logical --maxprocesses 4 --dist loadfile

.PHONY: install demo test weights mask-weights picture clean

install: $(STAMP)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing stormseg and what it needs into .venv (the first time about 1 GB to download, some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@
	@echo "Done: $(BIN)/stormseg --help"

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here: install Python 3.11, 3.12 or 3.13, or name yours: make install PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v[:2] <= (3, 13) or sys.exit( \
	  "$(PYTHON) is Python %d.%d: stormseg needs 3.11, 3.12 or 3.13; name one: make install PYTHON=python3.12" % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"; \
	  exit 1; }
	@$(PYTHON) -m venv .venv

demo: install
	$(BIN)/stormseg segment $(SAMPLE) -o demo_out --overwrite

# pytest runs all but the window tests and ends with how many those are; then they run, file by file (tests/window/run.py).
test: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if [ -z "$$(for name in $(BROWSERS); do command -v $$name; done)" ] \
	    && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing a browser for the tests of the report: apt-get install $(BROWSER_PACKAGES)"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq --no-install-recommends $(BROWSER_PACKAGES); } >/dev/null || true; \
	fi; \
	if ! command -v Xvfb >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing Xvfb for the window tests: apt-get install $(WINDOW_PACKAGES)"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq --no-install-recommends $(WINDOW_PACKAGES); } >/dev/null || true; \
	fi; \
	status=0; \
	$(BIN)/python -m pytest $(IN_PARALLEL) || status=1; \
	if command -v Xvfb >/dev/null; then \
	  echo "Now the window tests:"; \
	  $(BIN)/python tests/window/run.py || status=1; \
	else \
	  echo "There is no Xvfb: the window tests are left out (Debian, Ubuntu: sudo apt-get install $(WINDOW_PACKAGES))"; \
	fi; \
	exit $$status

# Images are simulated while it trains. SHAPES=FOLDER: shapes of real nuclei beside the drawn ones; the shipped model had
# those of DSB2018 (BBBC038, CC0), and began with the weights of its first version: see its card.
weights: install
	$(BIN)/stormseg train -o training/stardist-storm --simulate 16 $(if $(SHAPES),--shapes "$(SHAPES)") --epochs 270 \
	  --steps 100 --batch 4 --learning-rate 3e-4 --cosine --diameter 30 --blur 1 --gamma 0.5 --largest-scale 2 --seed 2 $(RESUME)

# The same for mask-rcnn-storm; SHAPES and RESUME as above.
mask-weights: install
	$(BIN)/stormseg train -o training/mask-rcnn-storm --model mask-rcnn --simulate 16 \
	  $(if $(SHAPES),--shapes "$(SHAPES)") --backbone resnet26 --backbone-width 32 --pyramid-width 128 --rpn-width 128 \
	  --head-width 256 --mask-width 64 --patch 192 --batch 4 --epochs 26 --steps 100 --learning-rate 1e-3 --cosine \
	  --diameter 32 --blur 1 --gamma 0.5 --largest-scale 2 --train-anchors 128 --train-rois 64 --truth-proposals --no-aligned \
	  --most-instances 1000 --min-probability 0.9 --final-nms 0.3 --half-precision --seed 2 $(RESUME)

# The README's pictures: the real ImageJ on a display of its own.
picture: install
	xvfb-run -a -s "-screen 0 1280x810x24" $(BIN)/python docs/gallery.py docs
	xvfb-run -a -s "-screen 0 1280x810x24" $(BIN)/python docs/fiji_gallery.py docs

clean:
	rm -rf demo_out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find stormseg_ij tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
