#!/usr/bin/env bash
# CPU seconds of a cold release build of the crate alone, and of `md5-lanes`, which is part of this repository. All other
# dependencies are built before. Works offline once they were fetched.
#
#   benches/build.sh [rounds] [options of `cargo build`]
#
# Builds the default cargo features unless the options say otherwise: `benches/build.sh 3 --all-features`. Keeps its own
# target folder, `target/cold`, so that the dependencies are built once.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
shift || true

options=(--locked --offline)
target=$(cargo metadata "${options[@]}" --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/cold
results=$(mktemp)
trap 'rm -f "$results" "$results.time"' EXIT

build() { cargo build "${options[@]}" --quiet --release --target-dir "$target" "$@"; }

# Builds a package and notes its CPU seconds, of user and system, with those of the compiler.
measure() {
    local package=$1 TIMEFORMAT='%U %S'
    shift
    { time build --package "$package" "$@" 2>&3; } 3>&2 2>"$results.time"
    awk -v package="$package" '{ print package, $1 + $2 }' "$results.time" >>"$results"
}

build --package tower-flags "$@"
for ((round = 1; round <= rounds; round++)); do
    cargo clean --quiet --release --target-dir "$target" --package md5-lanes --package tower-flags
    measure md5-lanes
    measure tower-flags "$@"
done

awk '
    { seconds[$1] = seconds[$1] " " $2 }
    function median(text,    values, count, i, j, swap) {
        count = split(text, values, " ")
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; j--) { swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap }
        return values[int((count + 1) / 2)]
    }
    END {
        printf "CPU seconds of a cold release build, medians of the rounds behind them\n\n"
        printf "%-12s %6.1f  %s\n", "md5-lanes", median(seconds["md5-lanes"]), seconds["md5-lanes"]
        printf "%-12s %6.1f  %s\n", "tower-flags", median(seconds["tower-flags"]), seconds["tower-flags"]
    }' "$results"
