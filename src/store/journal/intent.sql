-- New payments, one row of $1.. a payment: the payment, its first attempt, its guards, its key and its first event, or, of one whose key
-- or order is taken, nothing. Never two rows of one key or one order in a batch.
--
-- There is no join in it (the writer's sessions have none but index loops): what exists already is looked up by scalar subqueries, which
-- are always index probes, and membership is tested by hashed subplans (`(x IN (SELECT …)) IS TRUE`). A guard that another process commits
-- between our snapshot and our insert raises 23505, which undoes the whole batch; run again, it is seen.
WITH i AS MATERIALIZED (
  SELECT i.*,
         (SELECT k.payment_id FROM idempotency k WHERE k.digest = i.key_digest) AS key_payment,
         (SELECT g.payment_id FROM order_guard g WHERE g.digest = i.order_digest) AS order_payment
  FROM unnest($1::uuid[], $2::int2[], $3::uuid[], $4::bool[], $5::text[], $6::int8[], $7::text[], $8::text[], $9::text[], $10::text[],
              $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[], $18::timestamptz[],
              $19::uuid[], $20::bytea[], $21::uuid[], $22::uuid[], $23::int4[],
              $24::text[], $25::text[], $26::timestamptz[], $27::uuid[], $28::text[], $29::text[], $30::uuid[], $31::text[], $32::text[],
              $33::uuid[])
    AS i(id, bucket, merchant_id, livemode, merchant_order_id, amount, currency, method, capture_method, pinned_channel,
         description, metadata, return_url, expires_at, deadline_at, status, outcome, created_at,
         key_digest, fingerprint, order_digest, takes_over, holder_sequence,
         channel, attempt_key, lease_until, lease_owner, reason, passed_over, event_id, event_kind, event_body, holder_event_id)
),
h AS MATERIALIZED (
  SELECT p.id FROM i JOIN payment p ON p.id = i.takes_over WHERE p.sequence = i.holder_sequence ORDER BY p.id FOR UPDATE OF p
),
w AS MATERIALIZED (
  SELECT * FROM i
  WHERE key_payment IS NULL
    AND (order_payment IS NULL OR (order_payment = takes_over AND (takes_over IN (SELECT id FROM h)) IS TRUE))
),
k AS (
  INSERT INTO idempotency (digest, fingerprint, subject, payment_id, n, created_at)
  SELECT key_digest, fingerprint, 'payment', id, NULL, created_at FROM w
),
g AS (
  INSERT INTO order_guard (digest, payment_id, bucket) SELECT order_digest, id, bucket FROM w WHERE takes_over IS NULL
),
taken_over AS (
  UPDATE order_guard SET payment_id = w.id FROM w WHERE order_guard.digest = w.order_digest AND w.takes_over IS NOT NULL
),
superseded AS (
  UPDATE payment SET superseded_by = w.id, sequence = payment.sequence + 1, updated_at = w.created_at FROM w WHERE payment.id = w.takes_over
),
p AS (
  INSERT INTO payment (id, bucket, merchant_id, livemode, merchant_order_id, amount, currency, method, capture_method, pinned_channel,
                       description, metadata, return_url, expires_at, deadline_at, status, outcome, capture_reserved, captured,
                       refund_reserved, refunded, disputed, cancel_requested, sequence, created_at, updated_at)
  SELECT id, bucket, merchant_id, livemode, merchant_order_id, amount, currency, method, capture_method, pinned_channel,
         description, metadata, return_url, expires_at, deadline_at, status, outcome, 0, 0, 0, 0, 0, false, 1, created_at, created_at FROM w
),
a AS (
  INSERT INTO attempt (payment_id, n, bucket, operation, channel, key, state, amount, due_at, tries, lease_owner, lease_until, fence, reason,
                       created_at, updated_at, passed_over)
  SELECT id, 1, bucket, 'pay', channel, attempt_key, 'sent', amount, lease_until, 0, lease_owner, lease_until, 0, reason, created_at, created_at,
         passed_over
  FROM w
),
e AS (
  INSERT INTO event (payment_id, sequence, bucket, id, merchant_id, kind, body, created_at)
  SELECT id, 1, bucket, event_id, merchant_id, event_kind, event_body, created_at FROM w
  UNION ALL
  SELECT takes_over, holder_sequence + 1, bucket, holder_event_id, merchant_id, 'payment.superseded',
         '{"attempt":null}', created_at FROM w WHERE takes_over IS NOT NULL
)
SELECT id, (id IN (SELECT id FROM w)) IS TRUE AS won, key_payment, order_payment FROM i
