# make demo: one call, end to end, offline      make test: everything that needs no PBX
# make lab: real Asterisk, callers, browser     make bench: figures      make soak: what takes longer (by hand)
# make deb: a Debian package below target/debian/
.PHONY: demo test lab bench soak lint deny deb setup

setup:
	@bash tests/setup.sh build

demo: setup
	cargo build --quiet
	cargo run --quiet -- demo

test: setup
	cargo test --no-fail-fast

lint: setup
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --no-default-features --lib --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --lib

deny:
	@bash tests/setup.sh deny
	PATH="$$PATH:$$PWD/.lab/tools/bin" cargo-deny check bans licenses sources

lab: setup
	bash tests/lab/run.sh

bench: setup
	bash benches/run.sh

deb: setup
	bash config/debian/build.sh

soak: setup
	bash tests/soak.sh
