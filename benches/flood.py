#!/usr/bin/env python3
"""Whether a flood on one merchant, or of forged notifications, slows the others down.

    python3 benches/flood.py [ROUNDS] [SECONDS]

One Breakwater (whatever binary `.ci/stage.py` finds), one sandbox, two merchants in one process. A quiet merchant pays ten times a second, each
payment at its own time, and its latency is taken from that time. Rounds of calm, of a second merchant that sends twenty-five times what it may, and of
notifications with a wrong signature are interleaved; printed are the medians over the rounds of the quiet merchant's p50 and p99, and their ratio to
the calm ones. The flood has threads of its own and a fixed pace: on a machine of two cores a flood without a pace measures the flooder.
"""
import http.client
import json
import pathlib
import statistics
import sys
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / ".ci"))
import stage  # noqa: E402

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 6
PACE = 10
FLOOD_PACE = 500
FLOODERS = 4

LIMITS = "[limits]\nmerchant_writes_per_second = 20\nmerchant_writes_burst = 40\n"


def post(connection, path, body, headers):
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, dict(answer.getheaders())


def payment(key):
    order = uuid.uuid4().hex
    body = {"amount": 1250, "currency": "CNY", "merchant_order_id": order, "payment_method": {"type": "card_token", "token": "pm_card_visa"}}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Idempotency-Key": order}
    return "/v1/payments", json.dumps(body), headers


def forged():
    return "/v1/notifications/shop", '{"id":"evt_1"}', {"Stripe-Signature": "t=1,v1=" + "0" * 64, "Content-Type": "application/json"}


def pay_at_a_pace(place, key, latencies, statuses):
    connection = http.client.HTTPConnection(place, timeout=30)
    began = time.monotonic()
    for n in range(int(SECONDS * PACE)):
        meant = began + n / PACE
        time.sleep(max(0, meant - time.monotonic()))
        status, _ = post(connection, *payment(key))
        latencies.append((time.monotonic() - meant) * 1000)
        statuses.append(status)


def flood(place, make, over, counts):
    connection = http.client.HTTPConnection(place, timeout=30)
    began, n = time.monotonic(), 0
    while not over.is_set():
        time.sleep(max(0, began + n * FLOODERS / FLOOD_PACE - time.monotonic()))
        n += 1
        try:
            status, headers = post(connection, *make())
        except (OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(place, timeout=30)
            continue
        counts[status] = counts.get(status, 0) + 1
        if status == 429 and "retry-after" not in {name.lower() for name in headers}:
            stage.fail(f"a 429 without Retry-After: {headers}")


def one_round(place, quiet, make):
    over, counts, latencies, statuses = threading.Event(), {}, [], []
    flooders = [threading.Thread(target=flood, args=(place, make, over, counts)) for _ in range(FLOODERS)] if make else []
    for flooder in flooders:
        flooder.start()
    pay_at_a_pace(place, quiet, latencies, statuses)
    over.set()
    for flooder in flooders:
        flooder.join()
    latencies.sort()
    bad = [status for status in statuses if status != 201]
    return latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99) - 1], len(bad), counts


def main():
    sandbox = stage.Sandbox()
    installation = stage.Installation(CHANNEL.format(sandbox=sandbox), LIMITS)
    installation.command("merchants", "add", "Flooder")
    greedy = installation.command("keys", "add", "Flooder").strip()
    place = installation.url.removeprefix("http://")
    kinds = {"calm": None, "merchant": lambda: payment(greedy), "notifications": forged}
    seen = {name: [] for name in kinds}
    one_round(place, installation.key, None)
    for _ in range(ROUNDS):
        for name, make in kinds.items():
            seen[name].append(one_round(place, installation.key, make))
    calm = [statistics.median(round_[place_] for round_ in seen["calm"]) for place_ in (0, 1)]
    for name, rounds in seen.items():
        p50, p99 = (statistics.median(round_[place_] for round_ in rounds) for place_ in (0, 1))
        answers = {}
        for round_ in rounds:
            for status, count in round_[3].items():
                answers[status] = answers.get(status, 0) + count
        print(f"{name:14} p50 {p50:6.1f} ms ({p50 / calm[0]:.2f}x)  p99 {p99:6.1f} ms ({p99 / calm[1]:.2f}x)  quiet not 201: {sum(r[2] for r in rounds)}  flood: {answers}")


CHANNEL = """
[[channels]]
id = "shop"
provider = "stripe"
mode = "test"
address = "{sandbox.address}"
secret_key = "{sandbox.SECRET_KEY}"
notification_secrets = ["{sandbox.WEBHOOK_SECRET}"]
"""

if __name__ == "__main__":
    main()
