#!/usr/bin/env bash
# As many gateways as the limit of open files asks for, for so many trackers, and the trackers: what one
# machine holds. docs/operations.md ("Limits of one machine") says how to read it.
#
#   deploy/fleet.sh [TRACKERS [GATEWAYS]]
#
# TRACKERS: 1000000 if nothing is said. GATEWAYS: what the limit asks for, or more.
# From the environment: TOLLGATE (the binary), FLEET_DIR (data and configurations; removed at the end),
# FLEET_PORT (the first of as many ports on loopback), FLEET_SECONDS (how long the trackers call; each
# sends one frame in that time).
#
# The arithmetic: a gateway keeps 256 files for itself and a tracker is one file of it, so it holds
# (hard limit - 256) trackers, and N trackers ask for N / (hard limit - 256) gateways, rounded up.
set -euo pipefail

trackers=${1:-1000000}
tollgate=${TOLLGATE:-target/release/tollgate}
dir=${FLEET_DIR:-$(mktemp -d)}
port=${FLEET_PORT:-30001}
seconds=${FLEET_SECONDS:-120}
for number in "$trackers" "${2:-1}" "$port" "$seconds"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || {
        echo "$number is no number; usage: deploy/fleet.sh [TRACKERS [GATEWAYS]]" >&2
        exit 64
    }
done
[ -x "$tollgate" ] || {
    echo "there is no $tollgate: cargo build --release, or name the binary with TOLLGATE=" >&2
    exit 66
}

ulimit -Sn "$(ulimit -Hn)"
files=$(ulimit -n)
[ "$files" != unlimited ] || files=1000000
each=$((files - 256))
needed=$(((trackers + each - 1) / each))
gateways=${2:-$needed}
if [ "$gateways" -lt "$needed" ]; then
    echo "$trackers trackers with $each files a gateway for them need $needed gateways" >&2
    exit 64
fi
each=$(((trackers + gateways - 1) / gateways))
echo "$trackers trackers, $files files a process: $gateways gateways with up to $each trackers each"

pids=()
finish() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$dir"
}
trap finish EXIT

free_mib() { awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo; }
rss_mib() {
    local pid
    for pid in "$@"; do
        cat "/proc/$pid/status" 2>/dev/null || true
    done | awk '/^VmRSS:/ { sum += $2 } END { print int(sum / 1024) }'
}
# the sum of a metric over all gateways
metric() {
    local index at page
    for ((index = 0; index < gateways; index++)); do
        at=$(sed -n 's/^http listens on //p' "$dir/$index/log")
        exec 3<>"/dev/tcp/${at%:*}/${at##*:}"
        printf 'GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n' >&3
        cat <&3
        exec 3<&-
    done | awk -v name="$1" 'index($1, name) == 1 { sum += $NF } END { print sum + 0 }'
}

free_before=$(free_mib)
first_ident=350000000000000
left=$trackers
counts=()
for ((index = 0; index < gateways; index++)); do
    count=$((left < each ? left : each))
    [ "$count" -gt 0 ] || { gateways=$index; break; }
    left=$((left - count))
    counts+=("$count")
    here=$dir/$index
    mkdir -p "$here"
    cat >"$here/tollgate.toml" <<TOML
[gateway]
data_dir = "$here/data"
host = "127.0.0.1"
listen = "127.0.0.1"
ports = "$((port + index))-$((port + index))"
workers = 1
[http]
listen = "127.0.0.1:0"
[bounds]
unidentified_per_source = 100000
[journal]
segment = "4MiB"
[[accounts]]
name = "fleet"
[[channels]]
name = "fleet"
account = "fleet"
protocol = "teltonika"
port = $((port + index))
TOML
    "$tollgate" load --devices fleet --trackers "$count" --ident $((first_ident + index * each)) \
        >>"$here/tollgate.toml"
    "$tollgate" serve --config "$here/tollgate.toml" 2>"$here/log" &
    pids+=($!)
    until grep -qs '^ready' "$here/log"; do
        kill -0 "${pids[-1]}" 2>/dev/null || { cat "$here/log" >&2; exit 1; }
        sleep 0.1
    done
done
of_gateways=("${pids[@]}")
free_ready=$(free_mib)
free_held=$free_ready gateways_mib=0 trackers_mib=0
echo "ready: $gateways gateways use $(rss_mib "${of_gateways[@]}") MiB"

# each tracker connects at once, sends one frame some time, and stays
of_trackers=()
for ((index = 0; index < gateways; index++)); do
    count=${counts[index]}
    rate=$(((count + seconds - 1) / seconds))
    "$tollgate" load $((port + index)) --trackers "$count" --ident $((first_ident + index * each)) \
        --rate "$rate" --for "$seconds" --grace 60 --answer-wait 120 --sources 4 --json \
        >"$dir/$index/report" 2>"$dir/$index/errors" &
    of_trackers+=($!)
    pids+=($!)
done
# looked at when all are there, or as many as there were at once
held=0
end=$((SECONDS + seconds - 3))
while [ "$held" -lt "$trackers" ] && [ "$SECONDS" -lt "$end" ]; do
    sleep 2
    now=$(metric tollgate_connections{)
    [ "$now" -gt "$held" ] || continue
    held=$now
    free_held=$(free_mib)
    gateways_mib=$(rss_mib "${of_gateways[@]}")
    trackers_mib=$(rss_mib "${of_trackers[@]}")
done
failed=0
for pid in "${of_trackers[@]}"; do
    wait "$pid" || failed=$((failed + 1))
done
sum() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$dir"/*/report | awk '{ sum += $1 } END { print sum + 0 }'; }
cat <<TABLE
held at once:      $held of $trackers
frames, acked:     $(sum frames), $(sum frames_acked)
memory, gateways:  $gateways_mib MiB resident
memory, trackers:  $trackers_mib MiB resident
memory, all:       $((free_before - free_held)) MiB less available than before, $((free_ready - free_held)) MiB less than without trackers
TABLE
[ "$failed" = 0 ] || { echo "$failed of $gateways generators report a loss" >&2; cat "$dir"/*/errors >&2; exit 1; }
[ "$held" = "$trackers" ] || { echo "not all were held at once" >&2; exit 1; }
