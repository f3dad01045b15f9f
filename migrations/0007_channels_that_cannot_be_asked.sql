-- What a channel that cannot be asked needs (a bank over ISO 8583).
--
-- Its unanswered payments and refunds are undone, so several reversals may be on their way at once: each says which attempt it undoes.
-- Reversals written before this column undid the only attempt that was being reversed, and are read so.
ALTER TABLE attempt ADD COLUMN undoes smallint;
ALTER TABLE attempt ADD CONSTRAINT attempt_undoes CHECK (undoes IS NULL OR operation = 'reversal');

-- Its attempts are known by numbers of six digits, unique a terminal and day. They are leased in blocks, so that no two processes share one; a
-- block that a process did not use up is lost.
CREATE TABLE channel_number (
  channel  text CONSTRAINT channel_number_pkey PRIMARY KEY,
  next     integer NOT NULL CONSTRAINT channel_number_next CHECK (next BETWEEN 1 AND 1000000)
);

-- Card numbers that a capture, a reversal or a refund at a bank will need: sealed under a named key, bound to their payment, written before its
-- intent, erased when no refund can come any more. Security codes are nowhere.
CREATE TABLE sealed_card (
  payment_id  uuid CONSTRAINT sealed_card_pkey PRIMARY KEY,
  key_name    text NOT NULL,
  sealed      bytea NOT NULL CONSTRAINT sealed_card_is_sealed CHECK (length(sealed) >= 40),
  created_at  timestamptz NOT NULL,
  erase_at    timestamptz NOT NULL
);

CREATE INDEX sealed_card_erase ON sealed_card (erase_at);
