"""The quickstart of a shop, by the client that openapi-python-client makes of openapi.json: .ci/openapi checks it with mypy --strict and runs it
against the demo."""

import os
import time

from breakwater_client import AuthenticatedClient
from breakwater_client.api.events import list_events
from breakwater_client.api.payments import create_payment, read_payment
from breakwater_client.api.refunds import create_refund
from breakwater_client.models import (
    CardToken,
    CardTokenType,
    CreatePayment,
    CreateRefund,
    Currency,
    EventList,
    EventType,
    Payment,
    PaymentStatus,
    Refund,
)

client = AuthenticatedClient(base_url=os.environ["BREAKWATER_URL"], token=os.environ["BREAKWATER_KEY"], raise_on_unexpected_status=True)
run = f"py-{os.getpid()}-{time.time_ns()}"

order = CreatePayment(
    amount=1250,
    currency=Currency.CNY,
    merchant_order_id=run,
    payment_method=CardToken(type_=CardTokenType.CARD_TOKEN, token="pm_card_visa"),
)
payment = create_payment.sync(client=client, idempotency_key=f"pay-{run}", body=order)
assert isinstance(payment, Payment), payment
assert payment.status is PaymentStatus.SUCCEEDED and payment.amount_captured == 1250, payment

again = create_payment.sync_detailed(client=client, idempotency_key=f"pay-{run}", body=order)
assert isinstance(again.parsed, Payment) and again.parsed.id == payment.id, again
assert again.headers["Idempotent-Replayed"] == "true", again.headers

read = read_payment.sync(payment.id, client=client)
assert isinstance(read, Payment) and read.id == payment.id, read

refund = create_refund.sync(
    client=client, idempotency_key=f"refund-{run}", body=CreateRefund(payment_id=payment.id, merchant_refund_id=run, amount=250)
)
assert isinstance(refund, Refund) and refund.amount == 250, refund

more = CreateRefund(payment_id=payment.id, merchant_refund_id=f"more-{run}", amount=1001)
refused = create_refund.sync_detailed(client=client, idempotency_key=f"more-{run}", body=more)
assert refused.status_code == 422 and not isinstance(refused.parsed, Refund), refused

events = list_events.sync(client=client, payment_id=payment.id, limit=10)
assert isinstance(events, EventList), events
assert {EventType.PAYMENT_SUCCEEDED, EventType.REFUND_SUCCEEDED} <= {event.type_ for event in events.data}, events
