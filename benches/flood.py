#!/usr/bin/env python3
"""Whether a flood on one merchant, or of forged notifications, slows the others down.

    python3 benches/flood.py [ROUNDS] [SECONDS]

One Breakwater (whatever binary `.ci/stage.py` finds), one sandbox, two merchants. A quiet merchant pays forty times a second, each payment at its own
time, and its latency is taken from that time. Rounds are interleaved: calm; `livez`, as many requests that do nothing as a flood has, which is what
any such number of requests costs on this machine; `lawful`, a second merchant at its limit; `merchant`, the same one at ten times its limit;
`notifications`, as many with a wrong signature. Printed are the medians over the rounds of the quiet merchant's p50 and p99, and their ratio to the
calm ones. What a flood does to others is the difference between `merchant` and `lawful`, which is paid work, and between `notifications` and `calm`;
both with `livez` in mind. The quiet merchant and each flooder are processes of their own, and the flood has a fixed pace: without one, a machine of
two cores measures the flooder.
"""
import http.client
import json
import multiprocessing
import pathlib
import statistics
import sys
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
NO_WORD = "429 without Retry-After"

LIMITS = "[limits]\nmerchant_writes_per_second = 60\nmerchant_writes_burst = 60\n"


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
        status, _ = post(connection, *payment(key))
        latencies.append((time.monotonic() - meant) * 1000)
        bad += status != 201
    latencies.sort()
    results.put((latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99) - 1], bad))


def flood(place, make, pace, over, results):
    connection = http.client.HTTPConnection(place, timeout=30)
    began, n, counts = time.monotonic(), 0, {}
    while not over.is_set():
        time.sleep(max(0, began + n * FLOODERS / pace - time.monotonic()))
        n += 1
        request = make()
        try:
            status, headers = get(connection, request) if isinstance(request, str) else post(connection, *request)
        except (OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(place, timeout=30)
            status, headers = "cut off", {}
        if status == 429 and "retry-after" not in {name.lower() for name in headers}:
            status = NO_WORD
        counts[status] = counts.get(status, 0) + 1
    results.put(counts)


def one_round(place, quiet, make, pace):
    over, paid, flooded = multiprocessing.Event(), multiprocessing.Queue(), multiprocessing.Queue()
    flooders = [multiprocessing.Process(target=flood, args=(place, make, pace, over, flooded)) for _ in range(FLOODERS)] if make else []
    payer = multiprocessing.Process(target=pay_at_a_pace, args=(place, quiet, paid))
    for process in [*flooders, payer]:
        process.start()
    p50, p99, bad = paid.get()
    over.set()
    counts = {}
    for _ in flooders:
        for status, count in flooded.get().items():
            counts[status] = counts.get(status, 0) + count
    for process in [*flooders, payer]:
        process.join()
    return p50, p99, bad, counts


def main():
    sandbox = stage.Sandbox()
    installation = stage.Installation(CHANNEL.format(sandbox=sandbox), LIMITS)
    installation.command("merchants", "add", "Flooder")
    greedy = installation.command("keys", "add", "Flooder").strip()
    place = installation.url.removeprefix("http://")
    paid = lambda: payment(greedy)  # noqa: E731
    kinds = {
        "calm": (None, 0),
        "livez": (lambda: "/livez", FLOOD_PACE),
        "lawful": (paid, LAWFUL_PACE),
        "merchant": (paid, FLOOD_PACE),
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
        answers = {}
        for round_ in rounds:
            for status, count in round_[3].items():
                answers[status] = answers.get(status, 0) + count
        if NO_WORD in answers:
            stage.fail(f"{name}: {answers[NO_WORD]} times {NO_WORD}")
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
