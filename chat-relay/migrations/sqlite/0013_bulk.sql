-- Two connections of one member: see docs/protocol.md §5.

-- The second one, how far it is, and the number of the member's last request for it.
ALTER TABLE members ADD COLUMN bulk_connection_id INTEGER REFERENCES connections ON DELETE SET NULL;
ALTER TABLE members ADD COLUMN bulk_stage INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN bulk_number INTEGER NOT NULL DEFAULT 0;
CREATE INDEX members_by_bulk_connection ON members (bulk_connection_id) WHERE bulk_connection_id IS NOT NULL;
-- Those who are given copies ahead: both connections are in use.
CREATE INDEX members_ahead ON members (group_id, member_number) WHERE bulk_stage = 3;

-- Statements that came ahead, were applied, and have yet to come in their turn.
CREATE TABLE ahead (
    message_number INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE,
    author         INTEGER NOT NULL REFERENCES members ON DELETE CASCADE
) STRICT;

CREATE INDEX ahead_by_author ON ahead (author, message_number);

-- Statements of which copies are being handed out ahead, and the last member that was given one.
CREATE TABLE ahead_rounds (
    round_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    message_number INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
    cursor         INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX ahead_rounds_by_group ON ahead_rounds (group_id, round_id);
CREATE INDEX ahead_rounds_by_message ON ahead_rounds (message_number);
