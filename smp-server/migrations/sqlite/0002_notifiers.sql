-- Who is notified of a queue's messages, and queues that the operator blocked.

-- NULL when nobody is notified; then all three are.
ALTER TABLE queues ADD COLUMN notifier_id BLOB CHECK (length(notifier_id) = 24);
-- Short SPKI.
ALTER TABLE queues ADD COLUMN notifier_key BLOB CHECK ((notifier_key IS NULL) = (notifier_id IS NULL));
ALTER TABLE queues ADD COLUMN notifier_secret BLOB
    CHECK (length(notifier_secret) = 32 AND notifier_id IS NOT NULL OR notifier_secret IS NULL AND notifier_id IS NULL);
CREATE UNIQUE INDEX queues_by_notifier ON queues (notifier_id) WHERE notifier_id IS NOT NULL;

-- Why the queue is blocked, as on the wire: reason=spam or reason=content, then maybe ,notice={"ttl":seconds}.
-- NULL when it is not. A blocked queue keeps its status: that of the recipient.
ALTER TABLE queues ADD COLUMN blocking TEXT;
