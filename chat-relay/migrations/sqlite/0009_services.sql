-- The relay as a service of the servers that have its queues.

-- What its certificates are derived from, another one for each server: a secret.
CREATE TABLE service_seed (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seed BLOB NOT NULL
) STRICT;

-- How many queues more a server has of us than we know, when that was asked last.
CREATE TABLE service_surplus (
    server BLOB PRIMARY KEY,
    queues INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
