-- A look at an attempt may fail by a fault of ours: a row that this version cannot read, a change that the database refuses, a panic. Such a
-- row would come back in every batch for ever. Faults in a row are counted on the attempt, and after the fifth it is set aside: the poller leaves
-- it, an alert tells of it, /ops/v1/unknowns lists it, and asking after it again there takes it back. A channel's silence is no fault of ours
-- and is not counted. Neither column is in an index: a look of the poller stays an update in place.
ALTER TABLE attempt ADD COLUMN failures integer NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN set_aside_at timestamptz;
