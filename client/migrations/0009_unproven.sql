-- What came before its author's key: it is judged again when somebody introduces the author. Its bytes are in copies.
CREATE TABLE unproven (
    unproven_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id    INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    author      BLOB NOT NULL,
    shared_id   BLOB NOT NULL,
    sent_at_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX unproven_by_author ON unproven (group_id, author, unproven_id);
