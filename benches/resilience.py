#!/usr/bin/env python3
"""The figures of `breakwater bench`, over several runs: the worst and the median of each.

    python3 benches/resilience.py [--runs N] [--rate R] [--before-s S] [--fault-s S] [--after-s S] [--pay-with banks|stripe] [--promote-after-ms N]
        [--keep FOLDER] SCENARIO…

Runs each scenario N times (5), with another seed each time, by the binary that BREAKWATER names or else the release build, and prints a row of a
table a scenario, worst and median of:

- in time in the outage: of the orders offered while the fault lasted, the share that was paid right and in time; in all: over the whole run;
- p99 during ÷ before: of the answers by the channels that were not hit;
- final within: seconds from the fault's end, at most, until nothing was open;
- healed ÷ steady: calls in the busiest second after the fault of the channel that is well again, to its calls a second before the fault; healed in
  flight, and how many looks, ten a second, found more than its limit (`over its limit`);
- undone: payments that had to be undone at the channel that was hit, because no whole answer came: how many it had charged, and how many not; of banks;
- back after: milliseconds from the standby's promotion until the first order that was offered since was paid; only where a primary is lost;
- steady after: seconds from then, or else from the fault's end, until 95 % of every second's orders were in time; `inf` when they were not at the end.

With --keep FOLDER each run's whole report, with every second, is kept there. Ends with 1 when a run could not be made, or its books do not hold.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent


def run(binary, scenario, seed, options):
    command = [binary, "bench", scenario, "--json", "--seed", str(seed)]
    for name in ("rate", "before_s", "fault_s", "after_s", "pay_with", "processes", "merchants", "promote_after_ms"):
        value = getattr(options, name)
        if value is not None:
            command += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        report = json.loads(done.stdout.strip().splitlines()[-1])
        if options.keep:
            (options.keep / f"{scenario}-{seed}.json").write_text(json.dumps(report))
        return done.returncode, report
    except (IndexError, ValueError):
        sys.exit(f"{' '.join(command)} ended with {done.returncode} and no report:\n{done.stderr[-2000:]}")


def in_time(report, first, last):
    seconds = [second for second in report["seconds"] if first <= second["second"] < last]
    offered = sum(second["offered"] for second in seconds)
    return offered, round(100 * sum(second["in_time"] for second in seconds) / max(1, offered), 4)


def figures(report):
    """Of one run; None where a scenario has no such figure."""
    begun, ended, end = report["fault_from_s"], report["fault_to_s"], len(report["seconds"])
    offered, outage = in_time(report, begun, ended)
    before, during = report["others"]["before"], report["others"]["during"]
    healed = report["healed"]
    return {
        "offered in the outage": offered,
        "in time in the outage %": outage,
        "in time in all %": in_time(report, 0, end)[1],
        "p99 during ÷ before": round(during["p99_ms"] / max(1, before["p99_ms"]), 2) if before and during else None,
        "final within s": round(end - ended + report["resolved_after_ms"] / 1000, 1),
        "healed ÷ steady": round(healed["most_per_s"] / max(1, healed["steady_per_s"]), 2) if healed else None,
        "healed in flight": healed["most_in_flight"] if healed else None,
        "over its limit": healed["over_limit"] if healed else None,
        "undone: charged, not": list(report["undone"].values()) if report.get("undone") else None,
        "back after ms": or_never(report["back_after_ms"]) if report["promoted_at_ms"] is not None else None,
        "steady after s": or_never(report["steady_after_s"]),
        "double, lost, orphan, stuck": [len(report["verdict"][name]) for name in ("double", "lost", "orphan", "stuck")],
    }


def or_never(value):
    return math.inf if value is None else value


def least(values):
    return f"{min(values):g}"


def both(worst):
    """The worst and the median, of the runs that have it."""

    def cell(values):
        known = [value for value in values if value is not None]
        return f"{worst(known):g}, {statistics.median(known):g}" if known else "-"

    return cell


def sums(runs):
    known = [counts for counts in runs if counts is not None]
    return ", ".join(str(sum(counts)) for counts in zip(*known)) or "-"


COLUMNS = {
    "offered in the outage": least,
    "in time in the outage %": both(min),
    "in time in all %": both(min),
    "p99 during ÷ before": both(max),
    "final within s": both(max),
    "healed ÷ steady": both(max),
    "healed in flight": both(max),
    "over its limit": both(max),
    "undone: charged, not": sums,
    "back after ms": both(max),
    "steady after s": both(max),
    "double, lost, orphan, stuck": sums,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    for name in ("rate", "before-s", "fault-s", "after-s", "processes", "merchants", "promote-after-ms"):
        parser.add_argument("--" + name, type=int)
    parser.add_argument("--pay-with")
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    binary = os.environ.get("BREAKWATER", str(HERE / "target/release/breakwater"))
    sound = True
    print("| " + " | ".join(["scenario", *COLUMNS]) + " |")
    print("|" + " --- |" * (len(COLUMNS) + 1))
    for scenario in options.scenarios:
        runs = []
        for nth in range(options.runs):
            code, report = run(binary, scenario, options.seed + nth, options)
            sound &= code == 0
            runs.append(figures(report))
            said = ", ".join(f"{name} {value}" for name, value in runs[-1].items() if value is not None)
            print(f"{scenario} {nth + 1}: {said}", file=sys.stderr)
        cells = [column([figures[name] for figures in runs]) for name, column in COLUMNS.items()]
        print("| " + " | ".join([f"`{scenario}`", *cells]) + " |", flush=True)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
