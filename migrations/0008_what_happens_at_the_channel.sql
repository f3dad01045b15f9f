-- What happens at a channel without us (a refund made on its own pages, a dispute) names the payment by the channel's own name, and by nothing of
-- ours. So what was paid is found by that name. The index is partial: an attempt enters it once, with the row version that says that it was paid,
-- and a hash of the name is enough.
CREATE INDEX attempt_paid_under ON attempt USING hash (reference) WHERE operation = 'pay' AND state = 'succeeded';
