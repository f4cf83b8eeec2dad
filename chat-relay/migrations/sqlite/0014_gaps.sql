-- What was passed over for a member, until it was told so: see docs/protocol.md §5.

-- All of it is newer than this place in the history.
ALTER TABLE members ADD COLUMN gap_after INTEGER;
-- The number of the agent's message that tells the member.
ALTER TABLE members ADD COLUMN gap_told INTEGER;
