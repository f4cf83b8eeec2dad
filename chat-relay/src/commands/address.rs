//! `chat-relay address`: the link that owners add, as text and as a QR code.

use std::io::IsTerminal as _;

use serde::Serialize;

use super::address_link;
use crate::cli::{AddressArgs, GlobalArgs};
use crate::config::ConfigFile;
use crate::directory::Directory;
use crate::output;

#[derive(Serialize)]
struct Address {
    r#type: &'static str,
    address: String,
}

pub(super) fn run(global: &GlobalArgs, args: &AddressArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    // Read beside a running relay: the database allows it.
    let mut store = ConfigFile::read(&directory)?.store.open(&directory)?;
    let address = address_link(&mut store)?.to_string();
    let with_qr = args.qr || (!args.no_qr && std::io::stdout().is_terminal());
    let text = if with_qr && !global.json {
        format!("{}\n{address}", output::qr_code(&address)?)
    } else {
        address.clone()
    };
    output::print(global.json, &text, &Address { r#type: "address", address })
}
