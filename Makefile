# nodeprep. `make` lists what can be made.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Kept from one clone to the next: the node's image, the linter.
export NODEPREP_CACHE ?= $(HOME)/.cache/nodeprep
# No Go toolchain but the installed one, no change of go.mod behind one's back.
export GOTOOLCHAIN ?= local
export CGO_ENABLED ?= 0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD    = go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
FAULT   ?= ecr-api-drop
# How long each fuzz target runs.
FUZZTIME ?= 30s

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/nodeprep, a static binary
	@$(BUILD) -o bin/nodeprep ./cmd/nodeprep

cross: ## dist/nodeprep-linux-amd64 and -arm64
	for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(BUILD) -o dist/nodeprep-linux-$$arch ./cmd/nodeprep; done

demo: build ## a blocked node that joins by itself; FAULT=NAME another fault, FAULT=none, FAULT=? a list
	@go build -trimpath -o bin/demo ./test/e2e/cmd/demo
	@[ '$(FAULT)' = '?' ] || { bin/demo -check -fault '$(FAULT)' && $(MAKE) deps image standin; }
	@bin/demo -fault '$(FAULT)' -image "$$(test/e2e/node/image.sh --path)" -nodeprep bin/nodeprep -kubelet bin/kubelet -units systemd

standin: # bin/kubelet, the stand-in of the lab
	@go build -C test/standin -trimpath -o ../../bin/kubelet .

image: deps ## the root tree that the lab boots, once for all clones
	@test/e2e/node/image.sh >/dev/null

deps: ## install the Debian packages that are missing
	@.ci/deps.sh

test: ## everything: build, lint, unit, e2e, modules, units, generated files, docs
	@.ci/test.sh

unit: ## unit tests and fuzz seeds, with the race detector where there is a C compiler
	@.ci/unit.sh

e2e: ## the binary in network namespaces and under a real systemd
	go test -p 1 -count=1 ./test/e2e/...

modules: ## tests of the modules in tools/ and test/
	@.ci/modules.sh

lint: ## golangci-lint, and shellcheck where it is installed
	@.ci/lint.sh

units: ## verify the systemd units
	@.ci/units.sh

generate: ## write the generated files
	go generate ./...

generated: ## check that the generated files are current
	@.ci/generated.sh

docs: ## check the links of the documents
	@.ci/docs.sh

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@.ci/fuzz.sh $(FUZZTIME)

mutants: ## flip each condition of the judge and list those that no test notices (10 min)
	@cd tools && go run ./mutants

bench: build ## cost of a bootstrap against its floor
	@go build -trimpath -o bin/ ./test/e2e/cmd/bench ./test/e2e/cmd/floor ./test/e2e/cmd/measure
	@bin/bench

clean: ## remove bin and dist
	rm -rf bin dist

.PHONY: help build cross demo standin image deps test unit e2e modules lint units generate generated docs fuzz mutants bench clean
