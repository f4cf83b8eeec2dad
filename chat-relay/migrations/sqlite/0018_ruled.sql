-- What was decided about a member holds for its key, under whichever member id: see docs/protocol.md §5, "Rulings".

-- Those of one key about whom anything was decided: the only ones that are looked at when somebody new shows the key.
CREATE INDEX members_ruled ON members (group_id, member_key, member_number)
    WHERE status IN ('removed', 'rejected') OR restriction IS NOT NULL OR appointment IS NOT NULL;
DROP INDEX members_barred;
DROP INDEX members_rejected;
