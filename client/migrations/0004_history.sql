-- Messages that were said before we came are shown ahead of those that were said to us, in the order in which they were
-- said, whenever they came.

ALTER TABLE messages ADD COLUMN recalled INTEGER NOT NULL DEFAULT 0 CHECK (recalled IN (0, 1));
CREATE INDEX messages_recalled ON messages (group_id, message_id) WHERE recalled = 1;

-- When the reading of a relay's history is looked at again.
ALTER TABLE group_relays ADD COLUMN history_due_ms INTEGER;
