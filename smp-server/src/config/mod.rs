//! Settings: flags over environment over file over defaults.
//!
//! ```text
//! --message-ttl 1s   ▷   SMP_SERVER_MESSAGE_TTL=1s   ▷   [times] message_ttl = "1s"   ▷   21d
//! ```
//!
//! Each section is written once, by `section!`: from it come the flag with its manual, the variable, the key of
//! the file, the default and the commented example. Unknown keys of the file are refused.

mod forwarding;
mod information;
mod limits;
mod listen;
mod monitoring;
mod section;
mod storage;
mod times;
mod value;
mod web;

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::error::CommandError;
use forwarding::ForwardingLayer;
use information::InformationLayer;
use limits::LimitsLayer;
use listen::{AccessLayer, IdentityLayer, ListenLayer};
use monitoring::MonitoringLayer;
use storage::StorageLayer;
use times::TimesLayer;
use web::WebLayer;

pub use forwarding::{Forwarding, PreferredHosts, PrivateDestinations, SocksAt, SocksHosts};
pub use information::{Country, Email, HostingType, Information, Link, Text, WebAddress};
pub use limits::Limits;
pub use listen::{Access, Identity, Listen, SUPPORTED_VERSIONS, UnsupportedVersions, Versions};
pub use monitoring::Monitoring;
pub use storage::{Engine, Storage};
pub use times::Times;
pub use value::{Endpoint, FilePath, Hosts, Period, Port, Ports, Switch, ValueError};
pub use web::Web;

/// All sections: what there is of each goes through here.
macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $name:ident: $section:ident / $layer:ident, )+) => {
        /// Every setting, settled.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Settings { $( $(#[doc = $doc])+ pub $name: $section, )+ }

        /// One layer of settings: the file, or flags and environment together.
        #[derive(Debug, Clone, Default, Deserialize, clap::Args)]
        #[serde(deny_unknown_fields, default)]
        pub struct SettingsLayer { $( #[command(flatten)] $name: $layer, )+ }

        impl SettingsLayer {
            /// This layer, and `lower` where it says nothing.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self { $( $name: self.$name.over(lower.$name), )+ }
            }

            fn settle_unchecked(self) -> Settings {
                Settings { $( $name: self.$name.settle(), )+ }
            }

            /// Each setting's flag and what holds when nothing is said.
            fn defaults() -> Vec<(&'static str, String)> {
                [ $( $layer::defaults(), )+ ].concat()
            }

            fn describe(&self, out: &mut String) {
                $( self.$name.describe(stringify!($name), out); )+
            }
        }
    };
}

settings! {
    /// Where the server listens.
    listen: Listen / ListenLayer,
    /// Who it is.
    identity: Identity / IdentityLayer,
    /// Who may create queues.
    access: Access / AccessLayer,
    /// Bounds.
    limits: Limits / LimitsLayer,
    /// Where queues and messages are kept.
    storage: Storage / StorageLayer,
    /// Lifetimes and time limits.
    times: Times / TimesLayer,
    /// What operators see.
    monitoring: Monitoring / MonitoringLayer,
    /// Private routing.
    proxy: Forwarding / ForwardingLayer,
    /// What browsers see.
    web: Web / WebLayer,
    /// What everybody is told about the server.
    information: Information / InformationLayer,
}

impl SettingsLayer {
    /// Reads the file; a file that is not there is an empty layer.
    ///
    /// # Errors
    /// When it cannot be read or says something unknown.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .with_context(|| format!("Unable to understand settings in {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => {
                Err(error).with_context(|| format!("Unable to read settings at {}", path.display()))
            }
        }
    }

    /// This layer with the file of the password for creating queues, unless it names one.
    #[must_use]
    pub fn with_create_password_file(mut self, path: FilePath) -> Self {
        self.access.create_password_file.get_or_insert(path);
        self
    }

    /// The settings, checked against each other.
    ///
    /// # Errors
    /// When a value makes no sense; says which and what to write instead.
    pub fn settle(self) -> anyhow::Result<Settings> {
        let settings = self.settle_unchecked();
        settings.check()?;
        Ok(settings)
    }

    /// `command`, whose flags are these settings, with the defaults in its manual.
    #[must_use]
    pub fn teach_defaults(command: clap::Command) -> clap::Command {
        Self::defaults().into_iter().filter(|(_, default)| !default.is_empty()).fold(
            command,
            |command, (name, default)| {
                command.mut_arg(name, |argument| {
                    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                    argument.help(format!("{help} [default: {default}]"))
                })
            },
        )
    }

    /// A commented file that sets what this layer says and shows the default of everything else.
    #[must_use]
    pub fn example(&self) -> String {
        let mut out = String::from(
            "# Settings of smp-server. Lines that begin with `#` show the defaults.\n\
             # Flags (smp-server start --help) win over SMP_SERVER_* variables, and those win over this file.\n",
        );
        self.describe(&mut out);
        out
    }
}

impl Settings {
    fn check(&self) -> Result<(), CommandError> {
        self.limits.check()?;
        self.storage.check()?;
        self.times.check()?;
        self.proxy.check()?;
        self.information.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> SettingsLayer {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_upper_layer_wins_and_defaults_fill_the_rest() {
        let upper = layer("[times]\nmessage_ttl = \"1s\"");
        let lower = layer("[times]\nmessage_ttl = \"2s\"\nevent_interval = \"500ms\"\n[listen]\nports = 0");
        let settings = upper.over(lower).settle().unwrap();
        assert_eq!(settings.times.message_ttl, Period::seconds(1));
        assert_eq!(settings.times.event_interval, Period::ms(500));
        assert_eq!(settings.listen.ports, Ports(vec![0]));
        assert_eq!(settings.limits, Limits::default());
    }

    #[test]
    fn unknown_keys_and_sections_are_refused() {
        for text in ["[times]\nmesage_ttl = \"1s\"", "[tmies]", "port = 1"] {
            assert!(toml::from_str::<SettingsLayer>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_stay_within_what_we_speak() {
        assert_eq!(
            layer("[listen]\nversions = \"16-17\"").settle().unwrap().listen.versions.0.to_string(),
            "16-17"
        );
        for text in ["14-18", "15-19", "6", "18-15", "x"] {
            assert!(
                toml::from_str::<SettingsLayer>(&format!("[listen]\nversions = \"{text}\"")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn zero_bounds_are_refused_with_their_name() {
        let error = layer("[limits]\nqueue_quota = 0").settle().unwrap_err();
        assert!(error.to_string().contains("queue_quota"));
    }

    #[test]
    fn the_example_reads_back_as_what_it_was_made_of() {
        let example = layer("[listen]\nports = \"5223,443\"\nhosts = \"smp.example.org\"").example();
        let settings = layer(&example).settle().unwrap();
        assert_eq!(settings.listen.ports, Ports(vec![5223, 443]));
        let uncommented: String = example
            .lines()
            .map(|line| if line.contains(" = ") { line.trim_start_matches("# ") } else { line })
            .filter(|line| line.contains(" = ") || line.starts_with('['))
            .collect::<Vec<_>>()
            .join("\n");
        let defaults = layer(&uncommented).settle().unwrap();
        assert_eq!(defaults, settings);
    }
}
