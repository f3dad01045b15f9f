#!/usr/bin/env python3
"""The figures of `breakwater bench`, over several runs: the worst and the median of each.

    python3 benches/resilience.py [--runs N] [--rate R] [--before-s S] [--fault-s S] [--after-s S] [--pay-with banks|stripe] [--promote-after-ms N] SCENARIO…

Runs each scenario N times (5), with another seed each time, by the binary that BREAKWATER names or else the release build, and prints a row of the
README's table a scenario:

- in the outage: of the orders offered while the fault lasted, the share that was paid right and in time;
- in all: the same over the whole run;
- others' p99: of the channels that were not hit, during the fault against before it;
- back after: milliseconds from the standby's promotion until the first order that was offered since was paid; only where a primary is lost;
- steady after: seconds from then, or else from the fault's end, until 95 % of every second's orders were in time; `never` when they were not at the end;
- final after: seconds from the last order until nothing was open.

Ends with 1 when a run could not be made, or its books do not hold.
"""
import argparse
import json
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
        return done.returncode, json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        sys.exit(f"{' '.join(command)} ended with {done.returncode} and no report:\n{done.stderr[-2000:]}")


def share(report, first, last):
    seconds = [second for second in report["seconds"] if first <= second["second"] < last]
    offered = sum(second["offered"] for second in seconds)
    return offered, 100 * sum(second["in_time"] for second in seconds) / max(1, offered)


def p99_ratio(report):
    others = report["others"]
    before, during = others["before"], others["during"]
    return during["p99_ms"] / max(1, before["p99_ms"]) if before and during else float("nan")


def over(values, form="{:,.0f}"):
    """Worst and median, where there are any; a run that never got there is worse than all."""
    if not values:
        return "-"
    known = [float("inf") if value is None else value for value in values]
    return ", ".join("never" if value == float("inf") else form.format(value) for value in (max(known), statistics.median(known)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    for name in ("rate", "before-s", "fault-s", "after-s", "processes", "merchants", "promote-after-ms"):
        parser.add_argument("--" + name, type=int)
    parser.add_argument("--pay-with")
    options = parser.parse_args()
    binary = os.environ.get("BREAKWATER", str(HERE / "target/release/breakwater"))
    sound = True
    print("| scenario | offered in the outage, a run | in time in the outage: worst, median % | in all: worst, median % | others' p99: median, worst | back after: worst, median ms | steady after: worst, median s | final after: median, worst s | double, lost, orphan, stuck |")
    print("|" + " --- |" * 9)
    for scenario in options.scenarios:
        outage, whole, ratios, final, faults, offered, back, steady = [], [], [], [], [0, 0, 0, 0], [], [], []
        for nth in range(options.runs):
            code, report = run(binary, scenario, options.seed + nth, options)
            sound &= code == 0
            count, right = share(report, report["fault_from_s"], report["fault_to_s"])
            offered.append(count)
            outage.append(right)
            whole.append(share(report, 0, len(report["seconds"]))[1])
            ratios.append(p99_ratio(report))
            if report["promoted_at_ms"] is not None:
                back.append(report["back_after_ms"])
            steady.append(report["steady_after_s"])
            final.append(report["resolved_after_ms"] / 1000)
            for place, name in enumerate(("double", "lost", "orphan", "stuck")):
                faults[place] += len(report["verdict"][name])
            print(f"{scenario} {nth + 1}: {right:.3f} % of {count} in the outage, {whole[-1]:.3f} % in all, others' p99 x {ratios[-1]:.2f}, back after {report['back_after_ms']} ms, steady after {steady[-1]} s, final after {final[-1]:.1f} s", file=sys.stderr)
        middle = statistics.median
        print(
            f"| `{scenario}` | {min(offered):,} | {min(outage):.3f}, {middle(outage):.3f} | {min(whole):.3f}, {middle(whole):.3f} "
            f"| {middle(ratios):.2f}, {max(ratios):.2f} | {over(back)} | {over(steady)} | {middle(final):.1f}, {max(final):.1f} | {', '.join(map(str, faults))} |",
            flush=True,
        )
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
