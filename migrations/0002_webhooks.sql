-- Webhooks to merchants: who wants to hear what, what is still to be told, and how far the outbox has been read.
--
-- * The outbox is `event` itself; nothing is written into a payment's transaction for the sake of a webhook, and nobody is notified from it. A
--   reader takes what lies behind the horizon of open transactions (tx < pg_snapshot_xmin) and notes its place in webhook_cursor. What it reads
--   it turns into rows of webhook_delivery, one an endpoint that wants it: the queue and, when they are done, the log.
-- * webhook_delivery is partitioned as event is, on the payment's id, so that a month is dropped as a whole. Its key holds the three things that
--   make a delivery one: payment, number of the event, endpoint. Queueing the same again therefore changes a row and never doubles one.
-- * A breaker an endpoint is two columns (failures in a row, shut until when): every process sees the same, and a restart forgets nothing.
-- * A signing secret must be read to sign with it, so it cannot be a digest; it is sealed (AES-256-GCM) under a key that the settings may give.
--   Without that setting the key comes from the installation's own secret, in this same database: a copy of the database then holds both.

CREATE TABLE webhook_endpoint (
  id                uuid PRIMARY KEY,
  merchant_id       uuid NOT NULL REFERENCES merchant (id),
  url               text NOT NULL CONSTRAINT webhook_endpoint_url CHECK (length(url) BETWEEN 8 AND 2048),
  description       text,
  types             text[] NOT NULL,
  enabled           boolean NOT NULL,
  disabled_reason   text CONSTRAINT webhook_endpoint_disabled_reason CHECK (disabled_reason IN ('merchant', 'gone')),
  secret            bytea NOT NULL,
  previous_secret   bytea,
  previous_until    timestamptz,
  failures          integer NOT NULL DEFAULT 0,
  shut_until        timestamptz,
  created_at        timestamptz NOT NULL,
  updated_at        timestamptz NOT NULL,
  deleted_at        timestamptz,
  CONSTRAINT webhook_endpoint_reason_when_disabled CHECK (enabled = (disabled_reason IS NULL)),
  CONSTRAINT webhook_endpoint_previous CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);

CREATE INDEX webhook_endpoint_of_merchant ON webhook_endpoint (merchant_id, id DESC) WHERE deleted_at IS NULL;

-- `body` is kept only from the first failure on, so that a repetition is the same to the byte; what arrives at once is never stored twice.
CREATE TABLE webhook_delivery (
  payment_id    uuid NOT NULL,
  sequence      integer NOT NULL,
  endpoint_id   uuid NOT NULL,
  event_id      uuid NOT NULL,
  merchant_id   uuid NOT NULL,
  kind          text NOT NULL,
  state         text NOT NULL CONSTRAINT webhook_delivery_state CHECK (state IN ('pending', 'delivered', 'failed')),
  attempts      integer NOT NULL DEFAULT 0,
  due_at        timestamptz NOT NULL,
  lease_until   timestamptz,
  fence         integer NOT NULL DEFAULT 0,
  body          text,
  last_status   smallint,
  last_error    text,
  last_tried_at timestamptz,
  delivered_at  timestamptz,
  queued_at     timestamptz NOT NULL,
  created_at    timestamptz NOT NULL,
  CONSTRAINT webhook_delivery_pkey PRIMARY KEY (payment_id, sequence, endpoint_id)
) PARTITION BY RANGE (payment_id);

-- The queue of an endpoint, in the order in which it is due.
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, due_at, payment_id, sequence) WHERE state = 'pending';
-- What is on its way to an endpoint now: few rows, whatever the queue.
CREATE INDEX webhook_delivery_leased ON webhook_delivery (endpoint_id) WHERE lease_until IS NOT NULL;
-- The log of an endpoint, newest first.
CREATE INDEX webhook_delivery_log ON webhook_delivery (endpoint_id, event_id DESC);

-- The months that event has already; from now on both are made together.
DO $$
DECLARE
  month record;
BEGIN
  FOR month IN SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'event'::regclass
  LOOP
    EXECUTE format('CREATE TABLE %I PARTITION OF webhook_delivery %s WITH (fillfactor = 80)', 'webhook_delivery_' || substr(month.name, 7), month.bound);
  END LOOP;
END $$;

-- What the reader of the outbox looks through. Rows of one commit share their tx, so the index stays small; what happens to an attempt is
-- nobody's webhook and not in it.
CREATE INDEX event_outbox ON event (tx) WHERE kind NOT LIKE 'attempt.%';
-- A merchant's events, newest first.
CREATE INDEX event_of_merchant ON event (merchant_id, id DESC) WHERE kind NOT LIKE 'attempt.%';

-- How far the outbox has been read: everything up to this place. Begins here and now: nobody had an endpoint before.
CREATE TABLE webhook_cursor (
  only_one    boolean PRIMARY KEY DEFAULT true CONSTRAINT webhook_cursor_only_one CHECK (only_one),
  tx          xid8 NOT NULL,
  payment_id  uuid NOT NULL,
  sequence    integer NOT NULL
);

INSERT INTO webhook_cursor (tx, payment_id, sequence)
VALUES (pg_snapshot_xmin(pg_current_snapshot()), '00000000-0000-0000-0000-000000000000', 0);
