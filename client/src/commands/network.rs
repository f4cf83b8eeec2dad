//! `conclave network`

use clap::{ArgAction, Args};

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::network::NetworkChange;
use crate::request::Request;

/// Show or change how servers are reached.
///
/// A proxy is one of your kept servers that passes on what you send: the server behind it does not see your address.
/// A SOCKS proxy, such as Tor's, hides your address from all servers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave network
  conclave network --proxy always --direct-fallback off
  conclave network --proxy never                   sent directly: every server sees you
  conclave network --socks 127.0.0.1:9050          all connections through Tor

A changed SOCKS proxy is used from the next start of `conclave listen` on; the rest at once.")]
pub(crate) struct NetworkArgs {
    /// Which servers are sent to through a proxy: `always` all, `unknown` those that are not kept (as at first), `never`
    /// none.
    #[arg(long, value_name = "MODE")]
    proxy: Option<String>,
    /// Whether to send directly to servers that no proxy can forward to: `on` or `off`.
    #[arg(long, value_name = "SWITCH", value_parser = parse_switch, action = ArgAction::Set)]
    direct_fallback: Option<bool>,
    /// The SOCKS5 proxy of all connections, as HOST:PORT, or `none`.
    #[arg(long, value_name = "ADDRESS")]
    socks: Option<String>,
    /// What goes through the SOCKS proxy: `always` all, or `onion` hosts only.
    #[arg(long, value_name = "MODE")]
    socks_mode: Option<String>,
}

impl IntoRequest for NetworkArgs {
    fn request(self) -> Result<Request, CommandError> {
        let Self { proxy, direct_fallback, socks, socks_mode } = self;
        Ok(Request::Network { change: NetworkChange { proxy, direct_fallback, socks, socks_mode } })
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write `on` or `off`".to_owned()),
    }
}
