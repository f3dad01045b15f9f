-- The records of money.
--
-- Why it looks like this:
--
-- * Everything that changes is one payment's, and carries the payment's bucket (0 to 1023, taken from the order's digest and also in the
--   payment id's own bits): a shard is a set of buckets, so moving to more servers changes settings and not this schema. No statement joins
--   across buckets.
-- * payment, attempt, refund and event are partitioned by time, on the range of a UUIDv7; the application makes the months ahead. There is no
--   DEFAULT partition: it would forbid DETACH CONCURRENTLY, and a row that finds no month must fail loudly.
-- * The guards (order_guard, refund_guard, idempotency) are NOT partitioned by time: what is unique must stay so across midnight. They are
--   narrow, keyed by 128 bits of SHA-256.
-- * No foreign keys on the hot tables: they cost a third of the throughput. The statements keep integrity, and /ops/v1/integrity checks it.
-- * Updated tables leave half of each page free, so that an update stays on its page and touches no index (HOT). Nothing on payment that an
--   update changes may be indexed.
-- * Ceilings are CHECKs beside the rule that the application keeps: the last line, not the first.

CREATE TABLE merchant (
  id          uuid PRIMARY KEY,
  name        text NOT NULL CONSTRAINT merchant_name_length CHECK (length(name) BETWEEN 1 AND 100),
  livemode    boolean NOT NULL,
  created_at  timestamptz NOT NULL,
  CONSTRAINT merchant_name_unique UNIQUE (name, livemode)
);

-- A key is 256 random bits; only its SHA-256 is kept. `hint` is its first and last characters, for people.
CREATE TABLE api_key (
  digest       bytea PRIMARY KEY CONSTRAINT api_key_digest_length CHECK (length(digest) = 32),
  merchant_id  uuid NOT NULL REFERENCES merchant (id),
  hint         text NOT NULL,
  created_at   timestamptz NOT NULL,
  revoked_at   timestamptz
);

CREATE TABLE operator (
  digest      bytea PRIMARY KEY CONSTRAINT operator_digest_length CHECK (length(digest) = 32),
  name        text NOT NULL CONSTRAINT operator_name_unique UNIQUE,
  role        text NOT NULL CONSTRAINT operator_role CHECK (role IN ('viewer', 'operator', 'admin')),
  created_at  timestamptz NOT NULL,
  revoked_at  timestamptz
);

CREATE TABLE payment (
  id                uuid NOT NULL,
  bucket            smallint NOT NULL CONSTRAINT payment_bucket CHECK (bucket BETWEEN 0 AND 1023),
  merchant_id       uuid NOT NULL,
  livemode          boolean NOT NULL,
  merchant_order_id text NOT NULL,
  amount            bigint NOT NULL,
  currency          text NOT NULL CONSTRAINT payment_currency CHECK (length(currency) = 3),
  method            text NOT NULL,
  capture_method    text NOT NULL CONSTRAINT payment_capture_method CHECK (capture_method IN ('automatic', 'manual')),
  pinned_channel    text,
  description       text,
  metadata          text NOT NULL,
  return_url        text,
  expires_at        timestamptz NOT NULL,
  deadline_at       timestamptz NOT NULL,
  status            text NOT NULL CONSTRAINT payment_status CHECK (status IN ('processing', 'requires_action', 'requires_capture',
                      'partially_captured', 'succeeded', 'canceled', 'expired', 'failed')),
  outcome           text NOT NULL CONSTRAINT payment_outcome CHECK (outcome IN ('none', 'pending', 'approved', 'declined', 'not_sent', 'unknown')),
  capture_reserved  bigint NOT NULL,
  captured          bigint NOT NULL,
  refund_reserved   bigint NOT NULL,
  refunded          bigint NOT NULL,
  disputed          bigint NOT NULL,
  cancel_requested  boolean NOT NULL,
  superseded_by     uuid,
  capture_before    timestamptz,
  sequence          integer NOT NULL CONSTRAINT payment_sequence CHECK (sequence >= 1),
  created_at        timestamptz NOT NULL,
  updated_at        timestamptz NOT NULL,
  CONSTRAINT payment_pkey PRIMARY KEY (id),
  CONSTRAINT payment_amount CHECK (amount BETWEEN 1 AND 1000000000000),
  CONSTRAINT payment_capture_ceiling CHECK (0 <= captured AND captured <= capture_reserved AND capture_reserved <= amount),
  CONSTRAINT payment_refund_ceiling CHECK (0 <= refunded AND refunded <= refund_reserved AND refund_reserved <= captured),
  CONSTRAINT payment_disputed CHECK (disputed BETWEEN 0 AND captured),
  CONSTRAINT payment_paid_is_captured CHECK (captured > 0 OR status NOT IN ('succeeded', 'partially_captured'))
) PARTITION BY RANGE (id);

-- A merchant's list, newest first. Neither column ever changes, so an update of the row does not touch it.
CREATE INDEX payment_of_merchant ON payment (merchant_id, id DESC);

CREATE TABLE attempt (
  payment_id       uuid NOT NULL,
  n                smallint NOT NULL CONSTRAINT attempt_n CHECK (n >= 1),
  bucket           smallint NOT NULL,
  operation        text NOT NULL CONSTRAINT attempt_operation CHECK (operation IN ('pay', 'capture', 'void', 'reversal', 'refund')),
  channel          text NOT NULL,
  key              text NOT NULL CONSTRAINT attempt_key CHECK (length(key) = 32),
  state            text NOT NULL CONSTRAINT attempt_state CHECK (state IN ('sent', 'unknown', 'accepted', 'action_required', 'authorized',
                     'succeeded', 'declined', 'not_sent', 'closed', 'not_found', 'succeeded_late', 'reversing', 'reversed', 'returned')),
  amount           bigint NOT NULL CONSTRAINT attempt_amount CHECK (amount > 0),
  refund_n         smallint,
  reference        text,
  failure          text,
  next_action      text,
  due_at           timestamptz,
  tries            integer NOT NULL,
  not_found_since  timestamptz,
  lease_owner      uuid,
  lease_until      timestamptz,
  fence            integer NOT NULL,
  reason           text NOT NULL,
  created_at       timestamptz NOT NULL,
  updated_at       timestamptz NOT NULL,
  CONSTRAINT attempt_pkey PRIMARY KEY (payment_id, n),
  CONSTRAINT attempt_refund_has_number CHECK ((operation = 'refund') = (refund_n IS NOT NULL))
) PARTITION BY RANGE (payment_id);

-- One live pay attempt a payment. Late money on its way back (succeeded_late, reversing) may stand beside a newer attempt.
CREATE UNIQUE INDEX attempt_one_live_pay ON attempt (payment_id)
  WHERE operation = 'pay' AND state IN ('sent', 'unknown', 'accepted', 'action_required', 'authorized', 'succeeded');

-- What somebody must look at, in the order in which it is due.
CREATE INDEX attempt_due ON attempt (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE refund (
  payment_id          uuid NOT NULL,
  n                   smallint NOT NULL CONSTRAINT refund_n CHECK (n >= 1),
  bucket              smallint NOT NULL,
  id                  uuid NOT NULL,
  merchant_id         uuid NOT NULL,
  merchant_refund_id  text NOT NULL,
  amount              bigint NOT NULL CONSTRAINT refund_amount CHECK (amount > 0),
  reason              text,
  metadata            text NOT NULL,
  source              text NOT NULL CONSTRAINT refund_source CHECK (source IN ('merchant', 'cancel', 'channel')),
  status              text NOT NULL CONSTRAINT refund_status CHECK (status IN ('processing', 'succeeded', 'failed', 'returned')),
  outcome             text NOT NULL CONSTRAINT refund_outcome CHECK (outcome IN ('none', 'pending', 'approved', 'declined', 'not_sent', 'unknown')),
  created_at          timestamptz NOT NULL,
  updated_at          timestamptz NOT NULL,
  CONSTRAINT refund_pkey PRIMARY KEY (payment_id, n)
) PARTITION BY RANGE (payment_id);

-- A merchant's refunds, newest first.
CREATE INDEX refund_of_merchant ON refund (merchant_id, id DESC);

-- Timeline and outbox in one. `tx` lets a reader stay behind the transactions that are still open.
CREATE TABLE event (
  payment_id   uuid NOT NULL,
  sequence     integer NOT NULL,
  bucket       smallint NOT NULL,
  id           uuid NOT NULL,
  merchant_id  uuid NOT NULL,
  kind         text NOT NULL,
  body         text NOT NULL,
  tx           xid8 NOT NULL DEFAULT pg_current_xact_id(),
  created_at   timestamptz NOT NULL,
  CONSTRAINT event_pkey PRIMARY KEY (payment_id, sequence)
) PARTITION BY RANGE (payment_id);

-- The payment that holds an order. Never pruned: an order whose payment is long gone counts as paid.
CREATE TABLE order_guard (
  digest      uuid CONSTRAINT order_guard_pkey PRIMARY KEY,
  payment_id  uuid NOT NULL,
  bucket      smallint NOT NULL
) WITH (fillfactor = 90);

-- The refund that a merchant's refund id stands for. Never pruned. Its second use finds a refund by its own id.
CREATE TABLE refund_guard (
  digest      uuid CONSTRAINT refund_guard_pkey PRIMARY KEY,
  refund_id   uuid NOT NULL CONSTRAINT refund_guard_refund UNIQUE,
  payment_id  uuid NOT NULL,
  n           smallint NOT NULL
);

-- What a merchant's idempotency key stands for. Pruned after seven days, in small batches, never while its subject is open.
CREATE TABLE idempotency (
  digest       uuid CONSTRAINT idempotency_pkey PRIMARY KEY,
  fingerprint  bytea NOT NULL CONSTRAINT idempotency_fingerprint CHECK (length(fingerprint) = 32),
  subject      text NOT NULL CONSTRAINT idempotency_subject CHECK (subject IN ('payment', 'refund', 'capture', 'cancel')),
  payment_id   uuid NOT NULL,
  n            smallint,
  created_at   timestamptz NOT NULL
);

-- Keys are forgotten by their age, and inserted in the order of their time: a summary of block ranges finds the old ones without reading seven
-- days of keys, and costs an insert next to nothing.
CREATE INDEX idempotency_age ON idempotency USING brin (created_at) WITH (autosummarize = on);

-- What a provider told us, raw, before anything was made of it.
CREATE TABLE notification (
  channel      text NOT NULL,
  event_id     text NOT NULL,
  received_at  timestamptz NOT NULL,
  kind         text NOT NULL,
  body         bytea NOT NULL,
  state        text NOT NULL CONSTRAINT notification_state CHECK (state IN ('received', 'applied', 'ignored', 'quarantined')),
  note         text,
  payment_id   uuid,
  applied_at   timestamptz,
  CONSTRAINT notification_pkey PRIMARY KEY (channel, event_id)
);

CREATE INDEX notification_waiting ON notification (received_at) WHERE state IN ('received', 'quarantined');

-- The server secrets of this installation, made once: what fingerprints are keyed with.
CREATE TABLE installation (
  only_one            boolean PRIMARY KEY DEFAULT true CONSTRAINT installation_only_one CHECK (only_one),
  fingerprint_secret  bytea NOT NULL CONSTRAINT installation_secret_length CHECK (length(fingerprint_secret) = 32)
);
