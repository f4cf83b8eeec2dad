//! The relay against a queue server, with an owner and members made of agents: all in this process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod asking_again;
mod entrance;
mod filling;
mod host;
mod knocking;
mod listing;
mod notices;
mod passing_over;
mod people;
mod restored;
mod rulings;
mod scenes;
mod stock;
mod two_connections;
