-- What was decided about a member's role: see docs/protocol.md §5, "Rulings".

-- The newest change of it, as JSON with the bytes that its author signed.
ALTER TABLE members ADD COLUMN appointment TEXT;
