-- Takes what is due for delivery, past whatever other processes hold: of each endpoint that is open as much as its window has room for, in the
-- order in which it became due. An endpoint whose last try failed gets one at a time.
--
-- Within a payment the order is kept: an event waits while an earlier one of its payment is due, on its way, or in its first tries. Only one
-- that has failed for half an hour, at an endpoint that takes others, no longer holds back what follows it.
WITH e AS MATERIALIZED (
  SELECT w.id, CASE WHEN w.failures > 0 OR w.shut_until IS NOT NULL THEN 1 ELSE $3::int8 END
             - (SELECT count(*) FROM webhook_delivery l WHERE l.endpoint_id = w.id AND l.lease_until > $1 AND l.state = 'pending') AS room
  FROM webhook_endpoint w
  WHERE w.enabled AND w.deleted_at IS NULL AND (w.shut_until IS NULL OR w.shut_until <= $1)
  ORDER BY random()
),
c AS MATERIALIZED (
  SELECT d.payment_id, d.sequence, d.endpoint_id FROM e CROSS JOIN LATERAL (
    SELECT q.payment_id, q.sequence, q.endpoint_id FROM webhook_delivery q
    WHERE q.endpoint_id = e.id AND q.state = 'pending' AND q.due_at <= $1 AND (q.lease_until IS NULL OR q.lease_until <= $1)
      AND NOT EXISTS (
        SELECT 1 FROM webhook_delivery p
        WHERE p.payment_id = q.payment_id AND p.endpoint_id = q.endpoint_id AND p.sequence < q.sequence AND p.state = 'pending'
          AND (p.attempts < 4 OR p.due_at <= $1 OR p.lease_until > $1))
    ORDER BY q.due_at, q.payment_id, q.sequence LIMIT greatest(e.room, 0) FOR UPDATE SKIP LOCKED
  ) d
  LIMIT $4
)
UPDATE webhook_delivery d SET lease_until = $2, fence = d.fence + 1
FROM c JOIN webhook_endpoint w ON w.id = c.endpoint_id
WHERE d.payment_id = c.payment_id AND d.sequence = c.sequence AND d.endpoint_id = c.endpoint_id
RETURNING d.payment_id, d.sequence, d.endpoint_id, d.event_id, d.fence, d.attempts, d.queued_at, d.body, w.url, w.secret, w.previous_secret,
          w.previous_until, w.merchant_id
