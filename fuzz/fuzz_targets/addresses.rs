//! What people paste: addresses of servers, queues, connections, links.

#![no_main]

use conclave_fuzz::{binary, settled, text};
use libfuzzer_sys::fuzz_target;
use protocol::agent::connection_request::ConnectionRequest;
use protocol::crypto::ratchet::parameters::RatchetOffer;
use protocol::smp::address::{ServerAddress, ServerAddressWithAuth};
use protocol::smp::host::Host;
use protocol::smp::queue_uri::{QueueInfo, QueueLocation, QueueUri};
use protocol::smp::short_link::ShortLink;

fuzz_target!(|data: &[u8]| {
    binary::<ServerAddress>(data);
    binary::<ServerAddressWithAuth>(data);
    settled::<QueueUri>(data);
    settled::<QueueInfo>(data);
    binary::<QueueLocation>(data);
    binary::<ShortLink>(data);
    settled::<ConnectionRequest>(data);
    if let Ok(given) = std::str::from_utf8(data) {
        text::<Host>(given);
        text::<ServerAddress>(given);
        text::<ServerAddressWithAuth>(given);
        text::<QueueUri>(given);
        text::<ShortLink>(given);
        text::<ConnectionRequest>(given);
        text::<RatchetOffer>(given);
    }
});
