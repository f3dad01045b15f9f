-- With what a provider tells and cannot be booked yet there is patience: for a quarter of an hour with what does not fit yet, for an hour with a channel
-- that does not say how much it gave back. It was counted from the message's arrival. One that a person had put back into the inbox, or that had lain
-- there while no process ran, had none left: it had one try, and was quarantined for good. And the time in which a channel's guard let nobody ask was
-- counted as the channel's silence. So each message has the patience with it on its own row from now on: since when it does not fit, and how often its
-- channel was asked in vain. Putting it back begins both anew. A nullable column and one with a constant: no row is written, and the lock is short.
ALTER TABLE notification ADD COLUMN not_yet_since timestamptz, ADD COLUMN asked_in_vain integer NOT NULL DEFAULT 0;
