-- Finding members of whom nothing is left to be kept.

CREATE INDEX purposes_by_member ON purposes (member_number) WHERE member_number IS NOT NULL;
CREATE INDEX members_who_left ON members (since_ms) WHERE status = 'left';
