#!/usr/bin/env bash
# The large doses of the faults that are done to real stores, of reloads and of races: hours, and not minutes as in
# tests/run.sh, which has to have run once, since it installs the servers. `tests/faults.sh killed` does those alone
# whose names have it.
# TOWER_FLAGS_SERVER=Redis leaves the other servers out (NewerRedis, Postgres), and TOWER_FLAGS_NOISE=20 allows 20 s more
# for the newest rules to arrive, where the machine has other work.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/servers.sh
failed=0
TOWER_FLAGS_DOSE=large cargo test --locked --release --all-features --no-fail-fast --test faults --test storm --test file_store -- --include-ignored --nocapture "$@" ||
    failed=1
no_server_is_left || failed=1
exit "$failed"
