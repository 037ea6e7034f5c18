# What a person runs. Everything that is needed is installed (as root, by apt) or named.
MUSL := x86_64-unknown-linux-musl
BINARY := $(or $(CARGO_TARGET_DIR),target)/$(MUSL)/release/kpx-prep

.PHONY: help demo build dist check format lints quick test test-full bench fuzz audit clean
help:
	@echo "make demo       see it work on a throw-away Linux (Debian 12 amd64)"
	@echo "make build      the static release binary: $(BINARY)"
	@echo "make dist       all that is published, in dist/: archives, .deb, .rpm, image, SBOM"
	@echo "make check      format, lints and the tests that need no VM, root or network; for every change"
	@echo "make test       units, miniature hosts, a real API server, real kernels, a real node"
	@echo "make test-full  the same and what takes longer, and the figures"
	@echo "make bench      the figures, as a table"
	@echo "make fuzz       every fuzz target for a minute (SECONDS_EACH=, RUNS=)"
	@echo "make audit      known vulnerabilities of the dependencies (needs the network)"

demo:
	@tests/vm/demo

# The binary that is tested and shipped.
build:
	@bash -euo pipefail -c '. tests/vm/lib.sh; start; need_binary; finished=1; ls -l "$$KPX_PREP"'

dist:
	@packaging/dist

check: format lints quick

format:
	cargo fmt --all -- --check

lints:
	cargo clippy --quiet --locked --all-targets -- -D warnings
	cargo clippy --quiet --locked --package kpx-prep-lab --all-targets -- -D warnings
	cargo clippy --quiet --locked --no-default-features --features small --bin kpx-prep-node -- -D warnings

# All tests but those that need a control plane.
quick:
	cargo test --quiet --locked --lib --bins $(patsubst tests/%.rs,--test %,$(filter-out tests/cluster.rs,$(wildcard tests/*.rs)))
	cargo test --quiet --locked --doc
	cargo test --quiet --locked --package kpx-prep-lab
	tests/vm/reports
	tests/vm/xstate
	tests/vm/calibrate
	tests/vm/progress

# The release binary, which what follows needs, is built while the cluster tests wait for their clusters.
test: quick
	cargo test --quiet --locked --test cluster --no-run
	tests/support/beside $(MAKE) --no-print-directory build -- cargo test --quiet --locked --test cluster
	tests/cloud-init/schema
	tests/alerts/check
	tests/schema/check
	tests/image-load
	tests/vm/run
	tests/vm/leftovers
	tests/vm/cluster

# kubeadm is of the folder of a Kubernetes that was built once; ten minutes the first time.
test-full:
	cargo test --quiet --locked -- --include-ignored --skip figures --skip transcript
	cargo test --quiet --locked --package kpx-prep-lab
	tests/vm/reports
	tests/vm/xstate
	tests/vm/calibrate
	tests/vm/progress
	tests/node-program-arm64
	tests/cloud-init/schema
	tests/alerts/check
	tests/schema/check
	tests/image-load
	tests/ansible/run
	tests/report-page/run
	tests/dist/run
	KUBEADM=$$(tests/cluster/control-plane)/kubeadm tests/kubeadm/validate-with-kubeadm
	tests/vm/run --full
	tests/vm/leftovers
	tests/vm/cluster --full
	$(MAKE) bench

# The clusters' figures are those of the binary that is shipped, one at a time.
bench: build
	@tests/vm/bench
	@KPX_PREP=$(abspath $(BINARY)) tests/vm/cluster --bench
	@KPX_PREP=$(abspath $(BINARY)) cargo test --quiet --locked --test cluster -- --include-ignored --test-threads=1 figures

fuzz:
	@fuzz/run

audit:
	$(or $(KPX_PREP_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kpx-prep)/tools/bin/cargo-deny check advisories

clean:
	cargo clean
