//! Agents against each other over a model of queue servers, and against peers that a script plays.

mod establishing;
mod faults;
mod known_answers;
mod peer;
mod recovering;
mod retries;
mod roundtrips;
mod scripted_handshake;
mod scripted_messages;
mod scripted_resync;
mod scripted_rotation;
mod server;
mod world;
