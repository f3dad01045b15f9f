-- Takes what is due and free: of each channel the longest due first, of all channels equally many as long as each has some.
--
-- However many rows of one channel are due, only as many are read as may be taken: the channels that have any are found by steps through the index
-- (channel, due_at), and each one's part is the beginning of its range there. Rows that another sweeper holds are passed over; those that are locked
-- here and not taken are free again when the statement ends. The rows that are taken are joined as arrays, of which the planner expects a handful:
-- from the limit of a prepared statement it expects thousands, and would read the table.
WITH RECURSIVE present(channel) AS (
  (SELECT channel FROM attempt WHERE due_at IS NOT NULL ORDER BY channel LIMIT 1)
  UNION ALL
  SELECT (SELECT a.channel FROM attempt a WHERE a.due_at IS NOT NULL AND a.channel > p.channel ORDER BY a.channel LIMIT 1)
  FROM present p WHERE p.channel IS NOT NULL
), found AS MATERIALIZED (
  SELECT due.payment_id, due.n, due.due_at, row_number() OVER (PARTITION BY p.channel ORDER BY due.due_at, due.payment_id, due.n) AS place
  FROM present p LEFT JOIN unnest($5::text[], $6::int8[]) AS room(channel, places) ON room.channel = p.channel
  CROSS JOIN LATERAL (
    SELECT payment_id, n, due_at FROM attempt
    WHERE channel = p.channel AND due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3) AND set_aside_at IS NULL
      AND CASE WHEN operation = 'refund' AND state = 'not_sent' THEN $7::bool WHEN operation = 'refund' THEN $7::bool OR $8::bool ELSE $8::bool END
    ORDER BY due_at, payment_id, n LIMIT least($4::int8, coalesce(room.places, $4::int8)) FOR UPDATE SKIP LOCKED
  ) AS due
), taken AS MATERIALIZED (
  SELECT payment_id, n FROM found ORDER BY place, due_at, payment_id, n LIMIT $4::int8
)
UPDATE attempt SET lease_owner = $1, lease_until = $2, fence = fence + 1, asked_at = $3
FROM unnest(ARRAY(SELECT payment_id FROM taken), ARRAY(SELECT n FROM taken)) AS mine(payment_id, n)
WHERE attempt.payment_id = mine.payment_id AND attempt.n = mine.n
RETURNING attempt.payment_id, attempt.n, attempt.fence, attempt.channel, attempt.operation, attempt.due_at, attempt.key, attempt.created_at
