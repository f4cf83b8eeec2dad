-- Queues, their link data and the messages that wait in them, as in the embedded store.
--
-- Every step of the protocol is one statement or one function, so that it costs one round trip. Steps run under a lock
-- that one transaction holds at a time (see begin in the program): numbers are given out in the order of commits, and
-- what a step looks at does not change before it writes.

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
    number      bigint GENERATED ALWAYS AS IDENTITY,
    queue       bigint NOT NULL REFERENCES queues (number) ON DELETE CASCADE,
    message_id  bytea NOT NULL CHECK (length(message_id) = 24),
    -- Unix milliseconds.
    received_at bigint NOT NULL,
    notify      boolean NOT NULL,
    -- As the sender encrypted it; NULL is the marker of a full queue.
    body        bytea,
    PRIMARY KEY (queue, number)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Ciphertext does not compress.
ALTER TABLE messages ALTER COLUMN body SET STORAGE EXTERNAL;

-- Markers do not expire.
CREATE INDEX messages_by_time ON messages (received_at, number, queue) WHERE body IS NOT NULL;

-- The number of the new queue; NULL when one of its ids belongs to another one.
CREATE FUNCTION create_queue(
    new_recipient_id bytea, new_sender_id bytea, new_recipient_keys bytea, new_dh_secret bytea, new_sender_key bytea,
    new_mode text, new_status text, new_blocking text, new_notifier_id bytea, new_notifier_key bytea,
    new_notifier_secret bytea, new_used_on bigint, new_recipient_service bytea, new_notifier_service bytea,
    new_link_id bytea, new_fixed_data bytea, new_user_data bytea
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    IF EXISTS (SELECT 1 FROM links WHERE link_id = new_link_id) THEN
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

-- Puts a message at the end of the queue, or the marker when it is full.
-- Outcomes: stored, marked, full, suspended, blocked (then with the reason); no row when there is no such queue.
CREATE FUNCTION append_message(
    of_queue bigint, new_message_id bytea, new_received_at bigint, new_notify boolean, new_body bytea,
    quota bigint, expire_before bigint, at_node bigint
) RETURNS TABLE (outcome text, reason text) LANGUAGE plpgsql AS $$
DECLARE
    found_queue queues;
    fits boolean;
BEGIN
    SELECT * INTO found_queue FROM queues WHERE number = of_queue;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF found_queue.blocking IS NOT NULL THEN
        RETURN QUERY SELECT 'blocked', found_queue.blocking;
        RETURN;
    ELSIF found_queue.status = 'off' THEN
        RETURN QUERY SELECT 'suspended', NULL;
        RETURN;
    END IF;
    IF link_is_used(found_queue.sender_key, found_queue.mode) THEN
        DELETE FROM links WHERE queue = of_queue;
    END IF;
    IF expire_before IS NOT NULL THEN
        PERFORM expire_head(of_queue, expire_before);
    END IF;
    IF (SELECT body IS NULL FROM messages WHERE queue = of_queue ORDER BY number DESC LIMIT 1) THEN
        RETURN QUERY SELECT 'full', NULL;
        RETURN;
    END IF;
    fits := (SELECT count(*) FROM (SELECT 1 FROM messages WHERE queue = of_queue LIMIT quota) waiting) < quota;
    INSERT INTO messages (queue, message_id, received_at, notify, body)
    VALUES (of_queue, new_message_id, new_received_at, fits AND new_notify, CASE WHEN fits THEN new_body END);
    IF found_queue.recipient_service IS NULL THEN
        PERFORM tell_subscriber(of_queue, at_node, 'arrived');
    ELSE
        -- The service may be connected anywhere.
        PERFORM tell_others(at_node, 'arrived ' || encode(found_queue.recipient_id, 'hex'));
    END IF;
    IF fits AND new_notify AND found_queue.notifier_id IS NOT NULL THEN
        PERFORM tell_others(at_node, 'notify ' || encode(found_queue.recipient_id, 'hex') || ' '
                                     || encode(new_message_id, 'hex') || ' ' || new_received_at);
    END IF;
    RETURN QUERY SELECT CASE WHEN fits THEN 'stored' ELSE 'marked' END, NULL;
END $$;
