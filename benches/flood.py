#!/usr/bin/env python3
"""Whether a flood on one merchant, one channel, the refund flow, or of forged notifications, slows the others down.

    python3 benches/flood.py [ROUNDS] [SECONDS] [KIND…]      (10 rounds of 10 s of every kind unless said)

One Breakwater (whatever binary `.ci/stage.py` finds), one sandbox, two channels, a quiet merchant and eleven others. The quiet merchant pays forty
times a second at the first channel, each payment at its own time, and its latency is taken from that time. Rounds are interleaved, every other time
backwards:

- `calm`: nobody else;
- `usual`: another merchant pays at the second channel as often as it may (and as that channel's contract allows), and a third gives back, in parts,
  what it was paid, as often as it may. Everything below comes on top of that:
- `livez`: as many requests that do nothing as a flood has, which is what any such number of requests costs on this machine;
- `merchant`: the other merchant pays ten times as often;
- `channel`: ten merchants, each of which may, pay ten times as often as the second channel's contract allows;
- `refunds`: the third gives back ten times as often;
- `notifications`: as many come with a wrong signature.

Printed are the quiet merchant's p50 and p99 over all its payments of a kind, their ratio to the usual ones, and the least and the most that a
round's p99 was. The first second of each round counts apart: in it a flooder has its burst, which everybody may have, all at once. The quiet merchant and each flooder are processes of their own, and the flood has a fixed pace: without one, a machine of two cores
measures the flooder.
"""
import collections
import http.client
import json
import math
import multiprocessing
import os
import pathlib
import random
import sys
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / ".ci"))
import stage  # noqa: E402

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 10
FIRST = 1
PACE = 40
LAWFUL_PACE = 60
FLOOD_PACE = 600
FLOODERS = 4
# Each has so many connections: whoever is answered late must not be flooded less.
CONNECTIONS = 8
# So many refunds a payment, more or less: nobody takes them without end, and a payment with many is dearer to read than most are.
PARTS = 25
GREEDY = 10
NO_WORD = "429 without Retry-After"

LIMITS = "[limits]\nmerchant_writes_per_second = 60\nmerchant_writes_burst = 60\n"


def post(connection, path, body, headers):
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, dict(answer.getheaders())


def request(key, path, body):
    name = uuid.uuid4().hex
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Idempotency-Key": name}
    return path, json.dumps(body(name)), headers


def payment(key, channel, amount=1250):
    method = {"type": "card_token", "token": "pm_card_visa"}
    return request(key, "/v1/payments", lambda name: {"amount": amount, "currency": "CNY", "merchant_order_id": name, "payment_method": method, "channel": channel})


def refund(key, paid):
    return request(key, "/v1/refunds", lambda name: {"payment_id": paid, "merchant_refund_id": name, "amount": 1})


def forged():
    return "/v1/notifications/shop", '{"id":"evt_1"}', {"Stripe-Signature": "t=1,v1=" + "0" * 64, "Content-Type": "application/json"}


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status, dict(answer.getheaders())


def pay_at_a_pace(place, key, results):
    connection = http.client.HTTPConnection(place, timeout=30)
    began, latencies, bad = time.monotonic(), [], 0
    for n in range(int((FIRST + SECONDS) * PACE)):
        meant = began + n / PACE
        time.sleep(max(0, meant - time.monotonic()))
        status, _ = post(connection, *payment(key, "shop"))
        latencies.append((time.monotonic() - meant) * 1000)
        bad += status != 201
    results.put((latencies, bad))


def at(latencies, part):
    """The latency that `part` of them do not exceed."""
    return sorted(latencies)[max(0, math.ceil(len(latencies) * part) - 1)]


def flood(place, make, pace, over, results):
    # As if it came from another machine: what the two cores have to do for it here is not taken from anybody.
    os.nice(15)
    counts = [collections.Counter() for _ in range(CONNECTIONS)]
    threads = [threading.Thread(target=flood_by_one, args=(place, make, pace, nth, over, counts[nth])) for nth in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(sum(counts, collections.Counter()))


def flood_by_one(place, make, pace, nth, over, counts):
    connection = http.client.HTTPConnection(place, timeout=30)
    every = FLOODERS * CONNECTIONS / pace
    began, n = time.monotonic() + every * nth / CONNECTIONS, 0
    while not over.is_set():
        time.sleep(max(0, began + n * every - time.monotonic()))
        n += 1
        made = make()
        try:
            status, headers = get(connection, made) if isinstance(made, str) else post(connection, *made)
        except (OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(place, timeout=30)
            status, headers = "cut off", {}
        if status == 429 and "retry-after" not in {name.lower() for name in headers}:
            status = NO_WORD
        counts[status] += 1


def one_round(place, quiet, loads):
    """The quiet merchant's latencies beside `loads`, how many of its payments were not made, and what each load was answered, by its name."""
    over, paid = multiprocessing.Event(), multiprocessing.Queue()
    answers = {name: multiprocessing.Queue() for name in loads}
    flooders = [
        multiprocessing.Process(target=flood, args=(place, make, pace, over, answers[name])) for name, (make, pace) in loads.items() for _ in range(FLOODERS)
    ]
    payer = multiprocessing.Process(target=pay_at_a_pace, args=(place, quiet, paid))
    for process in [*flooders, payer]:
        process.start()
    latencies, bad = paid.get()
    over.set()
    counts = {name: sum((queue.get() for _ in range(FLOODERS)), collections.Counter()) for name, queue in answers.items()}
    for process in [*flooders, payer]:
        process.join()
    return latencies, bad, counts


def main():
    sandbox = stage.Sandbox()
    installation = stage.Installation(CHANNEL.format(sandbox=sandbox), LIMITS)
    keys = []
    for nth in range(GREEDY + 1):
        installation.command("merchants", "add", f"Flooder {nth}")
        keys.append(installation.command("keys", "add", f"Flooder {nth}").strip())
    gives_back, *greedy = keys
    place = installation.url.removeprefix("http://")
    paid = []

    def pays(*keys):
        return lambda: payment(random.choice(keys), "other")

    def refunds():
        return refund(gives_back, random.choice(paid))

    usual = {"payments": (pays(greedy[0]), LAWFUL_PACE), "refunds": (refunds, LAWFUL_PACE)}
    kinds = {
        "calm": {},
        "usual": usual,
        "livez": usual | {"livez": (lambda: "/livez", FLOOD_PACE)},
        "merchant": usual | {"payments": (pays(greedy[0]), FLOOD_PACE)},
        "channel": usual | {"payments": (pays(*greedy), FLOOD_PACE)},
        "refunds": usual | {"refunds": (refunds, FLOOD_PACE)},
        "notifications": usual | {"notifications": (forged, FLOOD_PACE)},
    }
    wanted = {"usual", *(sys.argv[3:] or kinds)}
    if unknown := wanted - set(kinds):
        sys.exit(f"no such kind: {', '.join(unknown)}; there are {', '.join(kinds)}")
    seen = {name: [] for name in kinds if name in wanted}
    # A merchant has its rate and, at the start of each round, its burst.
    for _ in range(math.ceil((ROUNDS * len(seen) + 1) * (FIRST + SECONDS + 1) * LAWFUL_PACE / PARTS)):
        paid.append(to_give_back(installation, gives_back))
    one_round(place, installation.key, usual)
    for nth in range(ROUNDS):
        for name in list(seen)[:: -1 if nth % 2 else 1]:
            seen[name].append(one_round(place, installation.key, kinds[name]))
    _, as_usual = parted(seen["usual"])
    for name, rounds in seen.items():
        first, latencies = parted(rounds)
        (p50, p99), (of_p50, of_p99) = ([at(those, part) for part in (0.5, 0.99)] for those in (latencies, as_usual))
        each = [at(parted([round_])[1], 0.99) for round_ in rounds]
        answers = {load: dict(sum((round_[2][load] for round_ in rounds), collections.Counter())) for load in kinds[name]}
        if any(NO_WORD in of_load for of_load in answers.values()):
            stage.fail(f"{name}: {NO_WORD}: {answers}")
        print(
            f"{name:13} p50 {p50:5.1f} ms ({p50 / of_p50:.2f}x)  p99 {p99:6.1f} ms ({p99 / of_p99:.2f}x; of a round {min(each):.1f} to {max(each):.1f})"
            f"  first second p50 {at(first, 0.5):5.1f} p90 {at(first, 0.9):5.1f} ms"
            f"  not 201: {sum(round_[1] for round_ in rounds)} of {len(first) + len(latencies)}  others: {answers}",
            flush=True,
        )


def parted(rounds):
    """The latencies of the rounds' first seconds, and the others."""
    cut = FIRST * PACE
    return [[latency for latencies, _, _ in rounds for latency in those(latencies)] for those in (lambda all_: all_[:cut], lambda all_: all_[cut:])]


def to_give_back(installation, key):
    path, body, headers = payment(key, "other", 100_000)
    status, answer = stage.ask("POST", installation.url + path, body, headers)
    while status in (429, 503):
        time.sleep(0.1)
        status, answer = stage.ask("POST", installation.url + path, body, headers)
    return answer["id"] if status == 201 else stage.fail(f"a payment to give back was answered {status}: {answer}")


CHANNEL = "".join(
    f"""
[[channels]]
id = "{name}"
provider = "stripe"
mode = "test"
address = "{{sandbox.address}}"
secret_key = "{{sandbox.SECRET_KEY}}"
notification_secrets = ["{{sandbox.WEBHOOK_SECRET}}"]
"""
    for name in ("shop", "other")
) + f"""
[channels.guard.pay]
# A payment at Stripe is two calls.
rate_per_second = {2 * LAWFUL_PACE}
burst = {2 * LAWFUL_PACE}
"""

if __name__ == "__main__":
    main()
