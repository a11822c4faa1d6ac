# Each target brings what it needs (Debian packages as root, Python ones into .venv), and does
# nothing when nothing is to be done.

PYTHON := /usr/bin/python3
PREFIX := /usr/local
VENV := .venv
BIN := $(VENV)/bin
WHEELS := build/wheels
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := setup.py pyproject.toml $(filter-out pyrunc/_%.c pyrunc/_schema.py,\
	$(shell find pyrunc csrc oci-spec -name '*.py' -o -name '*.[ch]' -o -name '*.json'))
# Under sudo, what is built still belongs to the person who typed it.
OWN = if [ -n "$$SUDO_UID" ]; then chown -R "$$SUDO_UID:$$SUDO_GID" build $(VENV); fi

.NOTPARALLEL:
.PHONY: help build demo test test-vm unit lint bless bench bench-scale install uninstall image clean packages-%
help:
	@echo "sudo make demo                    build, and run a container to look at"
	@echo "sudo make install PREFIX=/usr/local   install the pyrunc command"
	@echo "sudo make test                    lint, unit and integration tests"
	@echo "sudo make test-vm                 what needs systemd, AppArmor, SELinux and all of cgroup v2, in machines of their own"
	@echo "sudo make bench | bench-scale     compare with runc and crun, alone or among 1000 containers"
	@echo "sudo make uninstall               remove what install made, from the same PREFIX"
	@echo "make image IMAGE=NAME             what installs pyrunc on the nodes of a Kubernetes cluster"
	@echo "make build | unit | lint | bless | clean"

build: packages-build $(VENV)/built
	@:

demo: packages-demo build
	@PYRUNC=$(CURDIR)/$(BIN)/pyrunc scripts/demo.sh

# Whom a container leaves behind is reaped at once, whatever reaps on this machine: a PID namespace ends only then.
test: packages-test build $(VENV)/tested
	@tini -s -- $(BIN)/pytest $(ARGS)

test-vm: packages-vm build $(VENV)/tested
ifeq ($(LSM)$(ARGS),)
	@status=0; LSM=selinux tests/vm/run.sh || status=$$?; tests/vm/run.sh && exit $$status
else
	@tests/vm/run.sh $(ARGS)
endif

unit: build $(VENV)/tested
	@$(BIN)/pytest tests/unit $(ARGS)

lint: build $(VENV)/tested
	@$(BIN)/pytest -q tests/unit/test_style.py

bless: build $(VENV)/tested
	@$(BIN)/pytest -q tests/unit --bless

bench: packages-bench build
	@$(BIN)/python bench/bench.py --pyrunc $(CURDIR)/$(BIN)/pyrunc $(ARGS)

bench-scale: packages-bench build
	@$(BIN)/python bench/scale.py --pyrunc $(CURDIR)/$(BIN)/pyrunc $(ARGS)

# A virtual environment of its own, a link that the command follows back to it, and what people want.
SHARE = $(PREFIX)/share
MANUAL = $(SHARE)/man/man8
BASH = $(SHARE)/bash-completion/completions/pyrunc
ZSH = $(SHARE)/zsh/site-functions/_pyrunc
FISH = $(SHARE)/fish/vendor_completions.d/pyrunc.fish

install: build uninstall
	@$(PYTHON) -m venv --clear --without-pip "$(PREFIX)/lib/pyrunc"
	@$(PIP) --python "$(PREFIX)/lib/pyrunc/bin/python" install --no-index --find-links $(WHEELS) pyrunc
	@mkdir -p "$(PREFIX)/bin" "$(MANUAL)"
	@ln -sfn ../lib/pyrunc/bin/pyrunc "$(PREFIX)/bin/pyrunc"
	@$(BIN)/python scripts/manual.py "$(MANUAL)"
	@"$(PREFIX)/bin/pyrunc" completion bash | install -D -m 644 /dev/stdin "$(BASH)"
	@"$(PREFIX)/bin/pyrunc" completion zsh | install -D -m 644 /dev/stdin "$(ZSH)"
	@"$(PREFIX)/bin/pyrunc" completion fish | install -D -m 644 /dev/stdin "$(FISH)"
	@"$(PREFIX)/bin/pyrunc" --version

uninstall:
	@rm -rf "$(PREFIX)/lib/pyrunc"
	@rm -f "$(PREFIX)/bin/pyrunc" "$(MANUAL)"/pyrunc.8 "$(MANUAL)"/pyrunc-*.8 "$(BASH)" "$(ZSH)" "$(FISH)"

# Any builder takes the file; this one needs no daemon.
BUILDER := podman
IMAGE := pyrunc-installer
image:
	@$(BUILDER) build --tag "$(IMAGE)" --file deploy/Containerfile $(ARGS) .

clean:
	@rm -rf build $(VENV) *.egg-info

packages-%:
	@scripts/packages.sh $*

$(VENV)/made: pyproject.toml | packages-build
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install 'setuptools>=66' wheel 'cffi>=1.15'
	@$(PIP) wheel --wheel-dir $(WHEELS) $$($(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")')
	@touch $@

$(VENV)/built: $(SOURCES) $(VENV)/made
	@rm -rf build/lib* build/scripts* $(WHEELS)/pyrunc-*
	@$(PIP) wheel --no-build-isolation --no-deps --wheel-dir $(WHEELS) .
	@$(PIP) install --no-index --find-links $(WHEELS) --force-reinstall --no-deps pyrunc
	@$(PIP) install --no-index --find-links $(WHEELS) pyrunc
	@touch $@; $(OWN)

$(VENV)/tested: $(VENV)/made pyproject.toml
	@$(PIP) install $$($(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test"], sep="\n")')
	@touch $@; $(OWN)
