//! `chat-relay example-config`: every setting with its default.

use std::io::Write as _;

use crate::config::{ConfigArgs, ConfigFile};

pub(super) fn run(args: ConfigArgs) -> anyhow::Result<()> {
    let text = args.over(ConfigFile::default())?.to_toml()?;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
