#!/usr/bin/env bash
# Everything that has to pass, on a fresh Debian machine with Rust: installs what is missing, checks
# formatting, lints, cargo features and documentation, runs all tests, and ends with their sum.
# The tests start their own servers, on free ports and in temporary folders; whatever happens, none is left
# running, and servers that are there already are not touched. tests/faults.sh is for the large doses.
set -euo pipefail
cd "$(dirname "$0")/.."
# Where Debian has nginx, which only root's PATH names.
export PATH="$PATH:/usr/sbin"

say() { printf '\n== %s\n' "$*"; }

# --- what the tests need beside Rust -------------------------------------------------------------

command -v cargo >/dev/null || { echo "install Rust 1.89 or newer first: cargo is not on the PATH" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else echo "as root, run: $*" >&2; exit 1
    fi
}

install_debian() {
    say "installing $*"
    as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

missing=()
command -v c++ >/dev/null || missing+=(build-essential)
# The independent readings of the document format are in Python; tomllib came with 3.11.
python3 -c 'import tomllib' 2>/dev/null || missing+=(python3)
command -v pgrep >/dev/null || missing+=(procps)
# Programs that the tests start themselves; the services that come with the packages are not wanted.
services=()
command -v nginx >/dev/null || { missing+=(nginx-light); services+=(nginx); }
command -v redis-server >/dev/null || { missing+=(redis-server redis-tools); services+=(redis-server); }
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { missing+=(postgresql); services+=(postgresql); }
command -v psql >/dev/null || missing+=(postgresql-client)
[ ${#missing[@]} = 0 ] || install_debian "${missing[@]}"
for service in ${services[@]+"${services[@]}"}; do
    as_root systemctl disable --quiet --now "$service" 2>/dev/null || as_root service "$service" stop >/dev/null 2>&1 || true
done
python3 -c 'import tomllib' || { echo "the tests need Python 3.11 or newer as python3" >&2; exit 1; }

component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || { echo "install the Rust component $2" >&2; exit 1; }
    rustup component add "$2"
}
component fmt rustfmt
component clippy clippy

# --- checks -----------------------------------------------------------------------------------------

say "formatting"
cargo fmt --all --check

say "lints, all cargo features"
cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

# Each cargo feature alone, and none: the list is the manifest's own.
features=$(sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9_-]*\) = .*/\1/p' Cargo.toml | grep -vx default)
for feature in "" $features; do
    say "lints, cargo feature ${feature:-none}"
    cargo clippy --locked --lib --no-default-features --features "$feature" -- -D warnings
done

# The fuzz targets run by a command of their own, fuzz/run.sh; here it is seen that they go with the crate.
say "lints, fuzz targets"
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings

say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features

# --- tests ------------------------------------------------------------------------------------------

. tests/servers.sh
log=$folder/log

# Adds up what the test runner says of each of its runs; an error ends the script right here.
run() {
    say "$*"
    "$@" 2>&1 | tee -a "$log"
}

# Builds the examples too, some of which the tests run. Ignored are tests that need what was installed
# above.
run cargo test --locked --workspace --all-features -- --include-ignored
run cargo test --locked --no-default-features --lib --test bucketing --test plain_tower --test pending --test limits

no_server_is_left

say "all tests"
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 || passed == 0 }' "$log"
