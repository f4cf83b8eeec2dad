-- In which order what is said goes out, and is shown.

-- What waits for a relay is found without looking at what is on its way.
ALTER TABLE outbox ADD COLUMN waits INTEGER NOT NULL DEFAULT 1 CHECK (waits IN (0, 1));
UPDATE outbox SET waits = 0
    WHERE durable = 1 OR EXISTS (SELECT 1 FROM deliveries d WHERE d.outbox_id = outbox.outbox_id);
CREATE INDEX outbox_waiting ON outbox (group_id, outbox_id) WHERE waits = 1;

-- Of what came after something that its author made later: the message before which it stands, and the author's number,
-- by which those stand that stand there together. All else stands where it came.
ALTER TABLE messages ADD COLUMN stands_before INTEGER;
ALTER TABLE messages ADD COLUMN late_number INTEGER NOT NULL DEFAULT 9223372036854775807;
UPDATE messages SET stands_before = placed.first, late_number = placed.number FROM (
    SELECT m.message_id, l.number, min(m.message_id) OVER (PARTITION BY l.chain_id ORDER BY l.number DESC) AS first
    FROM messages m JOIN chain_links l ON l.shared_id = m.shared_id
    JOIN author_chains c ON c.chain_id = l.chain_id AND c.group_id = m.group_id AND c.author = m.author
    WHERE m.recalled = 0) AS placed
    WHERE placed.message_id = messages.message_id AND placed.first < messages.message_id;
CREATE INDEX messages_in_order ON messages (group_id, coalesce(stands_before, message_id), late_number)
    WHERE recalled = 0;
