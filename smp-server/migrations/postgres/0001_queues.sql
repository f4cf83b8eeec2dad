-- Queues, their link data and the messages that wait in them, as in the embedded store.
--
-- A group of steps is one transaction. It begins with the locks of all queues that it is about, in the order of their
-- numbers: groups never wait for each other in a circle, and with its lock held nobody else changes what a step looks
-- at. The few steps that are about many queues, or about ids that a client chose, wait for nobody: see expire_heads and
-- reserve.

CREATE TABLE services (
    service_id  bytea PRIMARY KEY CHECK (length(service_id) = 24),
    -- SHA-256 of the identity certificate: one certificate is one service with one role.
    fingerprint bytea NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    -- 'M' messaging, 'N' notifier, 'P' proxy.
    role        text NOT NULL CHECK (role IN ('M', 'N', 'P')),
    -- Unix seconds.
    created_at  bigint NOT NULL
);

CREATE TABLE queues (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient_id    bytea NOT NULL UNIQUE CHECK (length(recipient_id) = 24),
    sender_id       bytea NOT NULL UNIQUE CHECK (length(sender_id) = 24),
    -- A list of keys as on the wire: count, then short SPKI each.
    recipient_keys  bytea NOT NULL,
    dh_secret       bytea NOT NULL CHECK (length(dh_secret) = 32),
    -- Short SPKI; NULL until the queue is secured.
    sender_key      bytea,
    -- 'M' messaging, 'C' contact; NULL when the recipient did not say.
    mode            text CHECK (mode IN ('M', 'C')),
    -- 'active' or 'off': the recipient's will, which a block leaves as it is.
    status          text NOT NULL CHECK (status IN ('active', 'off')),
    -- Why the operator blocked the queue, as on the wire; NULL when it is not blocked.
    blocking        text,
    -- NULL when nobody is notified; then all three are.
    notifier_id     bytea UNIQUE CHECK (length(notifier_id) = 24),
    notifier_key    bytea CHECK ((notifier_key IS NULL) = (notifier_id IS NULL)),
    notifier_secret bytea CHECK ((notifier_secret IS NULL) = (notifier_id IS NULL)),
    -- Unix seconds of the day on which a party of the queue last used it.
    used_on         bigint NOT NULL,
    -- To which service the messages of the queue go, and its notifications; NULL when to none.
    recipient_service bytea REFERENCES services (service_id),
    notifier_service  bytea REFERENCES services (service_id)
);

CREATE INDEX queues_of_service ON queues (recipient_service, number) WHERE recipient_service IS NOT NULL;
CREATE INDEX notifiers_of_service ON queues (notifier_service) WHERE notifier_service IS NOT NULL;

CREATE TABLE links (
    queue      bigint PRIMARY KEY REFERENCES queues (number) ON DELETE CASCADE,
    link_id    bytea NOT NULL UNIQUE CHECK (length(link_id) = 24),
    fixed_data bytea NOT NULL,
    user_data  bytea NOT NULL
);

CREATE TABLE messages (
    -- Of one queue, in the order of their arrival.
    number      bigint GENERATED ALWAYS AS IDENTITY,
    -- A queue that is there as long as its lock is held: a check of each message would cost more than it is worth.
    queue       bigint NOT NULL,
    message_id  bytea NOT NULL CHECK (length(message_id) = 24),
    -- Unix milliseconds.
    received_at bigint NOT NULL,
    notify      boolean NOT NULL,
    -- As the sender encrypted it; NULL is the marker of a full queue.
    body        bytea,
    -- Where it stands, counted from the first since the queue was empty. Messages leave from the head alone, so those
    -- that wait have no gap between them: first and last say how many they are.
    place       bigint NOT NULL,
    PRIMARY KEY (queue, number)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Ciphertext does not compress.
ALTER TABLE messages ALTER COLUMN body SET STORAGE EXTERNAL;

-- Markers do not expire.
CREATE INDEX messages_by_time ON messages (received_at, number, queue) WHERE body IS NOT NULL;

-- Opens a group.
CREATE FUNCTION lock_queues(queue_numbers bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM queues WHERE number = ANY (queue_numbers) ORDER BY number FOR NO KEY UPDATE;
END $$;

-- Keeps others from taking an id until the transaction ends; false when another one keeps it. Two groups that store the
-- same ids in a different order would wait for each other.
CREATE FUNCTION reserve(id bytea) RETURNS boolean LANGUAGE sql AS $$
    SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || encode(id, 'hex'), 0))
$$;

-- The number of the new queue; NULL when one of its ids belongs to another one. Clients choose ids only together with
-- link data; others are drawn and meet by chance, that is never.
CREATE FUNCTION create_queue(
    new_recipient_id bytea, new_sender_id bytea, new_recipient_keys bytea, new_dh_secret bytea, new_sender_key bytea,
    new_mode text, new_status text, new_blocking text, new_notifier_id bytea, new_notifier_key bytea,
    new_notifier_secret bytea, new_used_on bigint, new_recipient_service bytea, new_notifier_service bytea,
    new_link_id bytea, new_fixed_data bytea, new_user_data bytea
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    IF new_link_id IS NOT NULL
       AND (NOT reserve(new_sender_id) OR NOT reserve(new_link_id)
            OR EXISTS (SELECT 1 FROM links WHERE link_id = new_link_id)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO queues (recipient_id, sender_id, recipient_keys, dh_secret, sender_key, mode, status, blocking,
                        notifier_id, notifier_key, notifier_secret, used_on, recipient_service, notifier_service)
    VALUES (new_recipient_id, new_sender_id, new_recipient_keys, new_dh_secret, new_sender_key, new_mode, new_status,
            new_blocking, new_notifier_id, new_notifier_key, new_notifier_secret, new_used_on,
            new_recipient_service, new_notifier_service)
    ON CONFLICT DO NOTHING RETURNING number INTO made;
    IF made IS NOT NULL AND new_link_id IS NOT NULL THEN
        INSERT INTO links VALUES (made, new_link_id, new_fixed_data, new_user_data);
    END IF;
    RETURN made;
END $$;

-- Whether a sender secured a queue whose link can then be used no more.
CREATE FUNCTION link_is_used(sender_key bytea, mode text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT sender_key IS NOT NULL AND mode IS DISTINCT FROM 'C'
$$;

-- Whether the link data are stored; NULL when there is no such queue.
CREATE FUNCTION set_link_data(of_queue bigint, new_link_id bytea, new_fixed_data bytea, new_user_data bytea)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    used boolean;
    stored links;
BEGIN
    SELECT link_is_used(sender_key, mode) INTO used FROM queues WHERE number = of_queue;
    IF NOT FOUND OR used THEN
        RETURN NOT used;
    END IF;
    SELECT * INTO stored FROM links WHERE queue = of_queue;
    IF FOUND THEN
        IF stored.link_id <> new_link_id OR stored.fixed_data <> new_fixed_data THEN
            RETURN false;
        END IF;
        UPDATE links SET user_data = new_user_data WHERE queue = of_queue;
        RETURN true;
    END IF;
    IF NOT reserve(new_link_id) THEN
        RETURN false;
    END IF;
    INSERT INTO links VALUES (of_queue, new_link_id, new_fixed_data, new_user_data) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Deletes expired messages from the head, up to the first that stays; says how many.
CREATE FUNCTION expire_head(of_queue bigint, expire_before bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    stays bigint;
    deleted bigint;
BEGIN
    SELECT number INTO stays FROM messages
    WHERE queue = of_queue AND (body IS NULL OR received_at >= expire_before) ORDER BY number LIMIT 1;
    DELETE FROM messages WHERE queue = of_queue AND (stays IS NULL OR number < stays);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;

-- The same for many queues, without those that are in use: another look finds them.
CREATE FUNCTION expire_heads(of_queues bigint[], expire_before bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    free bigint[];
BEGIN
    free := ARRAY(SELECT number FROM queues WHERE number = ANY (of_queues) FOR NO KEY UPDATE SKIP LOCKED);
    RETURN (SELECT coalesce(sum(expire_head(queue, expire_before)), 0)::bigint FROM unnest(free) AS queue);
END $$;

-- Puts messages at the ends of their queues, in this order, or markers where a queue is full.
-- Outcomes: stored, marked, full, suspended, blocked (then with the reason); none when there is no such queue.
CREATE FUNCTION append_messages(
    of_queues bigint[], new_message_ids bytea[], new_received_at bigint[], new_notify boolean[], new_bodies bytea[],
    quotas bigint[], expire_before bigint[]
) RETURNS TABLE (turn bigint, outcome text, reason text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM expire_head(expired.queue, expired.before)
    FROM (SELECT given.queue, max(given.before) AS before FROM unnest(of_queues, expire_before) AS given (queue, before)
          JOIN queues ON queues.number = given.queue
          WHERE given.before IS NOT NULL AND queues.status = 'active' AND queues.blocking IS NULL
          GROUP BY given.queue) expired;
    DELETE FROM links USING queues
    WHERE links.queue = queues.number AND queues.number = ANY (of_queues)
      AND queues.status = 'active' AND queues.blocking IS NULL AND link_is_used(queues.sender_key, queues.mode);
    RETURN QUERY
    WITH found AS MATERIALIZED (
        SELECT queues.number, queues.status, queues.blocking,
               coalesce(last.place, 0) AS last_place,
               coalesce(last.place - first.place + 1, 0) AS waiting,
               coalesce(last.is_marker, false) AS is_marked
        FROM queues
        LEFT JOIN LATERAL (SELECT messages.place, body IS NULL AS is_marker FROM messages
                           WHERE queue = queues.number ORDER BY messages.number DESC LIMIT 1) last ON true
        LEFT JOIN LATERAL (SELECT messages.place FROM messages
                           WHERE queue = queues.number ORDER BY messages.number LIMIT 1) first ON true
        WHERE queues.number = ANY (of_queues)),
    judged AS MATERIALIZED (
        SELECT given.turn, given.queue, found.last_place + given.nth AS place, found.blocking,
               CASE WHEN found.blocking IS NOT NULL THEN 'blocked'
                    WHEN found.status = 'off' THEN 'suspended'
                    WHEN found.is_marked THEN 'full'
                    WHEN found.waiting + given.nth <= given.quota THEN 'stored'
                    WHEN given.nth = greatest(given.quota - found.waiting, 0) + 1 THEN 'marked'
                    ELSE 'full' END AS outcome
        FROM (SELECT all_given.*, row_number() OVER (PARTITION BY all_given.queue ORDER BY all_given.turn) AS nth
              FROM unnest(of_queues, quotas) WITH ORDINALITY AS all_given (queue, quota, turn)) given
        JOIN found ON found.number = given.queue),
    stored AS (
        INSERT INTO messages (queue, message_id, received_at, notify, body, place)
        SELECT judged.queue, new_message_ids[judged.turn], new_received_at[judged.turn],
               judged.outcome = 'stored' AND new_notify[judged.turn],
               CASE WHEN judged.outcome = 'stored' THEN new_bodies[judged.turn] END, judged.place
        FROM judged WHERE judged.outcome IN ('stored', 'marked') ORDER BY judged.turn)
    SELECT judged.turn, judged.outcome, judged.blocking FROM judged;
END $$;

-- Deletes the heads of queues that are these messages, and gives the heads after that. Each queue is named once.
-- With a subscription, another node may have taken it: then nothing is deleted and `elsewhere` is its claim.
CREATE FUNCTION acknowledge_messages(of_queues bigint[], message_ids bytea[], kinds text[], ids bytea[], at_node bigint)
RETURNS TABLE (turn bigint, elsewhere bigint, message_id bytea, received_at bigint, notify boolean, body bytea)
LANGUAGE plpgsql AS $$
DECLARE
    rivals bigint[] := rival_claims(kinds, ids, at_node);
BEGIN
    DELETE FROM messages USING unnest(of_queues, message_ids, rivals) AS given (queue, message_id, rival),
        LATERAL (SELECT head.number, head.message_id FROM messages head
                 WHERE head.queue = given.queue ORDER BY head.number LIMIT 1) head
    WHERE given.rival IS NULL
      AND messages.queue = given.queue AND messages.number = head.number AND head.message_id = given.message_id;
    RETURN QUERY
    SELECT given.turn, given.rival, next.message_id, next.received_at, next.notify, next.body
    FROM unnest(of_queues, rivals) WITH ORDINALITY AS given (queue, rival, turn)
    JOIN queues ON queues.number = given.queue
    LEFT JOIN LATERAL (SELECT messages.message_id, messages.received_at, messages.notify, messages.body FROM messages
                       WHERE messages.queue = given.queue AND given.rival IS NULL
                       ORDER BY messages.number LIMIT 1) next ON true;
END $$;

-- Deletes a queue with all it holds. Gives the notifier and the number of messages that it had; no row when there is no
-- such queue.
CREATE FUNCTION delete_queue(of_queue bigint) RETURNS TABLE (notifier_id bytea, messages bigint)
LANGUAGE sql AS $$
    WITH emptied AS (DELETE FROM messages WHERE queue = of_queue RETURNING 1),
         gone AS (DELETE FROM queues WHERE number = of_queue RETURNING queues.notifier_id)
    SELECT gone.notifier_id, (SELECT count(*) FROM emptied) FROM gone
$$;

-- Sets why a queue is blocked, or that it is not; gives what was before.
CREATE FUNCTION set_blocking(of_queue bigint, new_blocking text) RETURNS TABLE (status text, blocking text)
LANGUAGE sql AS $$
    WITH former AS (SELECT queues.status, queues.blocking FROM queues WHERE number = of_queue),
         written AS (UPDATE queues SET blocking = new_blocking WHERE number = of_queue)
    SELECT former.status, former.blocking FROM former
$$;
