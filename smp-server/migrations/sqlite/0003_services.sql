-- Services: clients that take back all their queues with one command, and which queues are theirs.

CREATE TABLE services (
    number      INTEGER PRIMARY KEY,
    service_id  BLOB NOT NULL UNIQUE CHECK (length(service_id) = 24),
    -- SHA-256 of the identity certificate: one certificate is one service with one role.
    fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    -- 'M' messaging, 'N' notifier, 'P' proxy.
    role        TEXT NOT NULL CHECK (role IN ('M', 'N', 'P')),
    -- Unix seconds.
    created_at  INTEGER NOT NULL
) STRICT;

-- To which service the messages of the queue go; NULL when to none.
ALTER TABLE queues ADD COLUMN recipient_service INTEGER REFERENCES services (number);

CREATE INDEX queues_of_service ON queues (recipient_service, number) WHERE recipient_service IS NOT NULL;

-- The same for its notifications.
ALTER TABLE queues ADD COLUMN notifier_service INTEGER REFERENCES services (number);

CREATE INDEX notifiers_of_service ON queues (notifier_service) WHERE notifier_service IS NOT NULL;
