# The front door. `make` builds the programs into build/release/bin; the other goals are listed by `make help`.
SHELL := /bin/bash
BUILD := build/release
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
MINUTES ?= 1
WERROR := $(if $(LOOPFS_WERROR),ON,OFF)

.PHONY: all help deps demo-deps test-deps configure programs tests static demo test test-sanitized bench install deb clean format lint fuzz

all: programs

help:
	@echo 'make                            build the programs into $(BUILD)/bin'
	@echo 'make static                     loopfs without shared libraries, for any image, into build/static/bin'
	@echo 'make demo                       build a disk image as an unprivileged user, and check it'
	@echo 'make test                       all tests (as root: also those that need it)'
	@echo 'make fuzz MINUTES=1             each fuzz harness (FUZZ="varlink fuse": these) for so long, of processor time'
	@echo 'make test-sanitized             unit tests and a storm on loopfsd under ASan, UBSan and TSan'
	@echo 'make bench                      loopfs and its neighbours, side by side'
	@echo 'make install PREFIX= DESTDIR=   programs, man page, completions'
	@echo 'make deb                        Debian packages, into build/deb'
	@echo 'make lint | format | clean'

deps:
	@scripts/install-deps build

demo-deps:
	@scripts/install-deps build demo

test-deps:
	@scripts/install-deps build demo test

configure:
	@scripts/logged 'configuring $(BUILD)' $(BUILD).log \
	  cmake --preset release -DLOOPFS_WERROR=$(WERROR) -DCMAKE_INSTALL_PREFIX=$(PREFIX)

programs: configure
	@echo 'building loopfs, loopfsd and mount.loopfs: some minutes the first time'
	@cmake --build $(BUILD) --target loopfs loopfsd mount.loopfs -j $(JOBS)

tests: configure
	@echo 'building the programs and their tests: ten minutes the first time'
	@cmake --build $(BUILD) -j $(JOBS)

static:
	@scripts/install-deps build
	@scripts/logged 'configuring build/static' build/static.log cmake --preset static -DLOOPFS_WERROR=$(WERROR)
	@echo 'building loopfs and mount.loopfs without shared libraries: some minutes the first time'
	@cmake --build build/static --target loopfs mount.loopfs -j $(JOBS)

demo: demo-deps
	@$(MAKE) --no-print-directory programs
	@scripts/demo

test: test-deps
	@$(MAKE) --no-print-directory tests static
	@ctest --test-dir $(BUILD) -j2 --output-on-failure --no-tests=error --timeout 300 \
	  --output-junit $(CURDIR)/build/tests.xml $(CTEST_ARGS)

fuzz:
	@scripts/install-deps build fuzz
	@scripts/logged 'configuring build/fuzz' build/fuzz.log cmake --preset fuzz
	@scripts/logged 'building the harnesses' build/fuzz.log cmake --build build/fuzz --target fuzz_harnesses -j $(JOBS)
	@JOBS=$(JOBS) fuzz/run $(MINUTES) $(FUZZ)

test-sanitized: test-deps
	@mkdir -p build
	@JOBS=$(JOBS) scripts/test-sanitized

bench: test-deps
	@$(MAKE) --no-print-directory programs
	@bench/run

install: programs
	@DESTDIR='$(DESTDIR)' cmake --install $(BUILD) --prefix '$(PREFIX)'

deb:
	@scripts/install-deps build deb
	@JOBS=$(JOBS) scripts/deb

format:
	@git ls-files '*.cc' '*.h' | xargs -r clang-format -i

lint: configure
	@scripts/lint $(BUILD)

clean:
	@rm -rf build
