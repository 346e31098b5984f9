# make book | test | serve | notebooks | chapter | readme | learner | grade | repo | sabotage | soak | bench | lint | clean
#
# Every target sets itself up first: .ci/setup makes .venv, once. Paths are relative, so that the
# clone may lie anywhere, in a folder with a space too.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help setup book test soak serve notebooks chapter readme learner grade repo sabotage bench lint clean

# libgomp's waiting threads fight for the cores with any other process; a short spin avoids it.
export GOMP_SPINCOUNT ?= 1000
export PYTHON
VENV := .venv/bin
PORT ?= 8000

help:
	@echo "make book      build the site into _build/html and print the address of its first page"
	@echo "make serve     serve the built site on http://localhost:$(PORT) (PORT=…)"
	@echo "make test      run everything; CHECKS=\"ruff unit\" runs a part (python .ci/checks.py --list)"
	@echo "make soak      the tests that take longer"
	@echo "make sabotage  plant known bugs, one at a time, and see make test's checks fail"
	@echo "make notebooks run the chapters in order and store their outputs (ONLY=vae for one)"
	@echo "make chapter NAME=flows   write the frame of a new chapter: notebook, module, exercise, tests"
	@echo "make readme    write README's table of chapters from the notebooks, and draw its picture"
	@echo "make learner   write learner/: the chapters without solutions, for Colab"
	@echo "make grade SUBMITTED=folder [CHAPTER=kl] [SEED=7] [GRADES=graded]   marks and feedback"
	@echo "make repo URL=https://github.com/…   set the address that Colab buttons open"
	@echo "make bench     the comparisons of speed (ARGS=--speed for the race alone, ARGS=--help)"
	@echo "make lint      format, lint, and write CONTRIBUTING's tree;  make clean  remove what was built, and .venv"

setup:
	@.ci/setup

book: setup
	@$(VENV)/python .ci/book.py

serve: book
	@echo "serving http://localhost:$(PORT)/ (stop with Ctrl-C)"
	@$(VENV)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

test: setup
	@$(VENV)/python .ci/checks.py $(if $(STRICT),--strict) $(CHECKS)

soak: setup
	@$(VENV)/python .ci/checks.py --soak $(if $(STRICT),--strict)

sabotage: setup
	@$(VENV)/python tests/sabotage.py $(ONLY)

notebooks: setup
	@$(VENV)/python .ci/notebooks.py $(ONLY)

chapter: setup
	@$(VENV)/python .ci/chapter.py "$(NAME)" && $(MAKE) --no-print-directory lint

readme: setup
	@$(VENV)/python book/chapters.py && $(VENV)/python .ci/picture.py

learner: setup
	@$(VENV)/python grading/learner.py

grade: setup
	@$(VENV)/python grading/grade.py "$(SUBMITTED)" $(if $(CHAPTER),--chapter $(CHAPTER)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(GRADES),--into "$(GRADES)") \
	  $(if $(ISOLATION),--isolation $(ISOLATION))

repo: setup
	@$(VENV)/python grading/repo.py "$(URL)" && $(VENV)/python grading/learner.py

bench: setup
	@$(VENV)/python benchmarks/import_time.py
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/python benchmarks/speed.py $(ARGS)

lint: setup
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .
	@$(VENV)/python .ci/tree.py

clean:
	rm -rf _build .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache vaelib.egg-info
