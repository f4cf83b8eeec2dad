//! The network seam (feature `net`): the only asynchronous code, and the only readers of clock and randomness.
//!
//! ```text
//! engine    one thread owns an application and its store; batches are transactions, effects follow the commit
//! network   sessions by server: connect on demand, reconnect, resubscribe, read links
//! session   one connection: hellos, block encryption, batches, correlation, time limits
//! service   certificates and sessions of high-traffic clients, which take back all their queues with one command
//! proxy     a server's session with another server, for commands that it forwards
//! web_tls   TLS with browsers, also on a port that they share with clients
//! dial      TCP with keep-alive, or by socks      tls, tap, verify   TLS 1.3, session identifier, identity of the server
//! record_keys   the keys of TLS records      window   how much is on its way to a server
//! ```

mod backoff;
pub mod certificate;
pub mod clock;
pub mod dial;
mod ed448;
pub mod engine;
pub mod error;
pub mod network;
pub mod proxy;
pub mod public_address;
mod record_keys;
pub mod rng;
pub mod service;
mod session;
pub mod socks;
mod tap;
pub mod tls;
pub mod verify;
pub mod web_tls;
mod window;

pub use tap::TlsUnique;
