-- Operators' acts: overrides of channels, and outcomes that a person establishes.
--
-- Why it looks like this:
--
-- * An override is a row that every process reads twice a second, not a message: a process that starts, or was cut off, finds it all the same.
--   It ends by its own time (expires_at), so that nobody has to remember it; ended_at says that somebody ended it before, or replaced it. Rows
--   are kept: who shut which channel when, and why, is asked for months later.
-- * A one-off has an end within 24 hours, and there is one at a time for a channel and class of operations. What recurs (a bank's daily cut-off)
--   is a window of minutes of the day, on days of the week, in a zone: a time of day has no meaning without one, and where the clocks are
--   changed no fixed distance from UTC would do.
-- * An outcome above the set amount needs two people. The first one's word waits in `resolution` until somebody else says the same, or it lapses.
--   It is no part of the payment: nothing is changed by one word alone.

CREATE TABLE channel_override (
  id            uuid CONSTRAINT channel_override_pkey PRIMARY KEY,
  channel       text NOT NULL,
  class         text NOT NULL CONSTRAINT channel_override_class CHECK (class IN ('pay', 'resolve', 'refund')),
  mode          text NOT NULL CONSTRAINT channel_override_mode CHECK (mode IN ('forced_open', 'forced_closed', 'drain')),
  author        text NOT NULL CONSTRAINT channel_override_author CHECK (length(author) BETWEEN 1 AND 200),
  reason        text NOT NULL CONSTRAINT channel_override_reason CHECK (length(reason) BETWEEN 1 AND 500),
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz,
  -- The window, where it recurs: minutes of the day (an end that is not later than the start is on the next day), days as bits from Monday on.
  zone          text,
  from_minute   smallint CONSTRAINT channel_override_from CHECK (from_minute BETWEEN 0 AND 1439),
  until_minute  smallint CONSTRAINT channel_override_until CHECK (until_minute BETWEEN 0 AND 1439),
  days          smallint CONSTRAINT channel_override_days CHECK (days BETWEEN 1 AND 127),
  ended_at      timestamptz,
  ended_by      text,
  CONSTRAINT channel_override_window_is_whole CHECK (num_nulls(zone, from_minute, until_minute, days) IN (0, 4)),
  CONSTRAINT channel_override_ends CHECK (zone IS NOT NULL OR (expires_at > created_at AND expires_at <= created_at + interval '24 hours'))
);

-- One at a time; and what recurs, once.
CREATE UNIQUE INDEX channel_override_one_off ON channel_override (channel, class) WHERE ended_at IS NULL AND zone IS NULL;
CREATE UNIQUE INDEX channel_override_recurring ON channel_override (channel, class, zone, from_minute, until_minute, days)
  WHERE ended_at IS NULL AND zone IS NOT NULL;

CREATE TABLE resolution (
  payment_id   uuid NOT NULL,
  n            smallint NOT NULL,
  outcome      text NOT NULL CONSTRAINT resolution_outcome CHECK (outcome IN ('approved', 'authorized', 'declined', 'not_found')),
  reference    text,
  note         text NOT NULL,
  evidence     text NOT NULL,
  proposed_by  text NOT NULL,
  proposed_at  timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  decided_by   text,
  decided_at   timestamptz,
  CONSTRAINT resolution_pkey PRIMARY KEY (payment_id, n),
  CONSTRAINT resolution_by_two CHECK (decided_by <> proposed_by)
);

-- What one person did, newest first.
CREATE INDEX audit_of_person ON audit (who, id DESC);

-- What providers told us, newest first, for the operators' list. Times only grow, so that an insert goes to the index's last page.
CREATE INDEX notification_newest ON notification (received_at);
