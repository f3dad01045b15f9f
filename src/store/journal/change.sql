-- Changes of payments that exist, one row of $1.. a payment; $25.. are the rows of attempts, refunds and events that go with them. A change
-- is written whole or not at all, and only onto the version that it started from. Never two changes of one payment in a batch.
--
-- The payments are locked first, in the order of their ids, or two processes deadlock and half a change is written. Membership is tested
-- by hashed subplans, lookups are scalar subqueries, joins are index loops: see intent.sql.
WITH i AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[], $5::text[], $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[],
                       $11::bool[], $12::timestamptz[], $13::timestamptz[], $14::int2[], $15::int4[],
                       $16::uuid[], $17::bytea[], $18::text[], $19::int2[],
                       $20::uuid[], $21::uuid[], $22::int2[], $23::int2[], $24::uuid[])
    AS i(id, expected, sequence, status, outcome, capture_reserved, captured, refund_reserved, refunded, disputed,
         cancel_requested, capture_before, updated_at, fence_n, fence,
         key_digest, fingerprint, subject, subject_n,
         guard_digest, guard_refund, guard_n, bucket, merchant_id)
),
l AS MATERIALIZED (
  SELECT i.* FROM i JOIN payment p ON p.id = i.id WHERE p.sequence = i.expected ORDER BY p.id FOR UPDATE OF p
),
w AS MATERIALIZED (
  SELECT * FROM l
  WHERE (fence_n IS NULL OR (SELECT a.fence FROM attempt a WHERE a.payment_id = l.id AND a.n = l.fence_n) = fence)
    AND (SELECT k.payment_id FROM idempotency k WHERE k.digest = l.key_digest) IS NULL
    AND (SELECT g.payment_id FROM refund_guard g WHERE g.digest = l.guard_digest) IS NULL
),
k AS (
  INSERT INTO idempotency (digest, fingerprint, subject, payment_id, n, created_at)
  SELECT key_digest, fingerprint, subject, id, subject_n, updated_at FROM w WHERE key_digest IS NOT NULL
),
g AS (
  INSERT INTO refund_guard (digest, refund_id, payment_id, n) SELECT guard_digest, guard_refund, id, guard_n FROM w WHERE guard_digest IS NOT NULL
),
p AS (
  UPDATE payment SET status = w.status, outcome = w.outcome, capture_reserved = w.capture_reserved, captured = w.captured,
                     refund_reserved = w.refund_reserved, refunded = w.refunded, disputed = w.disputed, cancel_requested = w.cancel_requested,
                     capture_before = w.capture_before, sequence = w.sequence, updated_at = w.updated_at
  FROM w WHERE payment.id = w.id
),
au AS (
  UPDATE attempt SET set_aside_at = NULL, failures = 0, state = u.state, reference = u.reference, failure = u.failure, next_action = u.next_action, due_at = u.due_at,
                     tries = u.tries, not_found_since = u.not_found_since, lease_owner = u.lease_owner, lease_until = u.lease_until,
                     updated_at = u.updated_at, passed_over = u.passed_over
  FROM unnest($25::uuid[], $26::int2[], $27::text[], $28::text[], $29::text[], $30::text[], $31::timestamptz[], $32::int4[],
              $33::timestamptz[], $34::uuid[], $35::timestamptz[], $36::timestamptz[], $37::text[])
    AS u(payment_id, n, state, reference, failure, next_action, due_at, tries, not_found_since, lease_owner, lease_until, updated_at, passed_over)
  WHERE attempt.payment_id = u.payment_id AND attempt.n = u.n AND (u.payment_id IN (SELECT id FROM w)) IS TRUE
  RETURNING 1
),
-- A next attempt is inserted after the earlier one has left its live state, or the live index refuses it: counting forces the order.
ai AS (
  INSERT INTO attempt (payment_id, n, bucket, operation, channel, key, state, amount, refund_n, due_at, tries, lease_owner, lease_until, fence,
                       reason, created_at, updated_at, undoes, reference, passed_over)
  SELECT x.payment_id, x.n, x.bucket, x.operation, x.channel, x.key, x.state, x.amount, x.refund_n, x.due_at, 0, x.lease_owner, x.lease_until, 0,
         x.reason, x.created_at, x.created_at, x.undoes, x.reference, x.passed_over
  FROM unnest($38::uuid[], $39::int2[], $40::int2[], $41::text[], $42::text[], $43::text[], $44::text[], $45::int8[], $46::int2[],
              $47::timestamptz[], $48::uuid[], $49::timestamptz[], $50::text[], $51::timestamptz[], $52::int2[], $53::text[], $54::text[])
    AS x(payment_id, n, bucket, operation, channel, key, state, amount, refund_n, due_at, lease_owner, lease_until, reason, created_at, undoes,
         reference, passed_over)
  WHERE (x.payment_id IN (SELECT id FROM w)) IS TRUE AND (SELECT count(*) FROM au) >= 0
),
ru AS (
  UPDATE refund SET status = u.status, outcome = u.outcome, updated_at = u.updated_at
  FROM unnest($55::uuid[], $56::int2[], $57::text[], $58::text[], $59::timestamptz[]) AS u(payment_id, n, status, outcome, updated_at)
  WHERE refund.payment_id = u.payment_id AND refund.n = u.n AND (u.payment_id IN (SELECT id FROM w)) IS TRUE
),
ri AS (
  INSERT INTO refund (payment_id, n, bucket, id, merchant_id, merchant_refund_id, amount, reason, metadata, source, status, outcome, created_at,
                      updated_at)
  SELECT x.payment_id, x.n, x.bucket, x.id, x.merchant_id, x.merchant_refund_id, x.amount, x.reason, x.metadata, x.source, x.status, x.outcome,
         x.created_at, x.created_at
  FROM unnest($60::uuid[], $61::int2[], $62::int2[], $63::uuid[], $64::uuid[], $65::text[], $66::int8[], $67::text[], $68::text[], $69::text[],
              $70::text[], $71::text[], $72::timestamptz[])
    AS x(payment_id, n, bucket, id, merchant_id, merchant_refund_id, amount, reason, metadata, source, status, outcome, created_at)
  WHERE (x.payment_id IN (SELECT id FROM w)) IS TRUE
),
e AS (
  INSERT INTO event (payment_id, sequence, bucket, id, merchant_id, kind, body, created_at)
  SELECT x.payment_id, x.sequence, x.bucket, x.id, x.merchant_id, x.kind, x.body, x.created_at
  FROM unnest($73::uuid[], $74::int4[], $75::int2[], $76::uuid[], $77::uuid[], $78::text[], $79::text[], $80::timestamptz[])
    AS x(payment_id, sequence, bucket, id, merchant_id, kind, body, created_at)
  WHERE (x.payment_id IN (SELECT id FROM w)) IS TRUE
)
SELECT i.id,
       CASE WHEN (i.id IN (SELECT id FROM w)) IS TRUE THEN 'applied'
            WHEN (i.id IN (SELECT id FROM l)) IS NOT TRUE THEN 'stale'
            WHEN (SELECT k.payment_id FROM idempotency k WHERE k.digest = i.key_digest) IS NOT NULL THEN 'key_taken'
            WHEN (SELECT g.payment_id FROM refund_guard g WHERE g.digest = i.guard_digest) IS NOT NULL THEN 'refund_taken'
            ELSE 'fenced' END AS verdict
FROM i
