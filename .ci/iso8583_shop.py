"""A whole `breakwater serve` takes card payments at a bank that is other people's software (iso8583_bank.py), through the merchants' API: approved,
declined, unanswered and refunded ones; then a steady load during which one of the bank's two front ends is killed and comes back, while another
bank has fallen silent. In the end every message that reached the simulator is counted against what merchants were told: nothing is charged twice,
and nothing stands that we called failed.

Started by .ci/iso8583, under a Python that has pyiso8583 and iso8583sim. Needs haproxy, PostgreSQL's programs, and a built breakwater.
"""
import concurrent.futures
import json
import secrets
import signal
import time

from iso8583_bank import VECTORS, FrontEnd, Wiretap, simulator
from stage import PATIENCE_S, Installation, check, fail, say

STARTED = time.monotonic()
PAYMENTS, A_SECOND = 300, 30
# The load's amount is answered after a while, so that something is always under way.
APPROVED, DECLINED, DROPPED, LOAD = 1_250, 100_001, 777, 1_500
RULES = json.dumps({"rules": [
    {"match": {"mti": ["0200"], "fields": {"4": f"{DROPPED:012}"}}, "action": "drop"},
    {"match": {"mti": ["0200"], "fields": {"4": f"{LOAD:012}"}}, "delay_ms": 250, "respond": "00"},
    {"match": {"mti": ["0200"], "amount_gt": 100_000}, "respond": "51"},
    {"match": {}, "respond": "00"},
]})
# Two accounts at one bank, which undo by different messages, and one at another.
TERMINALS = {"bank_main": "TERM0001", "bank_other": "TERM0002", "bank_silent": "TERM0003"}
SETTINGS = """answer_within_ms = 2500
[poller]
sweep_every_ms = 100
[cards]
sealing_keys = { ci = { env = "BREAKWATER_CARD_KEY" } }
[log]
level = "warn"
"""


def channel(name, priority, front_ends, more=""):
    return f"""
[[channels]]
id = "{name}"
provider = "iso8583"
mode = "test"
priority = {priority}
timeout_ms = 1500
[channels.account]
profile = "ascii_binary_bitmap"
acquirer = "00012345"
terminal = "{TERMINALS[name]}"
merchant = "BREAKWATER00001"
time_zone = "+08:00"
sign_on = true
authority = {{ file = "{VECTORS}/authority.pem" }}
certificate = {{ file = "{VECTORS}/merchant.pem" }}
certificate_key = {{ file = "{VECTORS}/merchant.key" }}
front_ends = "{",".join(front_end.address for front_end in front_ends)}"
{more}
[channels.guard.pay]
# A bank has no query that could go before a payment.
probe_gate = "time_only"
# A channel that is back is to be noticed soon: this script has a minute.
open_max_ms = 2000
[channels.guard.resolve]
open_max_ms = 2000
"""


def step(what):
    say(f"--- {time.monotonic() - STARTED:.0f} s: {what}")


def until(holds, what):
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if found := holds():
            return found
        time.sleep(0.05)
    fail(f"not within {PATIENCE_S} s: {what}")


def pay(order, amount, where=None):
    card = {"type": "card", "number": "6222020200000000006", "exp_month": 12, "exp_year": 2031}
    body = {"amount": amount, "currency": "CNY", "merchant_order_id": order, "payment_method": card}
    return shop.ask("POST", "/v1/payments", body | ({"channel": where} if where else {}), key=order)


def payment(made):
    return shop.ask("GET", f"/v1/payments/{made['id']}?include=attempts,refunds,events")[1]


def final(made):
    def ended():
        now = payment(made)
        return now if now["status"] in ("succeeded", "failed") else None

    return until(ended, f"{made['id']} is final")


def attempts(of, operation):
    return [attempt for attempt in of["attempts"] if attempt["operation"] == operation]


def names(of, operation):
    """What the bank knows a payment's attempts by: our keys begin with the transmission time and the STAN (src/provider/iso8583/key.rs)."""
    return [(attempt["key"][14:20], attempt["key"][4:14], TERMINALS[attempt["channel"]]) for attempt in attempts(of, operation)]


def sockets(name):
    return shop.metric("breakwater_socket_up", channel=name)


wiretap = Wiretap()
hosts = [simulator(RULES), simulator(RULES)]
front_a, front_b, front_silent = (FrontEnd(name, wiretap, hosts) for name in ("a", "b", "silent"))
shop = Installation(
    channel("bank_main", 10, [front_a, front_b])
    + channel("bank_other", 20, [front_a, front_b], 'reversal = "0400"')
    + channel("bank_silent", 30, [front_silent]),
    SETTINGS,
    {"BREAKWATER_CARD_KEY": secrets.token_hex(32)},
)
made = []


def begun(answer, what):
    status, body = answer
    check(status in (201, 202), what, answer)
    made.append(body)
    return body


step("one payment of each kind")
until(lambda: sockets("bank_main") == 4 and sockets("bank_other") == 4, "every socket is up")
check(any(message.mti == "0800" and message.fields["70"] == "001" and message.code == "00" for message in wiretap.heard), "the sign-on is granted")

approved = begun(pay("approved", APPROVED, "bank_main"), "a card is taken")
check((approved["status"], approved["outcome"], approved["channel"]) == ("succeeded", "approved", "bank_main"), "an approved payment succeeds", approved)
declined = begun(pay("declined", DECLINED, "bank_main"), "a payment above the limit is answered")
check((declined["status"], declined["outcome"]) == ("failed", "declined"), "a declined payment fails", declined)
check(declined["failure"]["channel_code"] == "51", "the merchant sees the bank's code", declined["failure"])

# The first acknowledgement of each reversal is lost on its way, so it must be repeated.
wiretap.lose_once = {("0420", f"{DROPPED:012}"), ("0400", f"{DROPPED:012}")}
with concurrent.futures.ThreadPoolExecutor() as pool:
    unanswered = list(pool.map(lambda where: (where, pay(f"unanswered-{where}", DROPPED, where)), ["bank_main", "bank_other"]))
for where, answer in unanswered:
    doubted = begun(answer, f"a payment that {where} does not answer is answered")
    check((answer[0], doubted["status"], doubted["outcome"]) == (202, "processing", "unknown"), "and is called unknown, not failed", doubted)
for (where, (_, doubted)), types in zip(unanswered, (["0420", "0421"], ["0400", "0401"])):
    ended = final(doubted)
    check((ended["status"], ended["outcome"], ended["failure"]["code"]) == ("failed", "declined", "no_answer"), f"at {where} it fails in the end", ended)
    [name] = names(ended, "pay")
    undoing = [message for message in wiretap.money() if message.mti[:2] == "04" and message.undoes() == name]
    check([message.mti for message in undoing] == types, f"by {types[0]}, repeated as {types[1]} until it was acknowledged", undoing)
    check(undoing[-1].code == "00" and undoing[-1].delivered, "and the simulator said 00 to it", vars(undoing[-1]))
check("payment.outcome_unknown" in [event["type"] for event in ended["events"]], "the merchant was told of the doubt", ended["events"])

refund = shop.ask("POST", "/v1/refunds", {"payment_id": approved["id"], "merchant_refund_id": "r-1", "amount": 400}, key="refund-1")
check((refund[0], refund[1]["status"]) == (201, "succeeded"), "a part is refunded", refund)
[name] = names(payment(approved), "refund")
[given_back] = [message for message in wiretap.money() if message.name == name]
check(given_back.fields["3"][:2] == "20" and given_back.fields["4"] == f"{400:012}", "by a 0200 with processing code 20", given_back.fields)
[paid_as] = names(payment(approved), "pay")
check(given_back.undoes() == paid_as, "that names the payment", given_back.fields["90"])

step("another bank falls silent")
until(lambda: sockets("bank_silent") == 2, "its sockets are up")
check(begun(pay("before", APPROVED, "bank_silent"), "it takes a payment")["status"] == "succeeded", "before that it paid")
wiretap.mute.add("silent")


def into_the_silence(place):
    time.sleep(place * 0.15)
    return pay(f"silent-{place}", APPROVED, "bank_silent")


with concurrent.futures.ThreadPoolExecutor() as pool:
    silent = list(pool.map(into_the_silence, range(8)))
unknown = [body for status, body in silent if status == 202 and body["outcome"] == "unknown"]
check(unknown, "a payment that was sent into the silence is unknown", silent)
made += [body for status, body in silent if status in (201, 202)]
harmless = [body for status, body in silent if status == 503 or (status, body["status"], body["outcome"]) == (201, "failed", "not_sent")]
check(len(unknown) + len(harmless) == len(silent), f"{len(unknown)} of {len(silent)} are, the others were not sent; none is called paid or declined", silent)


def ops(path):
    return shop.ask("GET", f"/ops/v1/{path}", token=shop.operator)


def breakers():
    return {row["id"]: row["breaker"]["pay"]["state"] for row in ops("channels")[1]["data"]}


until(lambda: breakers()["bank_silent"] in ("open", "half_open"), "the silent bank's breaker opens")
stories = until(lambda: ops("alerts")[1]["data"], "somebody is told")
check([alert["channel"] for alert in stories] == ["bank_silent"], "it is told of that channel and no other", stories)
check("bank_silent" in stories[0]["story"]["headline"], f"in words that name it: {stories[0]['story']['headline']}")

step(f"{PAYMENTS} payments, {A_SECOND} a second; front end b is killed and comes back")
killed_at = back_at = None


def under_way_at(front_end):
    return [message for message in wiretap.money() if message.front_end == front_end and message.mti == "0200" and message.code is None and message.fields["4"] == f"{LOAD:012}"]


def one_of_the_load(place):
    # Every other one may go to the other account once it is certain that nothing stands at the first.
    began = time.monotonic()
    answer = pay(f"load-{place}", LOAD, "bank_main" if place % 2 else None)
    return began, time.monotonic(), answer


with concurrent.futures.ThreadPoolExecutor(PAYMENTS) as pool:
    start, load = time.monotonic(), []
    for place in range(PAYMENTS):
        time.sleep(max(0, start + place / A_SECOND - time.monotonic()))
        load.append(pool.submit(one_of_the_load, place))
        if killed_at is None and place >= PAYMENTS // 3 and len(under_way_at("b")) >= 2:
            front_b.process.stop(signal.SIGKILL)
            killed_at = time.monotonic()
        if back_at is None and place == PAYMENTS * 2 // 3:
            check(killed_at is not None, "a front end was killed while payments were under way on it")
            check(sockets("bank_main") == 2 and sockets("bank_other") == 2, "its sockets are gone and the other front end's stay")
            front_b.start()
            back_at = time.monotonic()
    load = [one.result() for one in load]
until(lambda: sockets("bank_main") == 4 and sockets("bank_other") == 4, "every socket is up again")
last = len(wiretap.heard)
after = [pay(f"after-{place}", APPROVED, "bank_main") for place in range(8)]
check(all(status == 201 and body["status"] == "succeeded" for status, body in after), "payments go on after it came back", after)
check({message.front_end for message in wiretap.heard[last:] if message.mti == "0200"} == {"a", "b"}, "over both front ends")

refused = [answer for _, _, answer in load if answer[0] not in (201, 202)]
check(not refused, f"all {PAYMENTS} were taken", refused[:3])
made += [answer[1] for _, _, answer in load]
meanwhile = [answer[1] for began, ended, answer in load if began > killed_at and ended < back_at]
check(len(meanwhile) >= A_SECOND, f"{len(meanwhile)} payments began and ended while the front end was dead", len(meanwhile))
check(all(body["status"] == "succeeded" for body in meanwhile), "and all of them succeeded", [body for body in meanwhile if body["status"] != "succeeded"][:1])

step("the silent bank is back")
wiretap.mute.clear()
# Its people restart it, as people do; what it never answered is undone now.
front_silent.process.stop(signal.SIGKILL)
front_silent.start()
until(lambda: sockets("bank_silent") == 2, "its sockets are up again")
ended = [final(one) for one in unknown]
check(all((one["status"], one["failure"]["code"]) == ("failed", "no_answer") for one in ended), "what was unknown there fails, once it is undone", ended)
step("it is undone")
until(lambda: breakers()["bank_silent"] != "open" and pay(f"again-{time.monotonic()}", APPROVED, "bank_silent")[1].get("status") == "succeeded", "it takes payments again")

step("every message against what merchants were told")


def all_payments():
    page, cursor = [], ""
    while cursor is not None:
        answer = shop.ask("GET", f"/v1/payments?limit=100{cursor}")[1]
        page += answer["data"]
        cursor = f"&cursor={answer['next_cursor']}" if answer["has_more"] else None
    return page


payments = [final(one) for one in all_payments()]
check({one["id"] for one in made} <= {one["id"] for one in payments}, f"all {len(payments)} payments that were acknowledged are there, and final")
check(not wiretap.faults, "every message could be read by pyiso8583, and every answer was asked for", wiretap.faults[:3])
money = wiretap.money()
sent, undone = {}, {}
for message in money:
    if message.mti == "0200":
        sent.setdefault(message.name, []).append(message)
    else:
        undone.setdefault(message.undoes(), []).append(message)
check(all(len(messages) == 1 for messages in sent.values()), f"none of {len(sent)} 0200 was sent twice", [name for name, messages in sent.items() if len(messages) > 1])
ours = {name for one in payments for operation in ("pay", "refund") for name in names(one, operation)}
check(set(sent) <= ours, "each belongs to an attempt of ours", set(sent) - ours)
# Some had reached the front end that was killed, and no further: whether the bank has one cannot be known, so it is undone all the same.
never_arrived = set(undone) - set(sent)
check(set(undone) <= ours, f"so does what was undone, {len(never_arrived)} of which never reached the simulator", set(undone) - ours)
under_way = {name for one in payments if one["amount"] == LOAD for name in names(one, "pay") if name[2] == TERMINALS["bank_main"]}
check(never_arrived <= under_way, "and was sent while the front end died", never_arrived - under_way)


def stands(name):
    """Whether the simulator took the money, or may have, and has not said that it is undone."""
    acknowledged = any(message.code in ("00", "25") for message in undone.get(name, []))
    return name in sent and sent[name][0].code in ("00", None) and not acknowledged


charged = {one["id"]: [sent[name][0] for name in names(one, "pay") if stands(name)] for one in payments}
told = {status: [one for one in payments if one["status"] == status] for status in ("succeeded", "failed")}
wrong = [one for one in told["succeeded"] if [message.code for message in charged[one["id"]]] != ["00"]]
check(not wrong, f"each of {len(told['succeeded'])} payments that succeeded is charged once", wrong[:1])
wrong = [one for one in told["succeeded"] if int(charged[one["id"]][0].fields["4"]) != one["amount"]]
check(not wrong, "and for its amount", wrong[:1])
wrong = [one for one in told["failed"] if charged[one["id"]]]
check(not wrong, f"none of {len(told['failed'])} payments that failed is charged", wrong[:1])

lost = [message for message in money if message.front_end == "b" and message.mti == "0200" and message.code == "00" and message.delivered is False]
check(lost or never_arrived, f"the front end took {len(lost)} approvals and {len(never_arrived)} requests with it")
check(all(not stands(message.name) for message in lost), "each was undone")
doubtful = {message.name for message in lost} | never_arrived
through = {message.front_end for name in doubtful for message in undone[name] if message.code in ("00", "25")}
check("a" in through, "over the other front end", through)
by_name = {name: one for one in payments for name in names(one, "pay")}
paid_elsewhere = [by_name[message.name] for message in lost if by_name[message.name]["status"] == "succeeded"]
# Which of them were: as many as still waited for their answer when the money was back, which nobody here can choose.
unpaid = [by_name[message.name] for message in lost if by_name[message.name]["status"] != "succeeded"]
check(all(one["status"] == "failed" for one in unpaid), f"{len(unpaid)} of them failed, {len(paid_elsewhere)} were paid at another account", unpaid)
check(all(len(attempts(one, "pay")) == 2 and one["channel"] != attempts(one, "pay")[0]["channel"] for one in paid_elsewhere), "by a second attempt", paid_elsewhere)
alive = [one for one in payments if one["amount"] == LOAD and any(message.front_end == "a" for message in sent.get(names(one, "pay")[0], []))]
check(all(one["status"] == "succeeded" and len(one["attempts"]) == 1 for one in alive), f"all {len(alive)} that the living front end carried were paid at once")
status, books = ops("integrity")
check(status == 200, "and our own books hold", books)
