//! The double ratchet (agent.md §5).
