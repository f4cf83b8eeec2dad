-- Whose each group is, when several workers share a database. A file has one worker, by the number 0.

ALTER TABLE served_groups ADD COLUMN worker_id INTEGER DEFAULT 0;
ALTER TABLE relay_address ADD COLUMN worker_id INTEGER DEFAULT 0;
-- Of a connection that belongs to no group.
ALTER TABLE purposes ADD COLUMN worker_id INTEGER DEFAULT 0;
-- Stored by a worker that has not the group, for the one that has.
ALTER TABLE invitations ADD COLUMN handed_over INTEGER NOT NULL DEFAULT 0;

-- Each worker counts for itself: none waits for another at each message.
CREATE TABLE account_days_of_workers (
    account   TEXT NOT NULL,
    worker_id INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    messages  INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (account, worker_id)
) STRICT, WITHOUT ROWID;

INSERT INTO account_days_of_workers (account, worker_id, day, messages, bytes)
    SELECT account, 0, day, messages, bytes FROM account_days;
DROP TABLE account_days;
ALTER TABLE account_days_of_workers RENAME TO account_days;
