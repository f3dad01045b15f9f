#!/usr/bin/env bash
# The full path under load: wrk -> REST API -> journal -> channel -> sandbox over HTTP -> journal -> answer, everything on this machine.
# Prints, for 64 and 256 connections, the median of interleaved rounds: payments a second, latency, CPU by process, WAL bytes a payment.
#
#   benches/full_path.sh [ROUNDS] [SECONDS]        (3 rounds of 10 s unless said; needs wrk and psql)
#
# It builds the release profile, unless BREAKWATER_PROGRAM names a binary.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
seconds=${2:-10}
program=${BREAKWATER_PROGRAM:-target/release/breakwater}
[ -n "${BREAKWATER_PROGRAM:-}" ] || cargo build --release --quiet
data=$(mktemp -d /tmp/breakwater-bench.XXXXXX)
chmod 755 "$data"
"$program" demo --json --no-traffic --port 0 --data-dir "$data" --log-level warn > "$data/ready.json" &
demo=$!
trap 'kill -INT "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; curl -s -X POST "$sandbox/_control/_shutdown" >/dev/null || true; rm -rf "$data"' EXIT
sandbox=
for _ in $(seq 1 200); do [ -s "$data/ready.json" ] && break; sleep 0.1; done
field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$data/ready.json" "$1"; }
url=$(field url)
sandbox=$(field sandbox_url)
database=$(field database_url)
BREAKWATER_KEY=$(field api_key)
export BREAKWATER_KEY
ticks=$(getconf CLK_TCK)
postmaster=$(psql -qAt "$database" -c "select pg_read_file('postmaster.pid', 0, 20)" | head -1)
sandbox_pid=$(curl -s "$sandbox/_control" | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')

# CPU of a process in ticks, with its children (Postgres' backends).
cpu() {
  local total=0 pid
  for pid in "$1" $(pgrep -P "$1" || true); do
    total=$((total + $(awk '{ print $14 + $15 }' "/proc/$pid/stat" 2>/dev/null || echo 0)))
  done
  echo "$total"
}
cpu_alone() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
wal() { psql -qAt "$database" -c "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"; }

wrk -t1 -c32 -d3s -s benches/payments.lua "$url" > /dev/null   # warm: plans, pages, connections
for round in $(seq 1 "$rounds"); do
  for connections in 64 256; do
    export BREAKWATER_RUN="r$round-$connections-$$"
    before=("$(cpu_alone "$demo")" "$(cpu "$postmaster")" "$(cpu_alone "$sandbox_pid")" "$(wal)")
    result=$(wrk -t1 -c"$connections" -d"${seconds}s" -s benches/payments.lua "$url" | grep '^RESULT')
    after=("$(cpu_alone "$demo")" "$(cpu "$postmaster")" "$(cpu_alone "$sandbox_pid")" "$(wal)")
    read -r _ requests errors rate p50 p95 p99 <<< "$result"
    per() { python3 -c "print(round(($2 - $1) * 1e6 / $ticks / $requests, 1))"; }
    echo "$connections $rate $p50 $p95 $p99 $errors $(per "${before[0]}" "${after[0]}") $(per "${before[1]}" "${after[1]}") $(per "${before[2]}" "${after[2]}") $(((after[3] - before[3]) / requests))"
  done
done | tee "$data/rows"
python3 - "$data/rows" <<'PY'
import statistics, sys
rows = [list(map(float, line.split())) for line in open(sys.argv[1])]
print("| connections | payments/s | p50 ms | p95 ms | p99 ms | not 2xx | CPU us a payment: ours | Postgres | sandbox | WAL bytes a payment |")
print("|---|---|---|---|---|---|---|---|---|---|")
for connections in (64, 256):
    own = [row for row in rows if row[0] == connections]
    print("| " + " | ".join([str(connections)] + [f"{statistics.median(row[i] for row in own):g}" for i in range(1, 10)]) + " |")
PY
curl -s "$url/ops/v1/integrity" -H "Authorization: Bearer $(field ops_token)" | head -c 200
echo
