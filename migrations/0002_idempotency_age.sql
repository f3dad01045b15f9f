-- Old keys are forgotten by their age. Without an index each round reads the whole table, every key of seven days, and at some size does not end
-- within its time: then nothing is forgotten any more. Keys are inserted in the order of their time, so a summary of block ranges will do; it
-- is some kilobytes, and costs an insert nothing that could be measured.
CREATE INDEX idempotency_age ON idempotency USING brin (created_at) WITH (autosummarize = on);
