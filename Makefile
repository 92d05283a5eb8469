# On a fresh machine this needs make and Python 3.11 or newer, nothing else.
#   make demo    train, measure and report on handwritten digits, in .venv (about five minutes on two cores)
#   make check   lint, format, types
#   make test    the tests, in three processes
#   make test-float32   those that depend on the processor's precision, as on one without units for bfloat16
#   make docs    the documentation, as HTML
#   make soak    the tests that take long: kills, restarts, long runs (about half an hour on two cores)
#   make bench   the benchmarks, beside the peers and the machine (about half an hour on two cores)
#   make models  the released models but digits, trained, measured and packed in dist/ (85 minutes of training on two cores)
#   make engine  the browser's kernels, to the bytes that are committed: with Debian's clang 14 and lld
#   make setup   only what test, check and docs need
#   make clean   removes the environment and what tools left behind, never runs/

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
RUN ?= runs/demo
KERNELS ?= src/ancestral/share/net.wasm
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Python keeps what it has compiled, whatever the caller's environment says: tests start it a hundred times.
unexport PYTHONDONTWRITEBYTECODE

# A thread that waits soon leaves its core: beside other work, threads that spin for long train ten times slower.
export GOMP_SPINCOUNT ?= 10000

# Test processes share the machine, so each computes on one thread; three on two cores, as tests often wait for other
# processes. Left to itself xdist begins the files with the fewest tests last, which take the longest.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := demo
.PHONY: demo test test-float32 soak check docs bench models engine setup clean

demo: $(VENV)/.installed-demo
	$(BIN)/ancestral train digits --out $(RUN)
	$(BIN)/ancestral evaluate $(RUN) --images 500
	$(BIN)/python examples/agreement.py $(RUN)
	$(BIN)/ancestral report $(RUN)
	@echo "report: $(abspath $(RUN)/report.html)"

test: $(VENV)/.installed-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-float32: $(VENV)/.installed-dev
	ONEDNN_MAX_CPU_ISA=AVX512_CORE $(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m "precision and not slow" \
		$$(grep -rl --include="test_*.py" "mark.precision" tests)

soak: $(VENV)/.installed-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -rP -m "slow and not gpu and not network"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src examples benchmarks distribution

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html
	@echo "docs: $(abspath docs/_build/html/index.html)"

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

models: $(VENV)/.installed-dev
	$(BIN)/python distribution/models.py

engine:
	clang --target=wasm32 -msimd128 -mbulk-memory -O3 -std=c11 -Wall -Wextra -nostdlib -Wl,--no-entry \
		-Wl,--export=__heap_base -Wl,--strip-all -o $(KERNELS) src/ancestral/share/net.c
	chmod 644 $(KERNELS)

setup: $(VENV)/.installed-dev

# A file beside the environment remembers what was installed; changing what is asked for makes it out of date.
$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on the path; or: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch goes first, alone, so that the build a machine's pip prefers is settled before anything asks for torch.
$(VENV)/.installed-torch: constraints.txt | $(VENV)/.created
	$(INSTALL) torch
	@touch $@

$(VENV)/.installed-demo: pyproject.toml $(VENV)/.installed-torch
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed-torch
	$(INSTALL) -e ".[dev]"
	@touch $(VENV)/.installed-demo $@

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
