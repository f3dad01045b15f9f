-- When a channel was last asked about an attempt, by whomever: the poller on its ladder, or a merchant who reads with sync=true. A merchant may
-- ask as often as they like; the channel is asked again only after a pause, and the pause is the same for all processes. Not indexed: it is
-- looked at only together with the attempt's key, and a look of the poller must stay an update in place.
ALTER TABLE attempt ADD COLUMN asked_at timestamptz;
