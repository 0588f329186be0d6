# `just` lists the recipes.
default:
    @just --list

# Seconds: form, lints, both feature sets.
check:
    cargo fmt --check
    cargo clippy --all-targets --all-features -- -D warnings
    cargo clippy --no-default-features -- -D warnings

# All tests.
test:
    cargo test --workspace --all-features

# Documentation, warnings as errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

# Every fuzz target for a short time, on the stable toolchain.
fuzz-smoke seconds="15":
    fuzz/smoke {{seconds}}

# Kernels, codes and index on other processors, emulated; installs Debian packages.
emulated:
    .ci/emulated

# One bench of kernels, search, ingest, reader, nim: `just bench search`.
bench name:
    cargo bench --bench {{name}}

# What CI runs.
ci:
    bash .ci/run

# Before a release: many more cases per property, an hour of fuzzing per target, all benches.
deep:
    PORTOLAN_DEEP=1 PROPTEST_CASES=4096 cargo test --workspace --all-features --release
    fuzz/smoke 3600
    .ci/emulated
    cargo bench --bench kernels
    cargo bench --bench search
    cargo bench --bench ingest
    cargo bench --bench reader
    cargo bench --bench nim
