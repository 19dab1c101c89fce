# The targets that users of the predecessors know, over `cargo xtask` and the `roadstead` program.

ROADSTEAD = cargo run --quiet --package roadstead-cli --bin roadstead --

.PHONY: help demo-password deps dev teardown migrate rollback migrate-status migration-create test ci

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

demo-password: ## two clusters, the hub, two agents, four calls with an API key
	cargo xtask demo

deps: ## start RabbitMQ, PostgreSQL and Redis
	cargo xtask dev up

dev: ## run the hub in one process, for development
	$(ROADSTEAD) up --dev

teardown: ## stop what `make deps` started
	cargo xtask dev down

migrate: ## bring the databases up to date
	$(ROADSTEAD) migrate up

rollback: ## take the newest migration back
	$(ROADSTEAD) migrate down

migrate-status: ## show which migrations are in
	$(ROADSTEAD) migrate status

migration-create: ## make an empty migration: make migration-create SERVICE=user NAME=add_thing
	$(ROADSTEAD) migrate new $(SERVICE) $(NAME)

test: ## every test
	cargo xtask test

ci: ## everything that must hold
	cargo xtask ci
