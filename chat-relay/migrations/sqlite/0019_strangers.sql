-- People of whom only others have told.

-- Whether a member has not asked to join here itself.
ALTER TABLE members ADD COLUMN stranger INTEGER NOT NULL DEFAULT 0;

UPDATE members SET stranger = 1 WHERE profile IS NULL AND connection_id IS NULL AND role NOT IN ('owner', 'relay');

-- They are counted, up to a bound, before one more is kept.
CREATE INDEX members_strangers ON members (group_id) WHERE stranger = 1;
