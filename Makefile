# The two commands: make demo, and make test. Both do all set-up themselves.
# The others are parts of them. make help lists them all.

SHELL := /bin/bash
MODULES := . dev/vault dev/tools bench
PACKAGES := ./...
FUZZTIME ?= 5s

# How dev/build-vault.sh compiles, so that what it has compiled is used again.
# Without debugging information it takes a good deal less.
VAULT_FLAGS := -trimpath -gcflags=all=-dwarf=false

.DEFAULT_GOAL := help
.PHONY: help demo test tools example lint fuzz tidy bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: export FILE ?=
demo: tools ## store files through a real Vault and show it: make demo [FILE=path]
	@go run ./internal/cmd/withvault -quiet -- go run ./examples/demo "$$FILE"

test: tools ## run every test (the library's with the race detector) against a real Vault
	go test -race $(PACKAGES)
	cd bench && go test -race ./...
	cd dev/vault && CGO_ENABLED=0 go test $(VAULT_FLAGS) ./...

tools: ## build the real Vault server that tests and demo use (once)
	@dev/build-vault.sh

example: tools ## run an example with a Vault of its own: make example NAME=quickstart [ARGS=...]
	@test -n "$(NAME)" -a -f "examples/$(NAME)/main.go" || { echo "make example NAME=..., one of:" $$(cd examples && ls -d */) >&2; exit 1; }
	@go run ./internal/cmd/withvault -quiet -- go run ./examples/$(NAME) $(ARGS)

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

bench: tools ## measure (docs/benchmarks.md)
	go test -run '^$$' -bench . ./internal/segment ./transit
	cd bench && go test -run '^$$' -bench . -timeout 60m ./...

clean: ## remove what the other targets have built
	rm -rf dev/bin
