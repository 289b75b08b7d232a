## make run-server     an echo server on HOST:PORT; needs Python alone, no .venv
##     HOST=127.0.0.1  the address to listen on: IPv4, IPv6 or a name;
##                     empty: every interface
##     PORT=65432      0: any free port
##     ARGS=           more options of `python -m reactor serve`
## make run-clients    load an echo server on HOST:PORT and check every byte
##     N=100           connections at the same time
##     SECONDS=5       how long they go on sending messages;
##     MESSAGES=       or how many messages each of them sends
##     SIZE=64         bytes in a message
##     RATE=0          messages a second in all; 0: as fast as they come back
##     HOST= PORT=     where the server is, as above
##     ARGS=           more options of scripts/run_clients.py
## make ladder         run the servers of scripts/ladder/ in turn, compare them
##     N=500           connections at the same time
##     MESSAGES=50     messages from each of them
##     ROUNDS=5        how often each server is run
##     ARGS=           --readme: write the table into README.md
## make bench          what an echo costs: on our server and on others
##     ROUNDS=5        how many; a round takes a few minutes
##     ARGS=           more options of scripts/bench.py rounds
## make bench-rivals   the same with uvloop, Twisted, Tornado, trio, curio
##                     and gevent, which are installed in .venv for it
## make bench-instructions  instructions per echo, counted by valgrind
##     ARGS=           --profile: ours by function; --check 0.55: fail above it
## make bench-pictures  draw what the last bench saved
## make bench-kv       our key-value server beside Redis, under redis-benchmark
##     ROUNDS=5        how often each test is run on each
##     ARGS=           more options of scripts/bench_kv.py: --tests set,get
## make test           run the tests; ARGS="-k echo -x" goes to pytest
## make coverage       which lines the tests run, and which the simulation;
##                     SEEDS= as for sim
## make sim            run the reactor on a simulated network; needs no .venv
##     SEEDS=10000     how many scenarios, each drawn from its number
##     SEED=           show what happens in this one, and nothing else
##     ARGS=           more options of scripts/sim.py: --mutants, --first N
## make mutants        break the reactor on purpose, bug by bug, and say what
##                     notices; takes minutes
##     ARGS=           "--only WORDS": those with WORDS in their name or file
## make rivals         put tests/failures/ to other servers: half an hour
##     ARGS=           "--only trio --rows A1 W1": a part of it;
##                     --readme: write what was kept into its page
## make soak           leave a server among honest and hostile clients
##     MINUTES=10      how long, or a part of one
##     ARGS=           more options of scripts/soak.py: --json FILE
## make lint           ruff on everything, mypy --strict on the package
## make clean          remove .venv and what tools and builds left behind
## make help           this
##
##     PYTHON=python3  for every target: the Python to use, 3.11 or later
##     .venv is made on first use, and again when setup.cfg or PYTHON changes.

# `PYTHON` may come from the environment. The others may not: shells and CI systems export a HOST or a PORT of their
# own, and to listen there by accident is worse than to type one more word.
PYTHON  ?= python3
HOST     = 127.0.0.1
PORT     = 65432
N        = 100
MESSAGES =
SECONDS  =
SIZE     = 64
RATE     = 0
ROUNDS   = 5
SEEDS    = 10000
SEED     =
MINUTES  = 10
ARGS     =

.DEFAULT_GOAL := help
.PHONY: help run-server run-clients ladder bench bench-rivals bench-instructions bench-pictures bench-kv test coverage sim mutants rivals soak lint clean
.SUFFIXES:
MAKEFLAGS += --no-print-directory

# BSD make reads up to here, and runs the commands of .BEGIN first. For GNU make it is a target that is never asked
# for.
.BEGIN:
	@echo 'this Makefile needs GNU make: call gmake in place of make' >&2; exit 1

# Scripts, tests and their children import the package from this checkout; it is never installed. PYTHONPATH cannot
# hold a name with a colon. But every recipe starts in the checkout, so a dot works for such a name.
colon := :
export PYTHONPATH := $(if $(findstring $(colon),$(CURDIR)),.,$(CURDIR))$(if $(PYTHONPATH),$(colon)$(PYTHONPATH))

# A value as one word of the shell, whatever is in it. Only ARGS goes in unquoted, because it is several words.
quote = '$(subst ','\'',$(1))'

# The option $(2) for variable $(1), if it was given to make: without one, the script has a default of its own.
given = $(if $(filter-out file,$(origin $(1))),$(if $($(1)),$(2) $(call quote,$($(1)))))

# RFC 3986 puts brackets around an IPv6 address before a port, and none elsewhere.
bare_host = $(subst [,,$(subst ],,$(HOST)))
address   = $(if $(findstring :,$(bare_host)),[$(bare_host)],$(bare_host)):$(PORT)

# PYTHON is one word if it names a program, even with spaces in its path; otherwise it is a program with options. The
# redirection makes make use a shell, because `command` is part of the shell.
command = $(if $(shell command -v $(call quote,$(PYTHON)) 2>/dev/null),$(call quote,$(PYTHON)),$(PYTHON))

# Recipes say $(python), not $(PYTHON): make expands a recipe just before it runs it. So the version is checked only
# where Python is needed, and $(error) stops with one line instead of two. The question must also be valid Python 2;
# -S and -E make the answer fast.
version_question = import sys; print(sys.version_info >= (3, 11) and "new" or sys.version.split()[0])
version_answer   = $(shell $(command) -E -S -c '$(version_question)' 2>/dev/null)
version_error    = $@ needs Python 3.11 or later, but $(PYTHON) $(if $(version_answer),is Python \
                   $(version_answer),does not run); name another: make $@ PYTHON=/path/to/python3.11
python           = $(if $(filter new,$(version_answer)),$(command),$(error $(version_error)))

# `exec` replaces the recipe's shell with the program. So make sends a SIGTERM to the program itself, and no shell
# dies and leaves behind a program that needs a moment to end.

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

run-server:
	@exec $(python) -m reactor serve echo --bind $(call quote,$(address)) $(ARGS)

run-clients:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/run_clients.py --host $(call quote,$(bare_host)) --port $(call quote,$(PORT)) \
	    --connections $(call quote,$(N)) --size $(call quote,$(SIZE)) --rate $(call quote,$(RATE)) \
	    $(call given,SECONDS,--seconds) $(call given,MESSAGES,--messages) $(ARGS)

ladder:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/ladder.py $(call given,N,--connections) $(call given,MESSAGES,--messages) \
	    $(call given,ROUNDS,--rounds) $(ARGS)

bench:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/bench.py rounds --rounds $(call quote,$(ROUNDS)) $(ARGS)

bench-rivals:
	@$(python) scripts/environment.py test rivals
	@exec .venv/bin/python scripts/bench.py rounds --rivals --rounds $(call quote,$(ROUNDS)) $(ARGS)

bench-instructions:
	@$(python) scripts/environment.py test $(if $(findstring --check,$(ARGS)),,rivals)
	@exec .venv/bin/python scripts/bench.py instructions $(ARGS)

bench-pictures:
	@$(python) scripts/environment.py test bench
	@exec .venv/bin/python scripts/bench.py pictures $(ARGS)

bench-kv:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/bench_kv.py --rounds $(call quote,$(ROUNDS)) $(ARGS)

test:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/run_tests.py $(ARGS)

coverage:
	@$(python) scripts/environment.py test coverage
	@exec .venv/bin/python scripts/coverage_table.py --seeds $(call quote,$(SEEDS)) $(ARGS)

sim:
	@exec $(python) scripts/sim.py $(if $(SEED),--seed $(call quote,$(SEED)),--seeds $(call quote,$(SEEDS))) $(ARGS)

mutants:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/mutants.py $(ARGS)

rivals:
	@$(python) scripts/environment.py test rivals
	@exec .venv/bin/python scripts/rivals.py $(ARGS)

soak:
	@$(python) scripts/environment.py test
	@exec .venv/bin/python scripts/soak.py --minutes $(call quote,$(MINUTES)) $(ARGS)

# ruff does not read setup.cfg, pyproject.toml is for the build system alone, and these few words are not worth
# another file. --isolated: no configuration above this directory counts either.
# Checked: pycodestyle, pyflakes, import order, bugbear, old idioms, comprehensions, unused `noqa`s.
# Not `ruff format`: it would break up the literal tables, which are laid out by hand for readers.
ruff_options = --isolated --quiet --output-format concise --target-version py311 --line-length 120 \
               --select E,W,F,I,B,UP,C4,RUF100

lint:
	@$(python) scripts/environment.py test lint
	@.venv/bin/python -m ruff check $(ruff_options) reactor scripts tests
	@exec .venv/bin/python -m mypy

clean:
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
