#!/usr/bin/env bash
# What guards cost on the full path: the same load on two builds, one as it is and one whose guards are compiled to nothing (feature `unguarded`),
# in interleaved rounds. Prints for each number of connections the medians of p50 and p99, their spread over the rounds, and the ratio.
#
#   benches/guard_cost.sh [ROUNDS] [SECONDS]        (5 rounds of 8 s unless said; needs wrk and psql)
#
# It builds both, unless GUARDED and UNGUARDED name them.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
seconds=${2:-8}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${GUARDED:-}" ] && [ -n "${UNGUARDED:-}" ]; then
  cp "$UNGUARDED" "$work/unguarded"
  cp "$GUARDED" "$work/guarded"
else
  cargo build --release --locked --quiet --features unguarded
  cp target/release/breakwater "$work/unguarded"
  cargo build --release --locked --quiet
  cp target/release/breakwater "$work/guarded"
fi
for round in $(seq 1 "$rounds"); do
  # The first of a round changes: neither always comes second.
  order="guarded unguarded"; [ $((round % 2)) -eq 0 ] && order="unguarded guarded"
  for build in $order; do
    BREAKWATER_PROGRAM="$work/$build" benches/full_path.sh 1 "$seconds" | awk -v build="$build" '/^[0-9]+ [0-9]/ { print build, $1, $2, $3, $5 }' >> "$work/rows"
  done
done
python3 - "$work/rows" <<'PY'
import statistics, sys
rows = [line.split() for line in open(sys.argv[1])]
print("| connections | build | payments/s | p50 ms: median (least to most) | p99 ms: median (least to most) |")
print("|---|---|---|---|---|")
for connections in ("64", "256"):
    medians = {}
    for build in ("guarded", "unguarded"):
        own = [list(map(float, row[2:])) for row in rows if row[0] == build and row[1] == connections]
        rate, p50, p99 = ([row[place] for row in own] for place in range(3))
        medians[build] = [statistics.median(values) for values in (rate, p50, p99)]
        spread = lambda values: f"{statistics.median(values):g} ({min(values):g} to {max(values):g})"
        print(f"| {connections} | {build} | {medians[build][0]:g} | {spread(p50)} | {spread(p99)} |")
    ratio = [medians["guarded"][place] / medians["unguarded"][place] for place in (1, 2)]
    print(f"| {connections} | guarded : unguarded | | {ratio[0]:.3f} | {ratio[1]:.3f} |")
PY
