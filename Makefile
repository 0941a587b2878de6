# make serve | make test | make setup | make image | make container-test | make check-all | make quality | make bench | make lock | make upgrade-check
HOST ?= 127.0.0.1
PORT ?= 3000
PY := .venv/bin/python
export BENTOML_DO_NOT_TRACK ?= True

.PHONY: serve setup test lint image container-test check-all quality load bench lock upgrade-check clean

serve: .venv/.training ## install, train the default models if there are none, serve them
	@$(PY) -m training --if-empty
	@$(PY) -m service --host $(HOST) --port $(PORT)

setup: .venv/.training ## make .venv with all that training and serving need

test: .venv/.development lint ## everything that needs only Python and loopback
	$(PY) -m pytest

lint: .venv/.development
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

image: .venv/.training ## an image with models inside: MODELS="housing:3 penguins" EXTRAS="arrow grpc" IMAGE=tabserve:latest
	@MODELS="$(MODELS)" EXTRAS="$(EXTRAS)" IMAGE="$(IMAGE)" deploy/image.sh

container-test: .venv/.development ## the image and what runs it, for real; FULL=1 adds the image with TensorFlow
	tests/container/engine.sh run $(PY) -m pytest -c tests/container/pytest.ini tests/container $(if $(FULL),--full)

check-all: test container-test ## what CI runs; without a container engine the second half is skipped elsewhere

quality: .venv/.development ## train every bundled table and print how good the models are (minutes)
	$(PY) -m training.quality

load: .venv/.development ## two short load tests of a server that they start; ends with the path of the report
	@$(PY) -m training --if-empty
	@$(PY) -m loadtest run --rate 200 --seconds 10 --out build/load/steady
	@$(PY) -m loadtest saturate --seconds 2 --steady-seconds 10 --out build/load/saturate

bench: .venv/.development ## servers beside each other: the limit, BentoML, Keras, ours (minutes)
	$(PY) -m loadtest bench servers --picture docs/pictures/bench.svg

.venv/.%: requirements/%.lock requirements/install.sh
	@requirements/install.sh $*

lock: ## pin all dependencies anew; needs uv
	requirements/lock.sh

upgrade-check: .venv/.development ## would the newest BentoML, uvicorn, … break a hook or a test? FULL=1: all tests (minutes)
	$(PY) requirements/upgrade_check.py $(if $(FULL),--full)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
