-- Queues, their link data and the messages that wait in them.
-- Numbers are never used again (AUTOINCREMENT): what was decided about one queue must not reach another.

CREATE TABLE queues (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient_id   BLOB NOT NULL UNIQUE CHECK (length(recipient_id) = 24),
    sender_id      BLOB NOT NULL UNIQUE CHECK (length(sender_id) = 24),
    -- A list of keys as on the wire: count, then short SPKI each.
    recipient_keys BLOB NOT NULL,
    dh_secret      BLOB NOT NULL CHECK (length(dh_secret) = 32),
    -- Short SPKI; NULL until the queue is secured.
    sender_key     BLOB,
    -- 'M' messaging, 'C' contact; NULL when the recipient did not say.
    mode           TEXT CHECK (mode IN ('M', 'C')),
    -- 'active' or 'off'.
    status         TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'off')),
    -- Unix seconds of the day on which a party of the queue last used it.
    used_on        INTEGER NOT NULL
) STRICT;

CREATE TABLE links (
    queue      INTEGER PRIMARY KEY REFERENCES queues (number) ON DELETE CASCADE,
    link_id    BLOB NOT NULL UNIQUE CHECK (length(link_id) = 24),
    fixed_data BLOB NOT NULL,
    user_data  BLOB NOT NULL
) STRICT;

CREATE TABLE messages (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    queue       INTEGER NOT NULL REFERENCES queues (number) ON DELETE CASCADE,
    message_id  BLOB NOT NULL CHECK (length(message_id) = 24),
    -- Unix milliseconds.
    received_at INTEGER NOT NULL,
    notify      INTEGER NOT NULL CHECK (notify IN (0, 1)),
    -- As the sender encrypted it; NULL is the marker of a full queue.
    body        BLOB
) STRICT;

CREATE INDEX messages_of_queue ON messages (queue, number);
-- Markers do not expire.
CREATE INDEX messages_by_time ON messages (received_at, number, queue) WHERE body IS NOT NULL;
