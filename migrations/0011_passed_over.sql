-- Why an attempt went to its channel was kept; why it did not go to another was only counted. Whoever asks why a payment did not go where it was
-- expected finds it with the attempt from now on: the channels that were passed over, as a small JSON list of at most sixteen, written in the
-- attempt's own commit. NULL: none was, or the attempt is older. Never a channel that belongs to other merchants.
ALTER TABLE attempt ADD COLUMN passed_over text;
ALTER TABLE attempt ADD CONSTRAINT attempt_passed_over CHECK (length(passed_over) <= 4096);
