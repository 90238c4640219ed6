#!/usr/bin/env bash
# Requests a second over loopback, to bare axum: the server on CPU 0 with one thread, wrk on CPU 1, each
# application in turn in every round, medians of the rounds. 100 flags, 50 active, a header of 944 bytes.
#
#   benches/http.sh [rounds] [seconds]
#
# Ends with 1 if a limit does not hold. Leaves no process running.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-9}
seconds=${2:-2}

for program in wrk taskset curl; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install wrk util-linux curl" >&2
        exit 1
    }
done
[ "$(nproc)" -ge 2 ] || { echo "this takes two CPUs" >&2; exit 1; }

cargo build --release --quiet -p tower-flags-benches --bin http
http=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/http

work=$(mktemp -d)
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

# The users take turns, each with the header values that a proxy would set.
"$http" users >"$work/users"
cat >"$work/users.lua" <<'LUA'
local requests, at = {}, 0
function init(arguments)
    for line in io.lines(arguments[1]) do
        local user, groups = line:match("^(%S+) ?(.*)$")
        requests[#requests + 1] = wrk.format("GET", "/", { ["x-user-id"] = user, ["x-user-groups"] = groups })
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
LUA

applications=(bare trivial constant header-on header-off)
declare -A port server
for application in "${applications[@]}"; do
    mkfifo "$work/$application"
    taskset -c 0 "$http" "$application" >"$work/$application" &
    servers+=($!)
    server[$application]=$!
    read -r "port[$application]" <"$work/$application"
done

"$http" about
awk '/^name = "fearless_simd"$/ { getline; gsub("\"", ""); print "fearless_simd " $3 }' Cargo.lock
for application in "${applications[@]}"; do
    bytes=$(curl -s -D - -o /dev/null -H "x-user-id: $(head -n 1 "$work/users" | cut -d ' ' -f 1)" \
        "http://127.0.0.1:${port[$application]}/" | tr -d '\r' | sed -n 's/^x-active-flags: //p' | wc -c)
    echo "$application: X-Active-Flags of $((bytes > 0 ? bytes - 1 : 0)) bytes"
done

# Processor time of a server so far, in ticks of 10 ms.
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

for ((round = 0; round <= rounds; round++)); do
    for application in "${applications[@]}"; do
        before=$(ticks "${server[$application]}")
        taskset -c 1 wrk -t1 -c32 -d "${seconds}s" --latency -s "$work/users.lua" \
            "http://127.0.0.1:${port[$application]}/" -- "$work/users" >"$work/out"
        after=$(ticks "${server[$application]}")
        if grep -q -e 'Non-2xx' -e 'Socket errors' "$work/out"; then
            cat "$work/out" >&2
            exit 1
        fi
        # The first round warms up.
        [ "$round" = 0 ] || awk -v application="$application" -v round="$round" -v ticks=$((after - before)) '
            /requests in/ { requests = $1 }
            /Requests\/sec/ { print round, application, $2, ticks * 10000 / requests }' "$work/out" >>"$work/results"
    done
done

awk -v rounds="$rounds" '
    { rate[$1, $2] = $3; time[$1, $2] = $4; if (!($2 in seen)) { seen[$2]; names[++count] = $2 } }
    function median(kind, name,    values, round, i, j, swap) {
        for (round = 1; round <= rounds; round++)
            values[round] = kind == "rate" ? rate[round, name] : kind == "time" ? time[round, name] \
                : kind == "rates" ? rate[round, name] / rate[round, "bare"] : time[round, name] / time[round, "bare"]
        for (i = 2; i <= rounds; i++)
            for (j = i; j > 1 && values[j - 1] > values[j]; j--) { swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap }
        return values[int((rounds + 1) / 2)]
    }
    END {
        must["header-on"] = 0.55; aim["header-on"] = 0.75
        must["header-off"] = 0.75; aim["header-off"] = 0.9
        printf "\n%-12s %12s %9s %7s %5s  %-16s %16s %9s\n", "", "requests/s", "to bare", "must", "aim", "", "server us/request", "to bare"
        for (i = 1; i <= count; i++) {
            name = names[i]; ratio = median("rates", name); verdict = ""
            if (name in must) {
                verdict = ratio >= aim[name] ? "ok, aim reached" : ratio >= must[name] ? "ok" : "NOT REACHED"
                missed += ratio < must[name]
            }
            printf "%-12s %12.0f %9.3f %7s %5s  %-16s %17.2f %9.3f\n", name, median("rate", name), ratio, must[name], aim[name], \
                verdict, median("time", name), median("times", name)
        }
        exit missed > 0
    }' "$work/results"
