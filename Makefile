# `make run` and `make test` are all that a newcomer needs; the rest is for those who change the code.
# The system's Python first: sandboxes run it as other users, who cannot read one in somebody's home.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Bytecode is kept: without it each server and each worker of the tests compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE
PIP := -m pip --disable-pip-version-check install --require-hashes --no-deps -r

.PHONY: help run test lint types check test-floods test-frameworks test-crashes test-dynamodb test-infra test-rehearsal test-mutations test-images test-full \
	rehearse images synth doctor deploy key outputs destroy bench lock clean
.DEFAULT_GOAL := help

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

run: .venv/local .venv-sandbox/ready bubblewrap ## The whole system on this machine, at http://127.0.0.1:8000
	@exec $(BIN)/python -m opensessions.local.server

test: .venv/dev .venv-sandbox/ready .cache/webhooks/node_modules bubblewrap chromium ## All tests
	@$(BIN)/pytest -n 4

test-floods: .venv/dev .venv-sandbox/ready bubblewrap ## Sandboxes that take all they can get: fork bombs, full disks, memory
	@$(BIN)/pytest -m floods tests/e2e

lint: .venv/dev ## Style and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo

types: .venv/infra ## Strict types
	@$(BIN)/mypy

check: lint types test ## Everything that must be green

test-frameworks: .venv/dev .venv-sandbox/ready bubblewrap chromium ## Stock Vite and Next.js apps, fresh from npm
	@$(BIN)/pytest -m frameworks tests/frameworks

test-crashes: .venv/dev .venv-sandbox/ready bubblewrap ## Sandboxes and servers killed while sessions sleep, wake and go back: 20 rounds each
	@OPENSESSIONS_ROUNDS=20 $(BIN)/pytest -n 2 tests/e2e/test_crash_points.py

test-dynamodb: .venv/dev ## The store's contract on Amazon's own DynamoDB Local, too (needs Java 17 and npm)
	@npm install --silent --no-save --ignore-scripts --prefix .cache/dynamodb amplify-dynamodb-simulator@2.9.30
	@OPENSESSIONS_DYNAMODB_LOCAL=.cache/dynamodb/node_modules/amplify-dynamodb-simulator/emulator \
		$(BIN)/pytest tests/contract

test-infra: .venv/infra ## The stack: synthesised in every shape, and checked against rules
	@$(BIN)/pytest -n 2 -m infra tests/infra tests/bench

# Each of these deploys stacks of its own.
DEPLOYED = $(addprefix tests/rehearsal/test_,mutations.py shapes.py model_keys.py warm_pool.py webhooks.py)

test-rehearsal: .venv/infra .venv-rehearsal/ready .venv-sandbox/ready .cache/cdk/node_modules .cache/webhooks/node_modules bubblewrap ## The stack, deployed to an emulator here and used
	@$(BIN)/pytest -m rehearsal tests/rehearsal $(addprefix --ignore ,$(DEPLOYED))

test-mutations: .venv/infra .venv-rehearsal/ready .venv-sandbox/ready .cache/cdk/node_modules .cache/webhooks/node_modules bubblewrap ## Mistakes in infra/, each found; and other shapes and parts of the stack, deployed by themselves
	@$(BIN)/pytest -m rehearsal $(DEPLOYED)

rehearse: .venv/infra .venv-rehearsal/ready .venv-sandbox/ready .cache/cdk/node_modules bubblewrap ## The same, to be used by hand (FULL=1: the real images, in Podman)
	@$(BIN)/python -m tests.rehearsal $(CHOSEN) $(if $(FULL),--full)

images: .venv/dev ## Both container images, built without Docker (as root, on Debian), and their sizes
	@$(BIN)/python -m tests.images

test-images: .venv/dev ## The images, tried: what is in them, and a turn of a sandbox
	@$(BIN)/pytest -m images tests/images

test-full: .venv/infra .venv-rehearsal/ready .cache/cdk/node_modules ## The stack, deployed with the real images, and what reaches what in it
	@$(BIN)/pytest -m images tests/rehearsal/test_full.py

CDK = PATH="$(CURDIR)/$(BIN):$$PATH" JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=18,20,21,23 .cache/cdk/node_modules/.bin/cdk
# What is chosen for a deployment: make deploy CONTEXT="previews=domain preview_domain=…" (docs/deploy.md)
CHOSEN = $(foreach choice,$(CONTEXT),-c $(choice))

synth: .venv/infra .cache/cdk/node_modules ## The stack as a CloudFormation template, in cdk.out
	@$(CDK) synth --quiet $(CHOSEN)

doctor: .venv/infra ## Whether the AWS account is ready, and what it will cost
	@$(BIN)/python -m infra.ops doctor $(CHOSEN)

deploy: synth ## Deploy into the AWS account of the environment, or update what is there
	@$(CDK) bootstrap --app cdk.out
	@$(CDK) deploy --app cdk.out --all --require-approval never

key: .venv/infra ## API keys of the deployed table: make key ACCOUNT=acme (and NAME=… SCOPES=read|write|admin, LIST=1; or REVOKE=<id>)
	@$(BIN)/python -m infra.ops key $(CHOSEN) $(if $(REVOKE),--revoke $(REVOKE),--account $(ACCOUNT) \
		$(if $(NAME),--name $(NAME)) $(if $(SCOPES),--scopes $(SCOPES)) $(if $(LIST),--list))

outputs: .venv/infra ## What the deployed stack is called and where it answers
	@$(BIN)/python -m infra.ops outputs $(CHOSEN) $(NAME)

destroy: .venv/infra .cache/cdk/node_modules ## Take the deployment down; the table and the bucket are kept
	@$(BIN)/python -m infra.ops destroy $(CHOSEN)

bench: .venv/infra .venv-sandbox/ready bubblewrap nginx wrk ## Side-by-side measurements
	@$(BIN)/python -m bench

lock: .venv/dev ## Pin all dependencies anew
	@for set in "requirements/local:pyproject.toml --extra local" "requirements/sandbox:pyproject.toml --extra sandbox" \
		"requirements/functions:pyproject.toml --extra functions" "requirements/gateway:pyproject.toml --extra gateway" \
		"requirements/dev:pyproject.toml --extra local --extra otel --group dev" \
		"requirements/infra:pyproject.toml --extra local --extra otel --group dev --group infra" \
		"requirements/rehearsal:--group rehearsal" "sandbox_task/tools:--group tools"; do \
		$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 $${set#*:} --output-file $${set%%:*}.txt || exit 1; done

clean: ## Remove what was made here; sessions and their files are kept
	@rm -rf .venv .venv-sandbox .venv-rehearsal .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: sudo apt-get install python3"; exit 1; }
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 || { rm -rf .venv; $(call install,python3-venv); $(PYTHON) -m venv .venv; }

.venv/local: .venv/bin/python requirements/local.txt
	@echo "Setting up the server (about 10 MB)"
	@$(BIN)/python $(PIP) requirements/local.txt && touch $@

.venv/dev: .venv/bin/python requirements/dev.txt
	@echo "Setting up the tools for development (about 350 MB)"
	@$(BIN)/python $(PIP) requirements/dev.txt && touch $@ .venv/local

.venv/infra: .venv/dev requirements/infra.txt
	@echo "Setting up the tools for the stack (about 100 MB)"
	@$(BIN)/python $(PIP) requirements/infra.txt && touch $@

.venv-rehearsal/ready: .venv/bin/python requirements/rehearsal.txt
	@echo "Setting up the emulator"
	@test -x .venv-rehearsal/bin/python || $(PYTHON) -m venv .venv-rehearsal
	@.venv-rehearsal/bin/python $(PIP) requirements/rehearsal.txt && touch $@

.cache/cdk/node_modules:
	@command -v npm >/dev/null || { $(call install,npm); }
	@npm install --silent --no-save --prefix .cache/cdk aws-cdk@2.1148.1

# The library by which the receivers of webhooks verify them, to check ours against.
.cache/webhooks/node_modules:
	@command -v npm >/dev/null && command -v node >/dev/null || { $(call install,npm); }
	@npm install --silent --no-save --ignore-scripts --prefix .cache/webhooks standardwebhooks@1.1.1

.venv-sandbox/ready: .venv/bin/python requirements/sandbox.txt
	@echo "Setting up the sandbox with the Claude agent (about 170 MB)"
	@test -x .venv-sandbox/bin/python || $(PYTHON) -m venv .venv-sandbox
	@.venv-sandbox/bin/python $(PIP) requirements/sandbox.txt && touch $@

# A system package: installed when that can be done without asking, else named.
install = echo "Installing the system package $(1)"; \
	if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq $(1) >/dev/null; \
	elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq $(1) >/dev/null; \
	else echo "Please run once: sudo apt-get install $(1)"; exit 1; fi

.PHONY: bubblewrap chromium nginx wrk
bubblewrap:
	@command -v bwrap >/dev/null || { $(call install,bubblewrap); }
chromium nginx wrk:
	@command -v $@ >/dev/null || [ -x /usr/sbin/$@ ] || { $(call install,$@); }
