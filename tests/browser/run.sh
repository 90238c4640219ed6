#!/usr/bin/env bash
# The dashboard in a real browser: installs Chromium, Node and two packages where they are missing, and runs all
# cases. `run.sh install` stops before them, for `cargo test -- --include-ignored` to run them with the rest.
# Other arguments go to cargo; CASES=looks runs looks.test.js alone. Pictures of all views are kept in the folder that is named at the end.
set -euo pipefail
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else echo "as root, run: $*" >&2; exit 1
    fi
}

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} != 0 ]; then
    echo "installing ${missing[*]}"
    as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' || { echo "the tests need Node 18 or newer" >&2; exit 1; }
# What the lock file says, and nothing that a package wants to run.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --ignore-scripts --no-audit --no-fund

[ "${1:-}" != install ] || exit 0
cd ../..
cargo test --locked --no-default-features --features admin,axum,file,testing "$@" --test browser -- --include-ignored --nocapture
