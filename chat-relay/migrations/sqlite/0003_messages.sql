-- Messages, each once with the bytes that were signed, and their delivery.

CREATE TABLE messages (
    message_number INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    message_id     BLOB NOT NULL,
    author         INTEGER NOT NULL REFERENCES members,
    broker_ms      INTEGER NOT NULL,
    received_ms    INTEGER NOT NULL,
    -- post, edit, or other
    kind           TEXT NOT NULL,
    -- What an edit changes.
    target         BLOB,
    -- The member whose conversation with the moderators it belongs to.
    support_of     BLOB,
    as_channel     INTEGER NOT NULL,
    verified       INTEGER NOT NULL,
    deleted        INTEGER NOT NULL DEFAULT 0,
    element        BLOB NOT NULL,
    UNIQUE (group_id, message_id)
) STRICT;

CREATE INDEX messages_of_history ON messages (group_id, message_number) WHERE kind = 'post' AND deleted = 0;
CREATE INDEX messages_by_target ON messages (group_id, target) WHERE target IS NOT NULL;
CREATE INDEX messages_by_age ON messages (received_ms);
CREATE INDEX messages_by_author ON messages (author);

-- Stage one: what is to be forwarded, in the order in which it came.
CREATE TABLE delivery_tasks (
    task_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    message_number INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
    ending         TEXT NOT NULL,
    -- The member that the message removes: gets it, and is cut off then.
    removes        INTEGER REFERENCES members
) STRICT;

CREATE INDEX delivery_tasks_by_group ON delivery_tasks (group_id, task_id);
CREATE INDEX delivery_tasks_by_message ON delivery_tasks (message_number);

-- Stage two: one body of some tasks of one author, and how far it has been handed out.
CREATE TABLE delivery_jobs (
    job_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    author         INTEGER NOT NULL REFERENCES members,
    support_of     BLOB,
    ending         TEXT NOT NULL,
    removes        INTEGER REFERENCES members,
    cursor         INTEGER NOT NULL DEFAULT 0,
    body           BLOB NOT NULL
) STRICT;

CREATE INDEX delivery_jobs_by_group ON delivery_jobs (group_id, job_id);

-- Who has been told about whom: an author's profile goes ahead of the first message that a member gets.
CREATE TABLE introductions (
    author    INTEGER NOT NULL REFERENCES members ON DELETE CASCADE,
    recipient INTEGER NOT NULL REFERENCES members ON DELETE CASCADE,
    PRIMARY KEY (author, recipient)
) STRICT, WITHOUT ROWID;

CREATE INDEX introductions_by_recipient ON introductions (recipient);
