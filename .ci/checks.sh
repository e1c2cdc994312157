# Sourced by .ci/run and .ci/full: checks that both need.
# shellcheck shell=bash

dependencies() {
    if ! command -v cargo-deny >/dev/null; then
        # A tool that runs for seconds need not be optimized for minutes.
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off cargo install cargo-deny --version 0.20.2 --locked
    fi
    cargo deny --all-features check bans licenses sources
    # The advisory database lives on GitHub. Where it cannot be had, say so loudly; where it can, obey it.
    if timeout 60 cargo deny --all-features fetch db 2>/dev/null; then
        cargo deny --all-features check advisories
    else
        echo "!!! NOT CHECKED: security advisories, for the advisory database cannot be reached from here"
    fi
}
export -f dependencies

documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --locked; }
external_types() {
    RUSTDOC="$PWD/.ci/rustdoc-unstable" RUSTDOCFLAGS="-Zunstable-options --output-format=json --cap-lints=allow" \
        cargo doc --workspace --no-deps --lib --all-features --locked
    cargo run --quiet --locked -p external-types -- target/doc
}
peer_book_kills() { KILLS="$1" cargo test --locked -p kaspath-peer-store --all-features --test kill; }
