# make demo: one call, end to end, offline      make test: everything that needs no PBX
# make lab: real Asterisk, callers, browser     make bench: figures      make soak: what takes longer (by hand)
# make deb: a Debian package below target/debian/
.PHONY: demo test lab bench soak lint deny deb setup

setup:
	@bash tests/setup.sh build

# after `make test`, `make demo BUILT=target/debug/kakehashi` takes the program that was tested: the tests' libraries ask
# others for more features, so that `cargo build` would compile the crate once more
demo: setup
ifdef BUILT
	$(BUILT) demo
else
	cargo build --quiet
	cargo run --quiet -- demo
endif

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
