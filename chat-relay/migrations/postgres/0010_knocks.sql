-- Joiners who wait for a moderator.

-- Why a joiner was not let in.
ALTER TABLE members ADD COLUMN reason TEXT;
-- How many wait, kept with every change of one.
ALTER TABLE group_counts ADD COLUMN knocks BIGINT NOT NULL DEFAULT 0;

CREATE INDEX group_counts_with_knocks ON group_counts (knocks) WHERE knocks > 0;
CREATE INDEX members_waiting ON members (group_id, member_number) WHERE status = 'pending_review';
-- Keys that do not come back under another member id.
CREATE INDEX members_rejected ON members (group_id, member_key) WHERE status = 'rejected';

CREATE FUNCTION count_knocks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was_knocking BIGINT := 0;
    is_knocking BIGINT := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        was_knocking := (old.status IN ('asking', 'pending_review', 'approved'))::int;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_knocking := (new.status IN ('asking', 'pending_review', 'approved'))::int;
    END IF;
    IF is_knocking > was_knocking THEN
        INSERT INTO group_counts (group_id, members, knocks) VALUES (new.group_id, 0, 1)
            ON CONFLICT (group_id) DO UPDATE SET knocks = group_counts.knocks + 1;
    ELSIF is_knocking < was_knocking THEN
        UPDATE group_counts SET knocks = knocks - 1 WHERE group_id = old.group_id;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER knock_counted AFTER INSERT OR DELETE ON members
    FOR EACH ROW EXECUTE FUNCTION count_knocks();

CREATE TRIGGER knock_moved AFTER UPDATE OF status ON members
    FOR EACH ROW WHEN (new.status <> old.status) EXECUTE FUNCTION count_knocks();
