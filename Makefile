# Every target does its own set-up; `make help` tells what there is.
PYTHON ?= python3
CACHE  ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/anomaly-worker
DEMO   := .venv-demo
DEV    := .venv

.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka test test-image test-kubernetes test-page test-sinks chaos chaos-campaign load soak mutants fuzz simulate check bench broker lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(DEMO)/.ready ## Train on real machine data, run the worker on an embedded cluster, show what it found (needs Python alone)
	@$(DEMO)/bin/anomaly-worker demo

demo-kafka: $(DEV)/.ready ## The same on a real Kafka broker, exactly once, with a worker killed in mid-stream (needs Java 17 and Maven)
	@$(DEV)/bin/python -m tests.demo_kafka

test: $(DEV)/.ready ## Every test, on a real Kafka broker (needs Java 17 and Maven)
	@$(DEV)/bin/python -m tests.broker install
	$(DEV)/bin/python -m pytest $(ARGS)

# What these run on Debian's packages install them, as root.
BROKER := java mvn
IMAGE  := podman runc debootstrap
NODE   := containerd conntrack ip mount openssl unshare /usr/lib/cni/bridge

test-image: $(DEV)/.ready ## Build the images, let workers score a topic and the training job train (on Debian, as root)
	@$(DEV)/bin/python -m tests.debian $(BROKER) $(IMAGE)
	@$(DEV)/bin/python -m tests.broker install
	$(DEV)/bin/python -m pytest tests/image/image_checks.py $(ARGS)

test-page: $(DEV)/.ready ## Show the worker's page to Chromium, light and dark, on desktop and phone; keeps the pictures (on Debian, as root)
	@$(DEV)/bin/python -m tests.debian chromium
	$(DEV)/bin/python -m pytest tests/browser/page_checks.py $(ARGS)

test-sinks: $(DEV)/.ready ## The examples for ClickHouse and Flink on the real engines (a few hundred megabytes, once)
	@$(DEV)/bin/python -m tests.debian $(BROKER)
	@$(DEV)/bin/python -m tests.broker install
	$(DEV)/bin/python -m pytest tests/sinks/engine_checks.py $(ARGS)

test-kubernetes: $(DEV)/.ready ## Install the chart on a real Kubernetes of one node, and strike it under load (on Debian, as root)
	@$(DEV)/bin/python -m tests.debian $(BROKER) $(IMAGE) $(NODE)
	@$(DEV)/bin/python -m tests.broker install
	@$(DEV)/bin/python -m tests.kubernetes $(ARGS)

SEED    ?= 1
MINUTES ?= 10
KILLS   ?= 60
chaos: $(DEV)/.ready ## Workers killed at every step on a real broker, and every record held to the log (SEED=1 MINUTES=10 KILLS=60)
	@$(DEV)/bin/python -m tests.broker install
	@$(DEV)/bin/python -m tests.chaos.run --seed $(SEED) --minutes $(MINUTES) --kills $(KILLS) $(ARGS)

chaos-campaign: KILLS = 2000
chaos-campaign: $(DEV)/.ready ## Chaos runs until so many kills were aimed; may be cut, goes on where it was (KILLS=2000; hours)
	@$(DEV)/bin/python -m tests.broker install
	@$(DEV)/bin/python -m tests.chaos.campaign --kills $(KILLS) $(ARGS)

load: $(DEV)/.ready ## More events than a worker can take, a million entities, entities that come and go: memory and drain (half an hour)
	@$(DEV)/bin/python -m tests.broker install
	@$(DEV)/bin/python -m tests.load overload
	@$(DEV)/bin/python -m tests.load entities
	@$(DEV)/bin/python -m tests.load churn

soak: MINUTES = 60
soak: $(DEV)/.ready ## An hour of steady load: memory, file descriptors and threads (MINUTES=60)
	@$(DEV)/bin/python -m tests.broker install
	@$(DEV)/bin/python -m tests.load soak --minutes $(MINUTES) $(ARGS)

mutants: $(DEV)/.ready ## Workers with one fault each: the verifiers must catch every one as what it is (an hour)
	@$(DEV)/bin/python -m tests.broker install
	@$(DEV)/bin/python -m tests.chaos.mutants $(ARGS)

check: $(DEV)/.ready ## Lint, format, types and import contracts
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

bench: $(DEV)/.ready ## Events a second beside the floor and the hand-written loop, in one run
	@$(DEV)/bin/python -m tests.broker install
	$(DEV)/bin/python -m tests.benchmarks.throughput $(ARGS)

fuzz: $(DEV)/.ready ## Bad records and bad artifacts by chance (INPUTS=, MUTATIONS=, SEED=): exit 1 with the smallest that breaks a promise
	@$(DEV)/bin/python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS)) $(if $(MUTATIONS),--mutations $(MUTATIONS)) $(if $(SEED),--seed $(SEED))

simulate: $(DEV)/.ready ## Many schedules of faults in a simulated cluster, over all cores (SCHEDULES=5000 SEED=1)
	@$(DEV)/bin/python -m tests.simulator --schedules $(or $(SCHEDULES),5000) --seed $(or $(SEED),1)

broker: $(DEV)/.ready ## A real Kafka broker in the foreground, for trying things out (stop it with Ctrl-C)
	@$(DEV)/bin/python -m tests.broker run

# An environment is rebuilt when its lock changes; its stamp is written last.
$(DEV)/.ready: requirements/dev.txt requirements/bootstrap.txt pyproject.toml hatch_build.py worker/_rows.c requirements/make-environment
	@requirements/make-environment "$(PYTHON)" $(DEV) requirements/dev.txt

$(DEMO)/.ready: requirements/demo.txt requirements/bootstrap.txt pyproject.toml hatch_build.py worker/_rows.c requirements/make-environment
	@requirements/make-environment "$(PYTHON)" $(DEMO) requirements/demo.txt

lock: ## Resolve the dependencies anew (writes requirements/*.txt; needs uv)
	@requirements/lock

clean: ## Remove environments and everything that was built (caches under the user's cache folder stay)
	rm -rf $(DEV) $(DEMO) worker/_rows.abi3.so build dist .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
