//! What stands behind a link: data that a server gives, and only the link protects.

#![no_main]

use conclave_fuzz::{binary, settled};
use libfuzzer_sys::fuzz_target;
use protocol::agent::link_data::{FixedLinkData, InvitationLinkData, UserLinkData};
use protocol::agent::owner_auth::OwnerAuth;
use protocol::group::link::{GroupLinkData, RelayLinkData};

fuzz_target!(|data: &[u8]| {
    settled::<FixedLinkData>(data);
    binary::<UserLinkData>(data);
    binary::<InvitationLinkData>(data);
    binary::<OwnerAuth>(data);
    if let Ok(link) = GroupLinkData::parse(data) {
        let _ = (link.check(None), link.check(Some(&[1; 32])));
        assert!(GroupLinkData::parse(&link.to_blob()).is_ok());
    }
    if let Ok(link) = RelayLinkData::parse(data) {
        assert!(RelayLinkData::parse(&link.to_blob()).is_ok());
    }
});
