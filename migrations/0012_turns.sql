-- Whose turn it is: neither a notification that nobody can apply nor a channel with much to ask about may keep others waiting.
--
-- * A notification that waits in the inbox is looked at, and one that does not fit yet, or fails by a fault of ours, is looked at again. In the
--   order of their arrival the oldest hundred that fail would stand before all others for ever. So each look is noted, and whoever was not looked
--   at for longest is next, each channel for itself. Faults of ours are counted, as on an attempt; with the fifth it is quarantined.
-- * The inbox's index had what waits and what is quarantined; each now has an index of its own, and a notification enters one of them as before.
-- * What is due was taken by its time alone, over all channels: while thousands of one channel were due, the others' had to wait for them. It is taken
--   for each channel from now on, so the index has the channel first. It is as many entries as before.

ALTER TABLE notification ADD COLUMN looked_at timestamptz;
ALTER TABLE notification ADD COLUMN failures integer NOT NULL DEFAULT 0;
DROP INDEX notification_waiting;
CREATE INDEX notification_waiting ON notification (channel, coalesce(looked_at, received_at)) WHERE state = 'received';
CREATE INDEX notification_quarantined ON notification (received_at) WHERE state = 'quarantined';

DROP INDEX attempt_due;
CREATE INDEX attempt_due ON attempt (channel, due_at) WHERE due_at IS NOT NULL;
