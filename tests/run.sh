#!/usr/bin/env bash
# Everything that has to pass, on a fresh Debian machine with Rust: installs what is missing (tests/install.sh),
# checks formatting, lints, cargo features and documentation, runs all tests, and ends with their sum.
# The tests start their own servers, on free ports and in temporary folders; whatever happens, none is left
# running, and servers that are there already are not touched. tests/faults.sh is for the large doses.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh

. tests/servers.sh
log=$folder/log
failed=0

# Runs one check or one set of tests and goes on whatever it says: the end reports all failures of all of them.
run() {
    say "$1"
    shift
    "$@" 2>&1 | tee -a "$log" || failed=1
}

# --- checks -----------------------------------------------------------------------------------------

run "formatting" cargo fmt --all --check
run "lints, all cargo features" cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

# Each cargo feature alone, and none: the list is the manifest's own.
features=$(sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9_-]*\) = .*/\1/p' Cargo.toml | grep -vx default)
for feature in "" $features; do
    run "lints, cargo feature ${feature:-none}" \
        cargo clippy --locked --lib --no-default-features --features "$feature" -- -D warnings
done

# The fuzz targets run by a command of their own, fuzz/run.sh; here it is seen that they go with the crate.
run "formatting, fuzz targets" cargo fmt --manifest-path fuzz/Cargo.toml --check
run "lints, fuzz targets" cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings

# The dependencies of other platforms count too, and no build has fetched them.
run "dependencies of all platforms" cargo fetch --locked
run "licences, sources and duplicates of dependencies" \
    cargo deny --offline --log-level error check bans licenses sources
# Their database is on the network.
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    run "advisories" cargo deny --log-level error check advisories
else
    echo "advisories: not checked, since their database cannot be reached"
fi

RUSTDOCFLAGS="-D warnings" run "documentation" \
    cargo doc --locked --no-deps --all-features --package tower-flags --package md5-lanes

# --- tests ------------------------------------------------------------------------------------------

# Builds the examples too, some of which the tests run. Ignored are tests that need what was installed
# above.
run "tests, all cargo features" cargo test --locked --workspace --all-features --no-fail-fast -- --include-ignored
run "tests, no cargo features" cargo test --locked --no-fail-fast --no-default-features --lib --test bucketing \
    --test plain_tower --test resolve --test limits

no_server_is_left || failed=1

# --- sum --------------------------------------------------------------------------------------------

say "all tests"
# Cargo repeats the name of each test that failed, and names each program that did not build or ended early.
grep -E '^test .* \.\.\. (FAILED|ignored)|^error: ' "$log" | sort -u || true
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 || passed == 0 }' "$log" || failed=1
# On the machine of CI nothing may be missing that the tests need, but for quotas, which few kernels have.
if [ -n "${CI:-}" ] && grep -E '^test .* \.\.\. ignored' "$log" | grep -qv 'quota'; then
    echo "tests were skipped, see above" >&2
    failed=1
fi
exit $failed
