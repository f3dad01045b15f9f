// The quickstart of a shop, by the client that openapi-typescript and openapi-fetch make of openapi.json: .ci/openapi compiles it strictly and
// runs it against the demo. What does not fit the document does not compile; what the server does otherwise ends it with an exception.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

function expect(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

const client = createClient<paths>({
  baseUrl: setting("BREAKWATER_URL"),
  headers: { Authorization: `Bearer ${setting("BREAKWATER_KEY")}` },
});
const run = `ts-${process.pid}-${Date.now()}`;

const order: components["schemas"]["CreatePayment"] = {
  amount: 1250,
  currency: "CNY",
  merchant_order_id: run,
  payment_method: { type: "card_token", token: "pm_card_visa" },
};
const key = { "Idempotency-Key": `pay-${run}` };
const created = await client.POST("/v1/payments", { params: { header: key }, body: order });
if (created.error) throw new Error(`not created: ${created.error.code}: ${created.error.detail}`);
const payment = created.data;
expect(payment.status === "succeeded" && payment.amount_captured === 1250, `the payment is ${payment.status}`);

const again = await client.POST("/v1/payments", { params: { header: key }, body: order });
expect(again.data?.id === payment.id, "the same key made another payment");
expect(again.response.headers.get("Idempotent-Replayed") === "true", "the repeat is not marked as one");

const read = await client.GET("/v1/payments/{id}", { params: { path: { id: payment.id }, query: { include: "attempts,events" } } });
expect(read.data?.attempts?.[0]?.state === "succeeded", "the attempt is not shown");

const refunded = await client.POST("/v1/refunds", {
  params: { header: { "Idempotency-Key": `refund-${run}` } },
  body: { payment_id: payment.id, merchant_refund_id: run, amount: 250 },
});
if (refunded.error) throw new Error(`not refunded: ${refunded.error.code}: ${refunded.error.detail}`);
expect(refunded.data.status === "succeeded" && refunded.data.amount === 250, `the refund is ${refunded.data.status}`);

const tooMuch = await client.POST("/v1/refunds", {
  params: { header: { "Idempotency-Key": `more-${run}` } },
  body: { payment_id: payment.id, merchant_refund_id: `more-${run}`, amount: 1001 },
});
expect(tooMuch.error?.code === "refund_exceeds_captured", "more than was captured was given back");

const events = await client.GET("/v1/events", { params: { query: { payment_id: payment.id, limit: 10 } } });
const types = (events.data?.data ?? []).map((event) => event.type);
expect(types.includes("payment.succeeded") && types.includes("refund.succeeded"), `the events are ${types.join(", ")}`);
