#!/usr/bin/env python3
"""Whether a flood on one merchant, one channel, the refund flow, or of forged notifications, slows the others down.

    python3 benches/flood.py [ROUNDS] [SECONDS]

One Breakwater (whatever binary `.ci/stage.py` finds), one sandbox, two channels, a quiet merchant and ten others. The quiet merchant pays forty times
a second at the first channel, each payment at its own time, and its latency is taken from that time. Rounds are interleaved:

- `calm`: nothing else; `livez`: as many requests that do nothing as a flood has, which is what any such number of requests costs on this machine;
- `lawful`: another merchant pays as often as it may, at the second channel; `merchant`: the same one, ten times as often;
- `channel`: ten merchants, each of which may, pay ten times as often as the second channel's contract allows;
- `refunds lawful`, `refunds`: another merchant gives back one part in a hundred thousand of what was paid, as often as it may, and ten times as often;
- `notifications`: as many with a wrong signature.

Printed are the medians over the rounds of the quiet merchant's p50 and p99, and their ratio to the calm ones. What a flood does to others is the
difference between `merchant` or `channel` and `lawful`, which is paid work, between `refunds` and `refunds lawful`, and between `notifications` and
`calm`; all with `livez` in mind. The quiet merchant and each flooder are processes of their own, and the flood has a fixed pace: without one, a
machine of two cores measures the flooder.
"""
import collections
import http.client
import json
import multiprocessing
import pathlib
import random
import statistics
import sys
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / ".ci"))
import stage  # noqa: E402

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 6
PACE = 40
LAWFUL_PACE = 60
FLOOD_PACE = 600
FLOODERS = 4
# Each has so many connections: whoever is answered late must not be flooded less.
CONNECTIONS = 8
GIVEN_BACK = 20
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
    for n in range(int(SECONDS * PACE)):
        meant = began + n / PACE
        time.sleep(max(0, meant - time.monotonic()))
        status, _ = post(connection, *payment(key, "shop"))
        latencies.append((time.monotonic() - meant) * 1000)
        bad += status != 201
    latencies.sort()
    results.put((latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99) - 1], bad))


def flood(place, make, pace, over, results):
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


def one_round(place, quiet, make, pace):
    over, paid, flooded = multiprocessing.Event(), multiprocessing.Queue(), multiprocessing.Queue()
    flooders = [multiprocessing.Process(target=flood, args=(place, make, pace, over, flooded)) for _ in range(FLOODERS)] if make else []
    payer = multiprocessing.Process(target=pay_at_a_pace, args=(place, quiet, paid))
    for process in [*flooders, payer]:
        process.start()
    p50, p99, bad = paid.get()
    over.set()
    counts = sum((flooded.get() for _ in flooders), collections.Counter())
    for process in [*flooders, payer]:
        process.join()
    return p50, p99, bad, counts


def main():
    sandbox = stage.Sandbox()
    installation = stage.Installation(CHANNEL.format(sandbox=sandbox), LIMITS)
    greedy = []
    for nth in range(GREEDY):
        installation.command("merchants", "add", f"Flooder {nth}")
        greedy.append(installation.command("keys", "add", f"Flooder {nth}").strip())
    place = installation.url.removeprefix("http://")
    # What is given back, in parts: several payments, so that refunds do not stand in line for one.
    paid = [to_give_back(installation, greedy[0]) for _ in range(GIVEN_BACK)]
    assert ROUNDS * SECONDS * LAWFUL_PACE * 2 < 100_000 * GIVEN_BACK, "fewer rounds: more would be given back than was paid"

    def pays(*keys):
        return lambda: payment(random.choice(keys), "other")

    def gives_back():
        return refund(greedy[0], random.choice(paid))

    kinds = {
        "calm": (None, 0),
        "livez": (lambda: "/livez", FLOOD_PACE),
        "lawful": (pays(greedy[0]), LAWFUL_PACE),
        "merchant": (pays(greedy[0]), FLOOD_PACE),
        "channel": (pays(*greedy), FLOOD_PACE),
        "refunds lawful": (gives_back, LAWFUL_PACE),
        "refunds": (gives_back, FLOOD_PACE),
        "notifications": (forged, FLOOD_PACE),
    }
    seen = {name: [] for name in kinds}
    one_round(place, installation.key, None, 0)
    for _ in range(ROUNDS):
        for name, (make, pace) in kinds.items():
            seen[name].append(one_round(place, installation.key, make, pace))
    calm = [statistics.median(round_[place_] for round_ in seen["calm"]) for place_ in (0, 1)]
    for name, rounds in seen.items():
        p50, p99 = (statistics.median(round_[place_] for round_ in rounds) for place_ in (0, 1))
        answers = dict(sum((round_[3] for round_ in rounds), collections.Counter()))
        if NO_WORD in answers:
            stage.fail(f"{name}: {answers[NO_WORD]} times {NO_WORD}")
        print(f"{name:15} p50 {p50:6.1f} ms ({p50 / calm[0]:.2f}x)  p99 {p99:6.1f} ms ({p99 / calm[1]:.2f}x)  quiet not 201: {sum(r[2] for r in rounds)}  flood: {answers}")


def to_give_back(installation, key):
    path, body, headers = payment(key, "other", 100_000)
    status, answer = stage.ask("POST", installation.url + path, body, headers)
    while status == 503:
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
