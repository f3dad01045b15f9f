-- Administration: keys that end by themselves, operators' tokens that change without a gap, and a record of who did what.
--
-- Why it looks like this:
--
-- * A key is rotated in two steps that nobody has to remember: the new one works at once, the old one until `expires_at`. A time in the future
--   cannot stand in revoked_at, because "was revoked" must stay a fact about the past that a list can show. The lookup of a key compares
--   expires_at with the time that it is given, so no job has to end anything.
-- * An operator is a person: one row and one name, for the audit. Their token changes in place, and the one before stays beside it until
--   `previous_until`. A name is never given to a second person, revoked or not.
-- * The audit is written by the statement that acts, so there is no act without its row and no row without its act. It is only ever appended
--   to: a trigger refuses the rest, and whoever can drop triggers owns the database anyway. before and after are JSON objects without secrets.

ALTER TABLE api_key ADD COLUMN expires_at timestamptz;

-- A merchant's keys, for lists.
CREATE INDEX api_key_of_merchant ON api_key (merchant_id);

ALTER TABLE operator
  ADD COLUMN hint           text NOT NULL DEFAULT '',
  ADD COLUMN previous_digest bytea CONSTRAINT operator_previous_digest_length CHECK (length(previous_digest) = 32),
  ADD COLUMN previous_until timestamptz,
  ADD CONSTRAINT operator_previous_is_whole CHECK ((previous_digest IS NULL) = (previous_until IS NULL));

CREATE TABLE audit (
  id       bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
  at       timestamptz NOT NULL,
  who      text NOT NULL CONSTRAINT audit_who CHECK (length(who) BETWEEN 1 AND 200),
  act      text NOT NULL CONSTRAINT audit_act CHECK (act ~ '^[a-z_]+\.[a-z_]+$'),
  subject  text NOT NULL,
  why      text,
  before   jsonb,
  after    jsonb
);

-- What happened to one thing, newest first.
CREATE INDEX audit_of_subject ON audit (subject, id DESC);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit is only ever appended to' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
