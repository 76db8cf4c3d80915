# The two commands: make demo, and make test. Both do all set-up themselves.
# The others are parts of them. make help lists them all.

SHELL := /bin/bash
MODULES := . dev/vault dev/minio dev/versitygw dev/tools bench
PACKAGES := ./...
FUZZTIME ?= 5s
S3 ?= versitygw

# How dev/build.sh compiles, so that what it has compiled is used again.
# Without debugging information it takes a good deal less.
VAULT_FLAGS := -trimpath -gcflags=all=-dwarf=false

.DEFAULT_GOAL := help
.PHONY: help demo test tools vault example lint fuzz tidy bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: export FILE ?=
demo: vault ## store files through a real Vault and show it: make demo [FILE=path]
	@go run ./internal/cmd/withvault -quiet -- go run ./examples/demo "$$FILE"

test: tools ## run every test (the library's with the race detector) against real servers
	go test -race -parallel 8 -timeout 30m $(PACKAGES)
	cd bench && go test -race ./...
	cd dev/vault && CGO_ENABLED=0 go test $(VAULT_FLAGS) ./...

tools: ## build or install the real servers that tests use: Vault, S3, PostgreSQL (once)
	@dev/build.sh vault minio versitygw
	@dev/install-postgres.sh

vault:
	@dev/build.sh vault

# The servers beside Vault that an example's comment asks for: "// Needs: postgres s3".
NEEDS = $(shell sed -n 's,^// Needs: ,,p' examples/$(NAME)/main.go 2>/dev/null)
SERVERS = $(if $(filter postgres,$(NEEDS)),-postgres) $(if $(filter s3,$(NEEDS)),-s3 $(S3))
WITH_SERVERS = $(if $(strip $(SERVERS)),go run ./internal/cmd/withservers -quiet $(SERVERS) --)

example: export INTERNAL_VAULT ?= $(CURDIR)/dev/bin/vault
example: vault ## run an example with servers of its own: make example NAME=quickstart [ARGS=...] [S3=minio]
	@test -n "$(NAME)" -a -f "examples/$(NAME)/main.go" || { echo "make example NAME=..., one of:" $$(cd examples && ls -d */) >&2; exit 1; }
	@$(if $(filter postgres,$(NEEDS)),dev/install-postgres.sh)
	@$(if $(filter s3,$(NEEDS)),dev/build.sh $(S3))
	@go run ./internal/cmd/withvault -quiet -- $(WITH_SERVERS) go run ./examples/$(NAME) $(ARGS)

lint: ## go vet, staticcheck, gofmt, and the layering of the packages
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "the files above are not gofmt-ed" >&2; exit 1; }
	go vet ./...
	cd bench && go vet ./...
	cd dev/vault && CGO_ENABLED=0 go vet $(VAULT_FLAGS) ./...
	go tool -modfile=dev/tools/go.mod staticcheck ./...
	cd bench && go tool -modfile=../dev/tools/go.mod staticcheck ./...
	go test -run TestLayering .

fuzz: ## run each fuzz target for FUZZTIME
	@dev/fuzz.sh $(FUZZTIME)

tidy: ## check that each go.mod is tidy
	@for m in $(MODULES); do (cd $$m && go mod tidy -diff) || exit 1; done

bench: tools ## measure, beside the alternatives (docs/benchmarks.md): make bench [ARGS="-quick -run small"]
	@go build -C bench -o ../dev/bin/bench .
	@dev/bin/bench $(ARGS)

clean: ## remove what the other targets have built
	rm -rf dev/bin
