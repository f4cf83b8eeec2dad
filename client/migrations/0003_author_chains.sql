-- What of an author's numbered statements came, and by which relay; and our own numbers.

-- The next number of our own statements. Not there before the first, nor after a restore: then an epoch begins.
CREATE TABLE own_chains (
    group_id INTEGER PRIMARY KEY REFERENCES groups ON DELETE CASCADE,
    sealed   BLOB NOT NULL
) STRICT;

-- One author in one epoch: what is missing.
CREATE TABLE author_chains (
    chain_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    author   BLOB NOT NULL,
    epoch    BLOB NOT NULL,
    sealed   BLOB NOT NULL,
    UNIQUE (group_id, author, epoch)
) STRICT;

-- What came, by its number; the digests are sealed because they would confirm a guess at a text.
CREATE TABLE chain_links (
    chain_id  INTEGER NOT NULL REFERENCES author_chains ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    shared_id BLOB NOT NULL,
    -- Whether statements with higher numbers came first.
    late      INTEGER NOT NULL CHECK (late IN (0, 1)),
    sealed    BLOB NOT NULL,
    PRIMARY KEY (chain_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX chain_links_by_message ON chain_links (shared_id);

-- The lowest and highest number that each relay brought: one that went past a missing number has skipped it.
CREATE TABLE chain_relays (
    chain_id INTEGER NOT NULL REFERENCES author_chains ON DELETE CASCADE,
    relay_id INTEGER NOT NULL REFERENCES group_relays ON DELETE CASCADE,
    lowest   INTEGER NOT NULL,
    highest  INTEGER NOT NULL,
    PRIMARY KEY (chain_id, relay_id)
) STRICT, WITHOUT ROWID;
