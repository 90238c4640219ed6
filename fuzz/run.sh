#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other, and ends with a line for each:
#   fuzz/run.sh [seconds]     300 seconds a target unless said otherwise
# Installs nothing. A finding makes it fail; the input that shows it stays in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-300}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: fuzz/run.sh [seconds], a whole number from 1 on" >&2; exit 2; }

# --- what the targets need ------------------------------------------------------------------------

missing=()
cargo +nightly --version >/dev/null 2>&1 || missing+=("the nightly compiler:  rustup toolchain install nightly")
cargo fuzz --version >/dev/null 2>&1 || missing+=("cargo-fuzz:            cargo install cargo-fuzz --version 0.13.2 --locked")
command -v c++ >/dev/null || missing+=("a C++ compiler:        apt-get install g++, on Debian")
if [ ${#missing[@]} != 0 ]; then
    echo "the fuzz targets need what is not installed here:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 2
fi

# --- runs -----------------------------------------------------------------------------------------

targets=$(cargo +nightly fuzz list --fuzz-dir .)
# Without the address sanitiser: there is no `unsafe` here to be watched, and it takes four runs of five.
cargo +nightly fuzz build --fuzz-dir . --sanitizer none

log=$(mktemp)
trap 'rm -f "$log"' EXIT

summary=()
findings=0
for target in $targets; do
    printf '\n== %s, %s seconds\n' "$target" "$seconds"
    mkdir -p "corpus/$target"
    status=0
    # What is new goes to the first folder; the seeds are only read.
    cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=1024 \
        -dict=words.dict -print_final_stats=1 2>&1 | tee "$log" || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    a_second=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log" | tail -1)
    line="$target: ${runs:-0} runs, ${a_second:-0} a second"
    if [ "$status" = 0 ]; then
        summary+=("$line, no finding")
    else
        findings=$((findings + 1))
        # A build or a run that breaks off on its own leaves no input behind.
        input=$(sed -n 's|^.*Test unit written to \./|fuzz/|p' "$log" | tail -1)
        summary+=("$line, 1 FINDING: ${input:-exit status $status, see above}")
    fi
done

printf '\n== all targets\n'
printf '%s\n' "${summary[@]}"
[ "$findings" = 0 ]
