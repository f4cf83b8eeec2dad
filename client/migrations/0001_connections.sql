-- Layer 2: connections, their queues, what waits to be sent, and what was seen.
-- Columns called "sealed" are encrypted by the program; the rest is what looking things up takes.

CREATE TABLE connections (
    connection_id INTEGER PRIMARY KEY AUTOINCREMENT,
    sealed        BLOB NOT NULL
) STRICT;

CREATE TABLE connection_queues (
    recipient_id  BLOB NOT NULL,
    server        BLOB NOT NULL,
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    PRIMARY KEY (recipient_id, server)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX connection_queues_by_connection ON connection_queues (connection_id, recipient_id, server);

-- A body that several jobs share; it goes with the last job that names it.
CREATE TABLE bodies (
    body_id INTEGER PRIMARY KEY AUTOINCREMENT,
    sealed  BLOB NOT NULL
) STRICT;

CREATE TABLE jobs (
    job_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    body_id       INTEGER REFERENCES bodies,
    sealed        BLOB NOT NULL
) STRICT;

CREATE INDEX jobs_by_connection ON jobs (connection_id, job_id);
CREATE INDEX jobs_by_body ON jobs (body_id) WHERE body_id IS NOT NULL;

CREATE TABLE seen_hashes (
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    hash          BLOB NOT NULL,
    seen_at_ms    INTEGER NOT NULL,
    PRIMARY KEY (connection_id, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX seen_hashes_by_age ON seen_hashes (seen_at_ms);
