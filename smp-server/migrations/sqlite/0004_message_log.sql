-- Messages live in a log beside this file: see src/store/log.

-- The log that belongs to this database: one row, once there is one.
CREATE TABLE message_log (
    id BLOB NOT NULL CHECK (length(id) = 8)
) STRICT;

-- Deleted queues whose messages may still be in the log: it commits after this file does.
CREATE TABLE deleted_queues (
    number INTEGER PRIMARY KEY
) STRICT;
