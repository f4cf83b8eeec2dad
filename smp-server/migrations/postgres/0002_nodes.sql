-- Several servers that share this database and serve one address: who they are, and who has the subscriber of a queue.

CREATE TABLE nodes (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Where the node listens (LISTEN). Channels belong to a whole database, so their names are random.
    channel     text NOT NULL UNIQUE,
    -- A node that does not renew its lease is gone.
    lease_until timestamptz NOT NULL
);

-- The order in which nodes take subscriptions.
CREATE SEQUENCE claims;

-- At which node a queue has its subscriber. Not worth a log: a node that lost it claims what it has anew.
CREATE UNLOGGED TABLE subscribers (
    queue bigint PRIMARY KEY,
    node  bigint NOT NULL,
    claim bigint NOT NULL
);

CREATE INDEX subscribers_of_node ON subscribers (node);

-- Tells the node of the queue's subscriber, if that is another one than `at_node`, once the transaction commits.
CREATE FUNCTION tell_subscriber(of_queue bigint, at_node bigint, news text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    to_channel text;
    of_recipient bytea;
BEGIN
    SELECT nodes.channel, queues.recipient_id INTO to_channel, of_recipient
    FROM subscribers
    JOIN nodes ON nodes.number = subscribers.node
    JOIN queues ON queues.number = subscribers.queue
    WHERE subscribers.queue = of_queue AND subscribers.node IS DISTINCT FROM at_node;
    IF FOUND THEN
        PERFORM pg_notify(to_channel, news || ' ' || encode(of_recipient, 'hex'));
    END IF;
END $$;

-- Tells all nodes but `at_node`.
CREATE FUNCTION tell_others(at_node bigint, news text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify(channel, news) FROM nodes WHERE number IS DISTINCT FROM at_node
$$;

-- Makes `at_node` the node of the subscribers of these queues; the nodes that had them are told.
CREATE FUNCTION claim_subscribers(queue_numbers bigint[], at_node bigint, new_claim bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_subscriber(queue, at_node, 'moved ' || new_claim)
    FROM subscribers WHERE queue = ANY (queue_numbers) AND node <> at_node;
    INSERT INTO subscribers (queue, node, claim)
    SELECT number, at_node, new_claim FROM queues WHERE number = ANY (queue_numbers)
    ON CONFLICT (queue) DO UPDATE SET node = excluded.node, claim = excluded.claim;
END $$;

-- Deletes a queue with all it holds, and tells the node of its subscriber.
-- Gives the notifier and the number of messages that it had; no row when there is no such queue.
CREATE FUNCTION delete_queue(of_queue bigint, at_node bigint) RETURNS TABLE (notifier_id bytea, messages bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_subscriber(of_queue, at_node, 'deleted');
    DELETE FROM subscribers WHERE queue = of_queue;
    RETURN QUERY
        WITH counted AS (SELECT count(*) AS messages FROM messages WHERE queue = of_queue),
             gone AS (DELETE FROM queues WHERE number = of_queue RETURNING queues.notifier_id)
        SELECT gone.notifier_id, counted.messages FROM gone, counted;
END $$;

-- Sets why a queue is blocked, or that it is not; gives what was before. The node of its subscriber is told.
CREATE FUNCTION set_blocking(of_queue bigint, new_blocking text, at_node bigint)
RETURNS TABLE (status text, blocking text) LANGUAGE plpgsql AS $$
BEGIN
    IF new_blocking IS NOT NULL THEN
        PERFORM tell_subscriber(of_queue, at_node, 'blocked');
    END IF;
    RETURN QUERY SELECT queues.status, queues.blocking FROM queues WHERE number = of_queue;
    UPDATE queues SET blocking = new_blocking WHERE number = of_queue;
END $$;
