-- Alerts, and what was sent about them.
--
-- Why it looks like this:
--
-- * An alert is a condition that somebody must know of, from when it was first seen to when it was last seen: one open alert for each kind and
--   channel, however many processes see it. Each process that sees it moves seen_at; when nobody has for a while, it has ended.
-- * What is to be sent is written down (alert_delivery) in the same transaction as the decision to send it, and sent from there: a process that
--   dies in between leaves the mail to the next one.
-- * One process decides (alert_duty: a lease, of one row), so that ten processes send one mail. A delivery has a lease of its own, so that the
--   next one on duty does not send what the last one is still sending.
-- * Texts are kept as they were sent: an operator who asks what was said at night gets the words.

CREATE TABLE alert (
  id               uuid PRIMARY KEY,
  kind             text NOT NULL,
  -- Empty when it is about no channel in particular.
  channel          text NOT NULL,
  severity         text NOT NULL CONSTRAINT alert_severity CHECK (severity IN ('page', 'ticket')),
  -- JSON: headline, impact, cause, done, next.
  story            text NOT NULL,
  raised_at        timestamptz NOT NULL,
  seen_at          timestamptz NOT NULL,
  ended_at         timestamptz,
  acknowledged_at  timestamptz,
  acknowledged_by  text,
  -- The last mail that told of it, how many did, and the Message-ID of the first: the thread.
  mailed_at        timestamptz,
  mails            integer NOT NULL DEFAULT 0,
  thread           text,
  texted_at        timestamptz,
  -- When it was told that it has ended, or decided that nobody need be.
  closed_at        timestamptz,
  CONSTRAINT alert_times CHECK (raised_at <= seen_at),
  CONSTRAINT alert_closed_is_ended CHECK (closed_at IS NULL OR ended_at IS NOT NULL)
);

CREATE UNIQUE INDEX alert_open_unique ON alert (kind, channel) WHERE ended_at IS NULL;
CREATE INDEX alert_unfinished ON alert (raised_at) WHERE closed_at IS NULL;
CREATE INDEX alert_group ON alert (kind, channel, mailed_at);
CREATE INDEX alert_newest ON alert (raised_at DESC);

CREATE TABLE alert_delivery (
  id           uuid PRIMARY KEY,
  -- The alerts that it tells of: one, or those of a digest.
  alerts       uuid[] NOT NULL,
  transport    text NOT NULL CONSTRAINT alert_delivery_transport CHECK (transport IN ('email', 'sms')),
  purpose      text NOT NULL CONSTRAINT alert_delivery_purpose CHECK (purpose IN ('firing', 'repeat', 'resolved', 'digest', 'escalation')),
  recipient    text NOT NULL,
  subject      text NOT NULL,
  body         text NOT NULL,
  message_id   text NOT NULL,
  -- The Message-ID that it answers.
  in_reply_to  text,
  created_at   timestamptz NOT NULL,
  due_at       timestamptz NOT NULL,
  lease_until  timestamptz,
  tries        integer NOT NULL DEFAULT 0,
  state        text NOT NULL CONSTRAINT alert_delivery_state CHECK (state IN ('queued', 'sent', 'failed')),
  sent_at      timestamptz,
  -- What the other side said last.
  result       text
);

CREATE INDEX alert_delivery_due ON alert_delivery (due_at) WHERE state = 'queued';
CREATE INDEX alert_delivery_newest ON alert_delivery (created_at);
CREATE INDEX alert_delivery_alerts ON alert_delivery USING gin (alerts);

CREATE TABLE alert_duty (
  one          boolean PRIMARY KEY DEFAULT true CONSTRAINT alert_duty_is_one CHECK (one),
  holder       uuid NOT NULL,
  lease_until  timestamptz NOT NULL
);
