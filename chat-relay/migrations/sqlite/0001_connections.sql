-- What the agent keeps: connections, their queues, what waits to be sent, and what was seen.

CREATE TABLE connections (
    connection_id INTEGER PRIMARY KEY AUTOINCREMENT,
    record        BLOB NOT NULL
) STRICT;

CREATE TABLE connection_queues (
    recipient_id  BLOB NOT NULL,
    server        BLOB NOT NULL,
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    PRIMARY KEY (recipient_id, server)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX connection_queues_by_connection ON connection_queues (connection_id, recipient_id, server);

-- A body that many jobs share; it goes with the last job that names it.
CREATE TABLE bodies (
    body_id INTEGER PRIMARY KEY AUTOINCREMENT,
    body    BLOB NOT NULL
) STRICT;

CREATE TABLE agent_jobs (
    job_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    body_id       INTEGER REFERENCES bodies,
    job           BLOB NOT NULL
) STRICT;

CREATE INDEX agent_jobs_by_connection ON agent_jobs (connection_id, job_id);
CREATE INDEX agent_jobs_by_body ON agent_jobs (body_id) WHERE body_id IS NOT NULL;

CREATE TABLE seen_hashes (
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    hash          BLOB NOT NULL,
    seen_at_ms    INTEGER NOT NULL,
    PRIMARY KEY (connection_id, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX seen_hashes_by_age ON seen_hashes (seen_at_ms);
