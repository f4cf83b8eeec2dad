//! Settings: flags over environment over `relay.toml` over defaults.
//!
//! Every limit, interval and timeout is a setting with its unit, so that an operator can tune it and a test can
//! drive the relay with small values.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use protocol::group::constants;
use protocol::group::served_group::RelayPace;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::directory::Directory;
use crate::duration::Duration;
use crate::error::CommandError;
use crate::monitoring::{GROUPS_SHOWN_MAX, Labels};
use crate::network_config::NetworkConfig;
use crate::store_config::StoreConfig;

/// Longest text of a name or description in the relay's own profile, bytes: it must fit its link data many times over.
const PROFILE_TEXT_BYTES_MAX: usize = 512;

/// How `relay.toml` begins.
const FILE_HEAD: &str = "\
# Settings of chat-relay. Lines that begin with `#` show defaults and examples.
# Flags (chat-relay start --help) win over CHAT_RELAY_* variables, and those win over this file.

";

/// Settings without a default: name, meaning, example.
const NAMES: [(&str, &str, &str); 8] = [
    ("server", "Queue server on which this relay makes its queues", "\"smp://FINGERPRINT@smp.example.org\""),
    ("server_password_file", "File that holds the server's password for new queues", "\"server.password\""),
    ("display_name", "The name that owners and members see", "\"relay one\""),
    ("description", "A sentence about the relay, shown with its name", "\"for the town\""),
    ("joiner_role", "The role that joiners get; by the kind of group when not given", "\"observer\""),
    (
        "monitoring_http",
        "Where /metrics, /health and /ready are answered; nowhere when not given",
        "\"127.0.0.1:9224\"",
    ),
    ("monitoring_servers", "Whether hosts of servers stand in labels of metrics", "false"),
    (
        "monitoring_groups",
        "So many groups, the largest, stand in labels of metrics by their numbers; up to 1000",
        "0",
    ),
];

/// The section `[network]`: name, meaning, example.
const NETWORK: [(&str, &str, &str); 5] = [
    ("proxy", "Which servers are sent to through another one: always, unknown, never", "\"never\""),
    ("proxy_servers", "Servers that forward, joined by `;`, beside the relay's own", "\"\""),
    ("direct_fallback", "Whether to send directly to servers that no proxy can forward to", "true"),
    ("socks_proxy", "The SOCKS5 proxy of connections with servers", "\"127.0.0.1:9050\""),
    ("socks_mode", "What goes through the SOCKS proxy: always, onion", "\"always\""),
];

/// The section `[store]`: name, meaning, example.
const STORE: [(&str, &str, &str); 4] = [
    (
        "engine",
        "What keeps the relay's state: sqlite, or postgres, which several workers may share",
        "\"sqlite\"",
    ),
    (
        "postgres_connection_file",
        "File with the connection string of PostgreSQL; the variable CHAT_RELAY_POSTGRES wins",
        "\"postgres\"",
    ),
    ("postgres_patience", "How long PostgreSQL may take to answer a connection", "\"10s\""),
    ("worker_lease", "How long other workers wait for a sign of this one", "\"15s\""),
];

/// The role that joiners get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum JoinerRole {
    /// Reads and reacts.
    Observer,
    /// Posts too.
    Member,
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])* $name:ident $env:literal: $type:ty = $default:expr, )*) => {
        /// Settings that have a default, each as given in the file, by a flag or in the environment, or not given.
        #[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Tuning {
            $(
                $(#[doc = $doc])*
                #[arg(long, env = $env, value_name = "VALUE", help_heading = "Tuning")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
        }

        impl Tuning {
            /// `command`, whose flags are these settings, with the defaults in its manual.
            #[must_use]
            pub fn teach_defaults(command: clap::Command) -> clap::Command {
                let defaults = Limits::default();
                command$( .mut_arg(stringify!($name), |argument| {
                    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                    argument.help(format!("{help} [default: {}]", defaults.$name))
                }) )*
            }

            /// The section of `relay.toml`: what is given is set, the defaults of everything else are shown.
            fn describe(&self) -> String {
                let defaults = Limits::default();
                let mut out = String::from("\n[tuning]\n");
                $(
                    $( out.push_str(&format!("#{}\n", $doc)); )*
                    match &self.$name {
                        Some(value) => out.push_str(&format!("{} = {}\n", stringify!($name), toml_value(value))),
                        None => {
                            let value = toml_value(&defaults.$name);
                            out.push_str(&format!("# {} = {value}\n", stringify!($name)));
                        }
                    }
                )*
                out
            }
        }

        /// Limits, intervals and timeouts in force.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Limits {
            $( $(#[doc = $doc])* pub $name: $type, )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $( $name: $default, )* }
            }
        }

        impl Tuning {
            /// These values where given, else those of `other`.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $( $name: self.$name.or(other.$name), )* }
            }

            /// These values where given, else the defaults.
            #[must_use]
            pub fn limits(&self) -> Limits {
                let default = Limits::default();
                Limits { $( $name: self.$name.unwrap_or(default.$name), )* }
            }
        }
    };
}

settings! {
    /// How often a served group's link is read to find our own entry
    watch_interval "CHAT_RELAY_WATCH_INTERVAL": Duration = Duration::from_ms(constants::LINK_CHECK_MS),
    /// Up to this much is added to each interval at random, so that groups are not read in step
    watch_jitter "CHAT_RELAY_WATCH_JITTER": Duration = Duration::from_seconds(3 * 60),
    /// After a read that does not list us, and while we wait to be listed, the next read comes this much later
    watch_confirm_after "CHAT_RELAY_WATCH_CONFIRM_AFTER": Duration = Duration::from_ms(constants::LINK_RECHECK_MS),
    /// How long a relay that is not listed any more waits to be listed again, and how long the connections of a group
    /// that has ended are kept for what is still to be delivered
    inactive_ttl "CHAT_RELAY_INACTIVE_TTL": Duration = Duration::from_ms(constants::INACTIVE_TTL_MS),
    /// How long an accepted group may stay unlisted before it is dropped
    unlisted_ttl "CHAT_RELAY_UNLISTED_TTL": Duration = Duration::from_ms(constants::LISTING_WAIT_MS_MAX),
    /// First pause between tries of an owner's invitation; doubles with each try
    invitation_retry_first "CHAT_RELAY_INVITATION_RETRY_FIRST": Duration = Duration::from_ms(constants::REQUEST_RETRY_MS_MIN),
    /// Longest pause between tries of an invitation
    invitation_retry_max "CHAT_RELAY_INVITATION_RETRY_MAX": Duration = Duration::from_ms(constants::REQUEST_RETRY_MS_MAX),
    /// An invitation that was tried often expires when the group link could not be read for this long
    invitation_age_min "CHAT_RELAY_INVITATION_AGE_MIN": Duration = Duration::from_ms(constants::REQUEST_AGE_MS_MAX),
    /// Group links being read at one time; more wait
    reads_at_once "CHAT_RELAY_READS_AT_ONCE": u32 = 64,
    /// How long a refused peer has to fetch its answer before the connection is deleted
    refusal_ttl "CHAT_RELAY_REFUSAL_TTL": Duration = Duration::from_seconds(3600),
    /// How long a joiner has to finish connecting before its place is given up
    joining_ttl "CHAT_RELAY_JOINING_TTL": Duration = Duration::from_seconds(86_400),
    /// Groups served at most; further invitations are refused
    groups_max "CHAT_RELAY_GROUPS_MAX": u32 = 10_000,
    /// Groups at most that owners invited us to and whose links were not read yet; further invitations are refused
    unread_groups_max "CHAT_RELAY_UNREAD_GROUPS_MAX": u32 = 1000,
    /// Whose groups are taken: `everyone`, `owners` (those on the list), or `codes` (by invitation code)
    access "CHAT_RELAY_ACCESS": Access = Access::Everyone,
    /// Groups of one owner or code at most; 0 for any number
    owner_groups_max "CHAT_RELAY_OWNER_GROUPS_MAX": u32 = 0,
    /// Members in all groups of one owner or code at most; 0 for any number
    owner_members_max "CHAT_RELAY_OWNER_MEMBERS_MAX": u32 = 0,
    /// Messages in all groups of one owner or code on one day (UTC); 0 for any number
    owner_messages_per_day "CHAT_RELAY_OWNER_MESSAGES_PER_DAY": u64 = 0,
    /// Bytes of messages in all groups of one owner or code on one day; 0 for any number
    owner_bytes_per_day "CHAT_RELAY_OWNER_BYTES_PER_DAY": u64 = 0,
    /// Members of all groups at most; 0 for any number
    total_members_max "CHAT_RELAY_TOTAL_MEMBERS_MAX": u32 = 0,
    /// Messages of all groups on one day; 0 for any number
    total_messages_per_day "CHAT_RELAY_TOTAL_MESSAGES_PER_DAY": u64 = 0,
    /// Bytes of all groups' messages on one day; 0 for any number
    total_bytes_per_day "CHAT_RELAY_TOTAL_BYTES_PER_DAY": u64 = 0,
    /// Messages of one member in a minute, also at once; owners are not bound by it; 0 for any number
    member_messages_per_minute "CHAT_RELAY_MEMBER_MESSAGES_PER_MINUTE": u32 = 120,
    /// Messages of all members of one group in a minute, also at once; owners are not bound by it; 0 for any number
    group_messages_per_minute "CHAT_RELAY_GROUP_MESSAGES_PER_MINUTE": u32 = 6000,
    /// Requests to join one group in a minute, also at once; further ones are left unanswered; 0 for any number
    group_joins_per_minute "CHAT_RELAY_GROUP_JOINS_PER_MINUTE": u32 = 6000,
    /// How long `ctl drain` waits for what is being handed out
    drain_timeout "CHAT_RELAY_DRAIN_TIMEOUT": Duration = Duration::from_seconds(30),
    /// Members of one group at most; further joiners are refused
    members_max "CHAT_RELAY_MEMBERS_MAX": u32 = 100_000,
    /// People of one group at most who have not joined here and of whom rulings, rosters or history tell; what is said
    /// about further ones is not kept
    strangers_max "CHAT_RELAY_STRANGERS_MAX": u32 = 10_000,
    /// Joiners of one group at most who wait for a moderator; further ones are refused
    knocks_max "CHAT_RELAY_KNOCKS_MAX": u32 = 200,
    /// How long a joiner waits for a moderator before the request lapses
    knock_ttl "CHAT_RELAY_KNOCK_TTL": Duration = Duration::from_seconds(14 * 86_400),
    /// Newest messages handed to a joiner
    history_items "CHAT_RELAY_HISTORY_ITEMS": u32 = 100,
    /// Newest messages of one group that are kept and given as history at most, whatever its owner wants
    history_items_max "CHAT_RELAY_HISTORY_ITEMS_MAX": u32 = 10_000,
    /// How long a message outside of the history is kept, to recognise repeats of it
    message_retention "CHAT_RELAY_MESSAGE_RETENTION": Duration = Duration::from_seconds(30 * 86_400),
    /// Members that one delivery step serves in one transaction
    page_members "CHAT_RELAY_PAGE_MEMBERS": u32 = 200,
    /// Messages that may wait for one member; content beyond them is passed over, and asked of the history when it resumes
    member_backlog_max "CHAT_RELAY_MEMBER_BACKLOG_MAX": u32 = 1000,
    /// How long a server has to accept a connection, hellos included
    connect_timeout "CHAT_RELAY_CONNECT_TIMEOUT": Duration = Duration::from_seconds(45),
    /// How long a server has to answer a command
    answer_timeout "CHAT_RELAY_ANSWER_TIMEOUT": Duration = Duration::from_seconds(30),
    /// A connection on which commands are not answered is made anew when nothing was heard of its server for this long
    silence_timeout "CHAT_RELAY_SILENCE_TIMEOUT": Duration = Duration::from_seconds(15 * 60),
    /// How often finished work and old messages are cleared away
    cleaning_interval "CHAT_RELAY_CLEANING_INTERVAL": Duration = Duration::from_seconds(30 * 60),
}

impl Limits {
    /// How patient the life cycle of a served group is.
    #[must_use]
    pub fn pace(&self) -> RelayPace {
        RelayPace {
            retry_ms_min: self.invitation_retry_first.ms(),
            retry_ms_max: self.invitation_retry_max.ms(),
            request_age_ms_max: self.invitation_age_min.ms(),
            link_check_ms: self.watch_interval.ms(),
            link_recheck_ms: self.watch_confirm_after.ms(),
            listing_wait_ms_max: self.unlisted_ttl.ms(),
            inactive_ttl_ms: self.inactive_ttl.ms(),
        }
    }
}

/// The names and the server of a relay, and its tuning: what `relay.toml` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Queue server on which this relay makes its queues, `smp://fingerprint[:password]@host[:port]`.
    pub server: Option<String>,
    /// File that holds the server's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_password_file: Option<PathBuf>,
    /// The name that owners and members see.
    pub display_name: Option<String>,
    /// A sentence about the relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The role that joiners get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joiner_role: Option<JoinerRole>,
    /// Where monitoring is answered, such as 127.0.0.1:9224.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring_http: Option<SocketAddr>,
    /// Whether hosts of servers stand in labels of metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring_servers: Option<bool>,
    /// How many groups stand in labels of metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring_groups: Option<u32>,
    /// Where the state is.
    #[serde(skip_serializing_if = "StoreConfig::is_empty")]
    pub store: StoreConfig,
    /// The way to servers.
    #[serde(skip_serializing_if = "NetworkConfig::is_empty")]
    pub network: NetworkConfig,
    /// Limits, intervals and timeouts that differ from the defaults.
    pub tuning: Tuning,
}

/// The same settings as flags and environment variables.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Queue server on which this relay makes its queues, `smp://fingerprint@host[:port]`; its password goes into
    /// a file (--server-password-file)
    #[arg(long, env = "CHAT_RELAY_SERVER", value_name = "ADDRESS")]
    pub server: Option<String>,
    /// File that holds the server's password for new queues
    #[arg(long, env = "CHAT_RELAY_SERVER_PASSWORD_FILE", value_name = "FILE")]
    pub server_password_file: Option<PathBuf>,
    /// The name that owners and members see
    #[arg(long, env = "CHAT_RELAY_DISPLAY_NAME", value_name = "NAME")]
    pub display_name: Option<String>,
    /// A sentence about the relay, shown with its name
    #[arg(long, env = "CHAT_RELAY_DESCRIPTION", value_name = "TEXT")]
    pub description: Option<String>,
    /// The role that joiners get [default: observer in channels, member in groups]
    #[arg(long, env = "CHAT_RELAY_JOINER_ROLE", value_name = "ROLE")]
    pub joiner_role: Option<JoinerRole>,
    /// Where /metrics, /health and /ready are answered, such as 127.0.0.1:9224; nowhere when absent
    #[arg(long, env = "CHAT_RELAY_MONITORING_HTTP", value_name = "ADDRESS")]
    pub monitoring_http: Option<SocketAddr>,
    /// Whether hosts of servers stand in labels of metrics: `true` or `false` [default: false]
    #[arg(long, env = "CHAT_RELAY_MONITORING_SERVERS", value_name = "SWITCH")]
    pub monitoring_servers: Option<bool>,
    /// So many groups, the largest, stand in labels of metrics, by the numbers of `ctl groups`; up to 1000 [default: 0]
    #[arg(long, env = "CHAT_RELAY_MONITORING_GROUPS", value_name = "COUNT")]
    pub monitoring_groups: Option<u32>,
    /// Where the state is.
    #[command(flatten)]
    pub store: StoreConfig,
    /// The way to servers.
    #[command(flatten)]
    pub network: NetworkConfig,
    /// Limits, intervals and timeouts.
    #[command(flatten)]
    pub tuning: Tuning,
}

impl ConfigArgs {
    /// The flags over what a file says. A password in `--server` is refused: arguments are seen by every process.
    ///
    /// # Errors
    /// [`CommandError::Setting`].
    pub fn over(self, file: ConfigFile) -> Result<ConfigFile, CommandError> {
        if self.server.as_deref().is_some_and(has_password) {
            return Err(CommandError::Setting {
                name: "server",
                reason:
                    "must hold no password on the command line or in the environment: put it into a file \
                         and name that with --server-password-file"
                        .to_owned(),
            });
        }
        Ok(ConfigFile {
            server: self.server.or(file.server),
            server_password_file: self.server_password_file.or(file.server_password_file),
            display_name: self.display_name.or(file.display_name),
            description: self.description.or(file.description),
            joiner_role: self.joiner_role.or(file.joiner_role),
            monitoring_http: self.monitoring_http.or(file.monitoring_http),
            monitoring_servers: self.monitoring_servers.or(file.monitoring_servers),
            monitoring_groups: self.monitoring_groups.or(file.monitoring_groups),
            store: self.store.or(file.store),
            network: self.network.or(file.network),
            tuning: self.tuning.or(file.tuning),
        })
    }
}

/// Whether an address carries a password: a colon before its `@`.
fn has_password(address: &str) -> bool {
    let identity = address.strip_prefix("smp://").unwrap_or(address);
    identity.split_once('@').is_some_and(|(identity, _)| identity.contains(':'))
}

impl ConfigFile {
    /// Reads the file of a directory.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML or names a setting that does not exist.
    pub fn read(directory: &Directory) -> anyhow::Result<Self> {
        let path = directory.config();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("Unable to read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("Unable to use {}: correct it", path.display()))
    }

    /// The text of the file: what is given, and the defaults as comments.
    ///
    /// # Errors
    /// Never for these types; kept because the format could refuse.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        let given = toml::Table::try_from(self).context("Unable to write the configuration as TOML")?;
        let mut out = FILE_HEAD.to_owned();
        describe(&NAMES, Some(&given), &mut out);
        out.push_str("\n[store]\n");
        describe(&STORE, given.get("store").and_then(toml::Value::as_table), &mut out);
        out.push_str("\n[network]\n");
        describe(&NETWORK, given.get("network").and_then(toml::Value::as_table), &mut out);
        out.push_str(&self.tuning.describe());
        Ok(out)
    }

    /// Checks what was given and fills in the defaults.
    ///
    /// # Errors
    /// [`CommandError::Setting`] naming what is missing or wrong, and when the password file cannot be read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let missing =
            |name, example: &str| CommandError::Setting { name, reason: format!("is missing, {example}") };
        let server = self
            .server
            .clone()
            .ok_or_else(|| missing("server", "like smp://fingerprint@host as `smp-server init` prints it"))?;
        let display_name =
            self.display_name.clone().ok_or_else(|| missing("display_name", "like \"relay one\""))?;
        check_text("display_name", &display_name)?;
        if let Some(description) = &self.description {
            check_text("description", description)?;
        }
        let limits = self.tuning.limits();
        check_limits(&limits)?;
        self.store.check()?;
        if self.monitoring_groups.is_some_and(|groups| groups > GROUPS_SHOWN_MAX) {
            let reason =
                format!("must be at most {GROUPS_SHOWN_MAX}: each group is a series of several metrics");
            return Err(CommandError::Setting { name: "monitoring_groups", reason }.into());
        }
        Ok(Settings {
            server,
            server_password: self.server_password_file.as_deref().map(read_password).transpose()?,
            display_name,
            description: self.description.clone(),
            joiner_role: self.joiner_role,
            monitoring_http: self.monitoring_http,
            monitoring_labels: Labels {
                servers: self.monitoring_servers.unwrap_or(false),
                groups: self.monitoring_groups.unwrap_or(0),
            },
            store: self.store.clone(),
            network: self.network.clone(),
            limits,
        })
    }
}

/// What the relay runs with.
#[derive(Clone)]
pub struct Settings {
    /// As in [`ConfigFile::server`].
    pub server: String,
    /// Read from the password file.
    pub server_password: Option<String>,
    /// As in [`ConfigFile::display_name`].
    pub display_name: String,
    /// As in [`ConfigFile::description`].
    pub description: Option<String>,
    /// As in [`ConfigFile::joiner_role`].
    pub joiner_role: Option<JoinerRole>,
    /// As in [`ConfigFile::monitoring_http`].
    pub monitoring_http: Option<SocketAddr>,
    /// Which labels metrics have besides.
    pub monitoring_labels: Labels,
    /// Where the state is.
    pub store: StoreConfig,
    /// The way to servers.
    pub network: NetworkConfig,
    /// Limits, intervals and timeouts.
    pub limits: Limits,
}

/// Settings as they stand in the file: what is given, and an example of everything else as a comment.
fn describe(settings: &[(&str, &str, &str)], given: Option<&toml::Table>, out: &mut String) {
    for (name, about, example) in settings {
        let value = given.and_then(|given| given.get(*name));
        let line = value.map_or_else(|| format!("# {name} = {example}"), |value| format!("{name} = {value}"));
        out.push_str(&format!("# {about}\n{line}\n"));
    }
}

/// A value as TOML writes it.
fn toml_value(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}

fn read_password(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("Unable to read the server's password from {}", path.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn check_text(name: &'static str, text: &str) -> Result<(), CommandError> {
    let reason = if text.trim().is_empty() {
        "must not be empty"
    } else if text.len() > PROFILE_TEXT_BYTES_MAX {
        "is longer than 512 bytes: shorten it"
    } else if text.chars().any(char::is_control) {
        "must not hold line breaks or control characters"
    } else {
        return Ok(());
    };
    Err(CommandError::Setting { name, reason: reason.to_owned() })
}

fn check_limits(limits: &Limits) -> Result<(), CommandError> {
    let counts = [
        ("groups_max", limits.groups_max),
        ("unread_groups_max", limits.unread_groups_max),
        ("members_max", limits.members_max),
        ("page_members", limits.page_members),
        ("member_backlog_max", limits.member_backlog_max),
        ("reads_at_once", limits.reads_at_once),
    ];
    let intervals = [
        ("watch_interval", limits.watch_interval),
        ("invitation_retry_first", limits.invitation_retry_first),
        ("cleaning_interval", limits.cleaning_interval),
        ("connect_timeout", limits.connect_timeout),
        ("answer_timeout", limits.answer_timeout),
        ("silence_timeout", limits.silence_timeout),
    ];
    let zero = counts.into_iter().find(|(_, count)| *count == 0).map(|(name, _)| name);
    let zero =
        zero.or_else(|| intervals.into_iter().find(|(_, length)| length.ms() == 0).map(|(name, _)| name));
    match zero {
        None => Ok(()),
        Some(name) => Err(CommandError::Setting { name, reason: "must be above zero".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ConfigFile {
        ConfigFile {
            server: Some("smp://fingerprint@localhost".to_owned()),
            display_name: Some("relay one".to_owned()),
            ..ConfigFile::default()
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let mut file = file();
        file.tuning.history_items = Some(7);
        file.tuning.page_members = Some(8);
        let tuning = Tuning { page_members: Some(9), ..Tuning::default() };
        let args = ConfigArgs { tuning, ..ConfigArgs::default() };
        let limits = args.over(file).unwrap().settings().unwrap().limits;
        assert_eq!((limits.history_items, limits.page_members, limits.members_max), (7, 9, 100_000));
    }

    #[test]
    fn the_file_reads_back_as_written() {
        let mut file = file();
        file.tuning.watch_interval = Some("2s".parse().unwrap());
        file.joiner_role = Some(JoinerRole::Member);
        let text = file.to_toml().unwrap();
        assert_eq!(toml::from_str::<ConfigFile>(&text).unwrap(), file);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(toml::from_str::<ConfigFile>("displayname = \"x\"").is_err());
        assert!(toml::from_str::<ConfigFile>("[tuning]\nwatch = \"1s\"").is_err());
    }

    #[test]
    fn a_password_on_the_command_line_is_refused() {
        let args = ConfigArgs { server: Some("smp://abc:secret@localhost".to_owned()), ..Default::default() };
        assert!(args.over(ConfigFile::default()).is_err());
        let args = ConfigArgs { server: Some("smp://abc@localhost:5223".to_owned()), ..Default::default() };
        args.over(ConfigFile::default()).unwrap();
    }

    #[test]
    fn useless_values_are_named() {
        let mut zero = file();
        zero.tuning.page_members = Some(0);
        assert!(zero.settings().err().unwrap().to_string().contains("page_members"));
        let nameless = ConfigFile { display_name: Some(" ".to_owned()), ..file() };
        assert!(nameless.settings().err().unwrap().to_string().contains("display_name"));
        let many = ConfigFile { monitoring_groups: Some(GROUPS_SHOWN_MAX + 1), ..file() };
        assert!(many.settings().err().unwrap().to_string().contains("monitoring_groups"));
        let some = ConfigFile { monitoring_groups: Some(20), ..file() };
        assert_eq!(some.settings().unwrap().monitoring_labels.groups, 20);
    }
}
