-- Joiners who wait for a moderator.

-- Why a joiner was not let in.
ALTER TABLE members ADD COLUMN reason TEXT;
-- How many wait, kept with every change of one.
ALTER TABLE group_counts ADD COLUMN knocks INTEGER NOT NULL DEFAULT 0;

CREATE INDEX group_counts_with_knocks ON group_counts (knocks) WHERE knocks > 0;
CREATE INDEX members_waiting ON members (group_id, member_number) WHERE status = 'pending_review';
-- Keys that do not come back under another member id.
CREATE INDEX members_rejected ON members (group_id, member_key) WHERE status = 'rejected';

CREATE TRIGGER knock_counted_in AFTER INSERT ON members
    WHEN new.status IN ('asking', 'pending_review', 'approved') BEGIN
    INSERT INTO group_counts (group_id, members, knocks) VALUES (new.group_id, 0, 1)
        ON CONFLICT DO UPDATE SET knocks = knocks + 1;
END;

CREATE TRIGGER knock_counted_out AFTER DELETE ON members
    WHEN old.status IN ('asking', 'pending_review', 'approved') BEGIN
    UPDATE group_counts SET knocks = knocks - 1 WHERE group_id = old.group_id;
END;

CREATE TRIGGER knock_came AFTER UPDATE OF status ON members
    WHEN new.status IN ('asking', 'pending_review', 'approved')
    AND old.status NOT IN ('asking', 'pending_review', 'approved') BEGIN
    INSERT INTO group_counts (group_id, members, knocks) VALUES (new.group_id, 0, 1)
        ON CONFLICT DO UPDATE SET knocks = knocks + 1;
END;

CREATE TRIGGER knock_went AFTER UPDATE OF status ON members
    WHEN old.status IN ('asking', 'pending_review', 'approved')
    AND new.status NOT IN ('asking', 'pending_review', 'approved') BEGIN
    UPDATE group_counts SET knocks = knocks - 1 WHERE group_id = old.group_id;
END;
