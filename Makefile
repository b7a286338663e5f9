# One verb per task; each does its own set-up.  The work is in scripts/.
# ARGS goes to the command behind: make test ARGS="tests/wire -k tail"

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv demo test chaos fuzz ansible-full lint format lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: ## make .venv: locked dependencies, Icefloe, tests and linters
	@scripts/venv dev

demo: ## watch an agent enroll through a satellite (ARGS=--keep leaves it running)
	@scripts/demo $(ARGS)

test: ## run the whole suite; as root on Debian also installs icinga2-bin to test against
	@scripts/test $(ARGS)

chaos: ## break real clusters and simulated ones for 10 minutes (ARGS="--minutes 60")
	@scripts/chaos $(ARGS)

fuzz: ## look for inputs that break a parser (ARGS="--seconds 600 json_rpc")
	@scripts/fuzz $(ARGS)

ansible-full: ## enroll 100 agents with Ansible; prints how long it took
	@ICEFLOE_ANSIBLE_AGENTS=100 scripts/test tests/ansible/test_rollout.py -rP -k through_a_satellite $(ARGS)

lint: ## ruff, formatting, mypy strict
	@scripts/lint

format: ## format the code and mend what ruff can mend
	@scripts/format

lock: ## pin dependencies anew (ARGS=--upgrade takes newer ones)
	@scripts/lock $(ARGS)

clean: ## remove everything that the other verbs made
	@scripts/clean
