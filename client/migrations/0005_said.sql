-- In which order everything was said here, and when: an owner gives it to relays as history.

ALTER TABLE copies ADD COLUMN came INTEGER;
ALTER TABLE copies ADD COLUMN sent_at_ms INTEGER;
UPDATE copies SET (came, sent_at_ms) =
    (SELECT m.message_id, m.sent_at_ms FROM messages m
     WHERE m.group_id = copies.group_id AND m.shared_id = copies.shared_id);
CREATE INDEX copies_by_coming ON copies (group_id, came) WHERE came IS NOT NULL;
