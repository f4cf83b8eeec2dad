//! Settings: flags over environment over file over defaults.
//!
//! ```text
//! --message-ttl 1s   ▷   SMP_SERVER_MESSAGE_TTL=1s   ▷   [times] message_ttl = "1s"   ▷   21d
//! ```
//!
//! Each section is written once, by `section!`: from it come the flag with its manual, the variable, the key of
//! the file, the default and the commented example. Unknown keys of the file are refused.

mod value;
mod way_out;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use protocol::version::VersionRange;
use serde::Deserialize;

use crate::error::CommandError;

pub use value::{Endpoint, Hosts, Period, Ports, Switch, ValueError};
pub use way_out::{PreferredHosts, PrivateDestinations, SocksAt, SocksHosts};

/// The versions of the protocol that this server can speak.
pub const SUPPORTED_VERSIONS: VersionRange = VersionRange::new(15, 18).expect("15 is below 18");

/// Defines one section: its settings, its layer of options, and how layers become settings.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $section:ident / $layer:ident in $heading:literal {
            $( $(#[doc = $doc:literal])+ $field:ident ($flag:literal, $variable:literal): $type:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $section { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Default for $section {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        $(#[doc = $about])+
        #[derive(Debug, Clone, Default, Deserialize, clap::Args)]
        #[serde(deny_unknown_fields, default)]
        pub struct $layer {
            $( $(#[doc = $doc])+ #[arg(long = $flag, env = $variable, value_name = "VALUE", help_heading = $heading)]
               pub $field: Option<$type>, )+
        }

        impl $layer {
            /// This layer, and `lower` where it says nothing.
            fn over(self, lower: Self) -> Self {
                Self { $( $field: self.$field.or(lower.$field), )+ }
            }

            /// The settings, defaults where no layer said anything.
            fn settle(self) -> $section {
                let defaults = $section::default();
                $section { $( $field: self.$field.unwrap_or(defaults.$field), )+ }
            }

            /// Each setting's name and what holds when nothing is said, for the manual.
            fn defaults() -> Vec<(&'static str, String)> {
                let defaults = $section::default();
                vec![ $( (stringify!($field), defaults.$field.toml().trim_matches('"').to_owned()), )+ ]
            }

            /// The section as it stands in the commented example, with `self`'s values set.
            fn describe(&self, name: &str, out: &mut String) {
                let defaults = $section::default();
                out.push_str(&format!("\n[{name}]\n"));
                $(
                    $( out.push_str(&format!("#{}\n", $doc)); )+
                    match &self.$field {
                        Some(value) => out.push_str(&format!("{} = {}\n", stringify!($field), value.toml())),
                        None => out.push_str(&format!("# {} = {}\n", stringify!($field), defaults.$field.toml())),
                    }
                )+
            }
        }
    };
}

section! {
    /// Where the server listens and how it is found.
    Listen / ListenLayer in "Listening" {
        /// Address to listen at. `::` is every address, of IPv4 too.
        bind ("bind", "SMP_SERVER_BIND"): IpAddr = IpAddr::from([0u16; 8]),
        /// Ports to listen at, joined by commas. 0 takes a free one and prints it.
        ports ("port", "SMP_SERVER_PORT"): Ports = Ports(vec![5223]),
        /// Names or addresses by which clients find the server, joined by commas. Printed in its address.
        hosts ("host", "SMP_SERVER_HOST"): Hosts = "localhost".parse().expect("a host name"),
        /// Versions of the protocol to offer, within 15-18.
        versions ("versions", "SMP_SERVER_VERSIONS"): Versions = Versions(SUPPORTED_VERSIONS),
    }
}

section! {
    /// Who the server is: PEM files, relative to its directory.
    Identity / IdentityLayer in "Identity" {
        /// Certificates, the server's own first, the identity (CA) certificate after it.
        certificate_chain ("certificate-chain", "SMP_SERVER_CERTIFICATE_CHAIN"): FilePath = "server.crt".into(),
        /// Private key of the server's own certificate: Ed25519 or Ed448, PKCS#8.
        private_key ("private-key", "SMP_SERVER_PRIVATE_KEY"): FilePath = "server.key".into(),
    }
}

section! {
    /// Who may create queues.
    Access / AccessLayer in "Access" {
        /// Whether new queues can be created.
        new_queues ("new-queues", "SMP_SERVER_NEW_QUEUES"): Switch = Switch(true),
        /// File with the password for creating queues, relative to the directory; empty for no password. The variable SMP_SERVER_CREATE_PASSWORD gives the password itself and wins.
        create_password_file ("create-password-file", "SMP_SERVER_CREATE_PASSWORD_FILE"): FilePath = "".into(),
        /// Whether clients with certificates may be services: programs that take back all their queues at once.
        accept_service_credentials ("accept-service-credentials", "SMP_SERVER_ACCEPT_SERVICE_CREDENTIALS"): Switch = Switch(true),
    }
}

section! {
    /// Bounds of what the server holds and does.
    Limits / LimitsLayer in "Limits" {
        /// Messages that a queue holds before its senders are told to wait.
        queue_quota ("queue-quota", "SMP_SERVER_QUEUE_QUOTA"): u32 = 128,
        /// Notifications that wait for one notifier; the oldest gives way to a further one.
        notifier_quota ("notifier-quota", "SMP_SERVER_NOTIFIER_QUOTA"): u32 = 128,
        /// Notifications that wait for all notifiers; further ones are left out. Each takes about 100 bytes of memory.
        notifications ("notifications", "SMP_SERVER_NOTIFICATIONS"): u32 = 1_000_000,
        /// Queues that the operator may block on one day (UTC); 0 for none.
        blocks_per_day ("blocks-per-day", "SMP_SERVER_BLOCKS_PER_DAY"): u32 = 20,
        /// Blocks that wait in each direction of a connection.
        connection_blocks ("connection-blocks", "SMP_SERVER_CONNECTION_BLOCKS"): u32 = 128,
        /// Commands of one connection that are in progress at a time.
        connection_commands ("connection-commands", "SMP_SERVER_CONNECTION_COMMANDS"): u32 = 1024,
        /// Queues that one connection may subscribe.
        connection_subscriptions ("connection-subscriptions", "SMP_SERVER_CONNECTION_SUBSCRIPTIONS"): u32 = 1_000_000,
        /// Connections at a time; further ones are closed at once.
        connections ("connections", "SMP_SERVER_CONNECTIONS"): u32 = 10_000,
        /// Connections of one address (IPv4, or /64 of IPv6) at a time; further ones are closed at once. 0 for no limit, as in what follows.
        address_connections ("address-connections", "SMP_SERVER_ADDRESS_CONNECTIONS"): u32 = 2000,
        /// Connections without a session at a time; the oldest gives way to a further one.
        handshakes ("handshakes", "SMP_SERVER_HANDSHAKES"): u32 = 6000,
        /// The same of one address; further ones are closed at once.
        address_handshakes ("address-handshakes", "SMP_SERVER_ADDRESS_HANDSHAKES"): u32 = 500,
        /// New connections per second, five seconds' worth at once; further ones wait to be accepted.
        handshakes_per_second ("handshakes-per-second", "SMP_SERVER_HANDSHAKES_PER_SECOND"): u32 = 4000,
        /// The same of one address; further ones are closed at once.
        address_handshakes_per_second ("address-handshakes-per-second", "SMP_SERVER_ADDRESS_HANDSHAKES_PER_SECOND"): u32 = 200,
        /// Commands per second, five seconds' worth at once; connections that send faster are read more slowly.
        commands_per_second ("commands-per-second", "SMP_SERVER_COMMANDS_PER_SECOND"): u32 = 200_000,
        /// The same of one address.
        address_commands_per_second ("address-commands-per-second", "SMP_SERVER_ADDRESS_COMMANDS_PER_SECOND"): u32 = 20_000,
        /// New queues per minute, a minute's worth at once; connections that make more are read more slowly.
        queues_per_minute ("queues-per-minute", "SMP_SERVER_QUEUES_PER_MINUTE"): u32 = 600_000,
        /// The same of one address.
        address_queues_per_minute ("address-queues-per-minute", "SMP_SERVER_ADDRESS_QUEUES_PER_MINUTE"): u32 = 6000,
        /// Mebibytes per second, five seconds' worth at once; connections that send faster are read more slowly.
        mib_per_second ("mib-per-second", "SMP_SERVER_MIB_PER_SECOND"): u32 = 0,
        /// The same of one address.
        address_mib_per_second ("address-mib-per-second", "SMP_SERVER_ADDRESS_MIB_PER_SECOND"): u32 = 100,
        /// Whether this machine counts as an address: with a Tor service or a proxy in front of the server everybody comes from here.
        limit_loopback ("limit-loopback", "SMP_SERVER_LIMIT_LOOPBACK"): Switch = Switch(false),
        /// Mebibytes that the server's files may take; then senders are told to wait.
        stored_mib ("stored-mib", "SMP_SERVER_STORED_MIB"): u32 = 0,
        /// Mebibytes that stay free on the disk; then senders are told to wait.
        free_mib ("free-mib", "SMP_SERVER_FREE_MIB"): u32 = 256,
        /// Mebibytes of memory for connections and what is on its way; then no connection is taken and none read, and those that hold most are closed. 0 for three quarters of the machine's.
        memory_mib ("memory-mib", "SMP_SERVER_MEMORY_MIB"): u32 = 0,
    }
}

section! {
    /// Where queues and messages are kept.
    Storage / StorageLayer in "Storage" {
        /// `embedded`: in the directory, durable. `postgres`: in a PostgreSQL server, which several servers of one address may share. `memory`: gone when the server stops, for tests.
        engine ("store", "SMP_SERVER_STORE"): Engine = Engine::Embedded,
        /// File with the connection string of PostgreSQL, relative to the directory, like `host=/run/postgresql dbname=smp`. The variable SMP_SERVER_POSTGRES gives the string itself and wins.
        postgres_connection_file ("postgres-connection-file", "SMP_SERVER_POSTGRES_CONNECTION_FILE"): FilePath = "postgres".into(),
        /// How long other servers on the same PostgreSQL wait for a sign of this one before they forget it.
        node_lease ("node-lease", "SMP_SERVER_NODE_LEASE"): Period = Period::seconds(15),
        /// How long to wait for PostgreSQL to answer a connection or for other servers on it to finish a commit.
        postgres_patience ("postgres-patience", "SMP_SERVER_POSTGRES_PATIENCE"): Period = Period::seconds(10),
        /// Changes that share one write to disk.
        commit_steps ("commit-steps", "SMP_SERVER_COMMIT_STEPS"): u32 = 256,
        /// Changes that wait to be written; then connections wait.
        waiting_steps ("waiting-steps", "SMP_SERVER_WAITING_STEPS"): u32 = 4096,
        /// Whether notifications that wait are kept over a stop, in the directory. A server that is killed forgets them.
        save_notifications ("save-notifications", "SMP_SERVER_SAVE_NOTIFICATIONS"): Switch = Switch(true),
        /// Threads that read stored queues.
        readers ("store-readers", "SMP_SERVER_STORE_READERS"): u32 = 2,
        /// Size of a file of the message log, in MiB. Room for it is reserved at once.
        segment_mib ("segment-mib", "SMP_SERVER_SEGMENT_MIB"): u32 = 64,
        /// Files of the message log that are kept open for reading.
        open_segments ("open-segments", "SMP_SERVER_OPEN_SEGMENTS"): u32 = 128,
        /// Records of queues that are kept in memory, about 500 bytes each; 0 for none.
        cached_records ("cached-records", "SMP_SERVER_CACHED_RECORDS"): u32 = 65_536,
    }
}

section! {
    /// Lifetimes, intervals and time limits, with their unit: 500ms, 15s, 10m, 2h, 21d.
    Times / TimesLayer in "Times" {
        /// How long a message waits for its recipient.
        message_ttl ("message-ttl", "SMP_SERVER_MESSAGE_TTL"): Period = Period::hours(21 * 24),
        /// How often expired messages are removed.
        expiry_interval ("expiry-interval", "SMP_SERVER_EXPIRY_INTERVAL"): Period = Period::hours(2),
        /// Whether expired messages are removed when the server starts.
        expire_on_start ("expire-on-start", "SMP_SERVER_EXPIRE_ON_START"): Switch = Switch(true),
        /// Whether each sending removes the queue's expired messages first.
        expire_on_send ("expire-on-send", "SMP_SERVER_EXPIRE_ON_SEND"): Switch = Switch(false),
        /// How long a notification waits for its notifier.
        notification_ttl ("notification-ttl", "SMP_SERVER_NOTIFICATION_TTL"): Period = Period::hours(24),
        /// How often expired notifications are removed.
        notification_expiry_interval ("notification-expiry-interval", "SMP_SERVER_NOTIFICATION_EXPIRY_INTERVAL"): Period = Period::hours(1),
        /// How long notifications are collected before their notifiers are told.
        notification_interval ("notification-interval", "SMP_SERVER_NOTIFICATION_INTERVAL"): Period = Period::ms(1500),
        /// How long the news that a subscription moved (END) or a queue is deleted (DELD) are collected.
        event_interval ("event-interval", "SMP_SERVER_EVENT_INTERVAL"): Period = Period::seconds(15),
        /// Whether silent connections without subscriptions are closed.
        disconnect_inactive ("disconnect-inactive", "SMP_SERVER_DISCONNECT_INACTIVE"): Switch = Switch(true),
        /// Silence after which such a connection is closed.
        inactive_ttl ("inactive-ttl", "SMP_SERVER_INACTIVE_TTL"): Period = Period::hours(6),
        /// How often such connections are looked for.
        inactive_interval ("inactive-interval", "SMP_SERVER_INACTIVE_INTERVAL"): Period = Period::hours(1),
        /// Time limit of setting up TLS.
        tls_timeout ("tls-timeout", "SMP_SERVER_TLS_TIMEOUT"): Period = Period::seconds(60),
        /// Time limit of the hellos.
        handshake_timeout ("handshake-timeout", "SMP_SERVER_HANDSHAKE_TIMEOUT"): Period = Period::seconds(120),
        /// Time limit of one block's way to a slow peer.
        write_timeout ("write-timeout", "SMP_SERVER_WRITE_TIMEOUT"): Period = Period::seconds(120),
        /// Time limit of one block's way from a slow peer, once it has begun.
        read_timeout ("read-timeout", "SMP_SERVER_READ_TIMEOUT"): Period = Period::seconds(120),
        /// Longest wait of a connection that exceeds a rate; beyond that it is closed.
        limit_wait ("limit-wait", "SMP_SERVER_LIMIT_WAIT"): Period = Period::seconds(30),
        /// How often room on disk and in memory is looked at.
        room_interval ("room-interval", "SMP_SERVER_ROOM_INTERVAL"): Period = Period::seconds(1),
        /// Silence after which the system asks whether a peer is still there: a phone that vanished keeps its place and its subscriptions until then.
        keep_alive ("keep-alive", "SMP_SERVER_KEEP_ALIVE"): Period = Period::hours(1),
        /// Time that connections get to finish what they do when the server stops.
        stop_timeout ("stop-timeout", "SMP_SERVER_STOP_TIMEOUT"): Period = Period::seconds(10),
    }
}

section! {
    /// What operators see of the server.
    Monitoring / MonitoringLayer in "Monitoring" {
        /// Where /metrics (Prometheus), /health and /ready are served over plain HTTP, such as `127.0.0.1:9223`, or `off`. Whoever reaches it can read it: keep it on the loopback or a private network.
        http ("monitoring-http", "SMP_SERVER_MONITORING_HTTP"): Endpoint = Endpoint(None),
        /// Whether a line of statistics is logged each day at 00:00 UTC, and one when the server stops.
        daily_statistics ("daily-statistics", "SMP_SERVER_DAILY_STATISTICS"): Switch = Switch(true),
    }
}

section! {
    /// Private routing: forwarding commands of clients to other servers, which then do not see who sends.
    Forwarding / ForwardingLayer in "Private routing" {
        /// Whether this server forwards. Clients need the password for creating queues, if there is one.
        forward ("proxy", "SMP_SERVER_PROXY"): Switch = Switch(true),
        /// Commands of one client that are on their way to other servers at a time; further ones wait.
        client_concurrency ("proxy-client-concurrency", "SMP_SERVER_PROXY_CLIENT_CONCURRENCY"): u32 = 32,
        /// Servers that are connected to at a time; then those used least recently make room.
        destination_sessions ("proxy-destination-sessions", "SMP_SERVER_PROXY_DESTINATION_SESSIONS"): u32 = 1000,
        /// Time limit of connecting to another server.
        destination_connect_timeout ("proxy-connect-timeout", "SMP_SERVER_PROXY_CONNECT_TIMEOUT"): Period = Period::seconds(45),
        /// Time limit of another server's answer.
        destination_answer_timeout ("proxy-answer-timeout", "SMP_SERVER_PROXY_ANSWER_TIMEOUT"): Period = Period::seconds(30),
        /// How long a failed attempt to connect answers for the next ones.
        destination_failure_memory ("proxy-failure-memory", "SMP_SERVER_PROXY_FAILURE_MEMORY"): Period = Period::seconds(30),
        /// How long an unused connection with another server is kept.
        destination_idle ("proxy-idle", "SMP_SERVER_PROXY_IDLE"): Period = Period::seconds(10 * 60),
        /// Whether to connect to loopback and private addresses when clients ask for it: `auto` if this server is itself at such an address, else not; `on`; `off`. On a public server `on` lets strangers try the ports of its neighbours.
        private_destinations ("proxy-private-destinations", "SMP_SERVER_PROXY_PRIVATE_DESTINATIONS"): PrivateDestinations = PrivateDestinations::Auto,
        /// Which hosts of other servers are preferred: `public` or `onion`.
        host_mode ("proxy-host-mode", "SMP_SERVER_PROXY_HOST_MODE"): PreferredHosts = PreferredHosts::Public,
        /// Whether servers without such a host are refused.
        required_host_mode ("proxy-required-host-mode", "SMP_SERVER_PROXY_REQUIRED_HOST_MODE"): Switch = Switch(false),
        /// SOCKS5 proxy for connections with other servers, such as 127.0.0.1:9050; empty for none.
        socks_proxy ("socks-proxy", "SMP_SERVER_SOCKS_PROXY"): SocksAt = SocksAt(None),
        /// What is reached through the SOCKS proxy: `onion` hosts, or `always` all.
        socks_mode ("socks-mode", "SMP_SERVER_SOCKS_MODE"): SocksHosts = SocksHosts::Onion,
    }
}

/// Every setting, settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Where the server listens.
    pub listen: Listen,
    /// Who it is.
    pub identity: Identity,
    /// Who may create queues.
    pub access: Access,
    /// Bounds.
    pub limits: Limits,
    /// Where queues and messages are kept.
    pub storage: Storage,
    /// Lifetimes and time limits.
    pub times: Times,
    /// What operators see.
    pub monitoring: Monitoring,
    /// Private routing.
    pub proxy: Forwarding,
}

/// One layer of settings: the file, or flags and environment together.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsLayer {
    #[command(flatten)]
    listen: ListenLayer,
    #[command(flatten)]
    identity: IdentityLayer,
    #[command(flatten)]
    access: AccessLayer,
    #[command(flatten)]
    limits: LimitsLayer,
    #[command(flatten)]
    storage: StorageLayer,
    #[command(flatten)]
    times: TimesLayer,
    #[command(flatten)]
    monitoring: MonitoringLayer,
    #[command(flatten)]
    proxy: ForwardingLayer,
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

    /// This layer, and `lower` where it says nothing.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            listen: self.listen.over(lower.listen),
            identity: self.identity.over(lower.identity),
            access: self.access.over(lower.access),
            limits: self.limits.over(lower.limits),
            storage: self.storage.over(lower.storage),
            times: self.times.over(lower.times),
            monitoring: self.monitoring.over(lower.monitoring),
            proxy: self.proxy.over(lower.proxy),
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
        let settings = Settings {
            listen: self.listen.settle(),
            identity: self.identity.settle(),
            access: self.access.settle(),
            limits: self.limits.settle(),
            storage: self.storage.settle(),
            times: self.times.settle(),
            monitoring: self.monitoring.settle(),
            proxy: self.proxy.settle(),
        };
        settings.check()?;
        Ok(settings)
    }

    /// `command`, whose flags are these settings, with the defaults in its manual.
    #[must_use]
    pub fn teach_defaults(command: clap::Command) -> clap::Command {
        let sections = [
            ListenLayer::defaults(),
            IdentityLayer::defaults(),
            AccessLayer::defaults(),
            LimitsLayer::defaults(),
            StorageLayer::defaults(),
            TimesLayer::defaults(),
            MonitoringLayer::defaults(),
            ForwardingLayer::defaults(),
        ];
        sections.into_iter().flatten().filter(|(_, default)| !default.is_empty()).fold(
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
        self.listen.describe("listen", &mut out);
        self.identity.describe("identity", &mut out);
        self.access.describe("access", &mut out);
        self.limits.describe("limits", &mut out);
        self.storage.describe("storage", &mut out);
        self.times.describe("times", &mut out);
        self.monitoring.describe("monitoring", &mut out);
        self.proxy.describe("proxy", &mut out);
        out
    }
}

impl Settings {
    fn check(&self) -> anyhow::Result<()> {
        let (limits, storage) = (&self.limits, &self.storage);
        for (name, value) in [
            ("queue_quota", limits.queue_quota),
            ("notifier_quota", limits.notifier_quota),
            ("connection_blocks", limits.connection_blocks),
            ("connection_commands", limits.connection_commands),
            ("connection_subscriptions", limits.connection_subscriptions),
            ("connections", limits.connections),
            ("commit_steps", storage.commit_steps),
            ("waiting_steps", storage.waiting_steps),
            ("readers", storage.readers),
            ("segment_mib", storage.segment_mib),
            ("open_segments", storage.open_segments),
            ("client_concurrency", self.proxy.client_concurrency),
            ("destination_sessions", self.proxy.destination_sessions),
        ] {
            if value == 0 {
                return Err(zero(name, "1"));
            }
        }
        let times = &self.times;
        for (name, value) in [
            ("expiry_interval", times.expiry_interval),
            ("notification_expiry_interval", times.notification_expiry_interval),
            ("notification_interval", times.notification_interval),
            ("event_interval", times.event_interval),
            ("inactive_interval", times.inactive_interval),
            ("tls_timeout", times.tls_timeout),
            ("handshake_timeout", times.handshake_timeout),
            ("write_timeout", times.write_timeout),
            ("read_timeout", times.read_timeout),
            ("room_interval", times.room_interval),
            ("keep_alive", times.keep_alive),
            ("destination_connect_timeout", self.proxy.destination_connect_timeout),
            ("destination_answer_timeout", self.proxy.destination_answer_timeout),
            ("destination_idle", self.proxy.destination_idle),
            ("postgres_patience", storage.postgres_patience),
            ("node_lease", storage.node_lease),
        ] {
            if value.0.is_zero() {
                return Err(zero(name, "1ms"));
            }
        }
        Ok(())
    }
}

fn zero(name: &'static str, least: &str) -> anyhow::Error {
    CommandError::Setting { name, reason: format!("is 0: use at least {least}") }.into()
}

/// A range of protocol versions to offer, within [`SUPPORTED_VERSIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(pub VersionRange);

impl std::str::FromStr for Versions {
    type Err = UnsupportedVersions;

    fn from_str(text: &str) -> Result<Self, UnsupportedVersions> {
        let wrong = || UnsupportedVersions(text.to_owned());
        let range: VersionRange = text.parse().map_err(|_| wrong())?;
        if range.meet(SUPPORTED_VERSIONS) == Some(range) { Ok(Self(range)) } else { Err(wrong()) }
    }
}

/// Versions that this server cannot speak.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a range of versions within {SUPPORTED_VERSIONS}")]
pub struct UnsupportedVersions(String);

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What keeps queues and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Files in the server's directory.
    #[serde(alias = "sqlite")]
    #[value(alias = "sqlite")]
    Embedded,
    /// A PostgreSQL server.
    Postgres,
    /// Nothing but memory.
    Memory,
}

/// A path; relative ones start at the server's directory.
pub type FilePath = PathBuf;

/// How a value is written in the file.
trait Toml {
    fn toml(&self) -> String;
}

impl Toml for u32 {
    fn toml(&self) -> String {
        self.to_string()
    }
}

macro_rules! quoted {
    ($($type:ty: |$value:ident| $text:expr),* $(,)?) => {$(
        impl Toml for $type {
            fn toml(&self) -> String {
                let $value = self;
                toml::Value::String($text).to_string()
            }
        }
    )*};
}
quoted! {
    IpAddr: |value| value.to_string(),
    Ports: |value| value.to_string(),
    Hosts: |value| value.to_string(),
    Period: |value| value.to_string(),
    Switch: |value| value.to_string(),
    Endpoint: |value| value.to_string(),
    Versions: |value| value.0.to_string(),
    Engine: |value| match value {
        Engine::Embedded => "embedded".to_owned(),
        Engine::Postgres => "postgres".to_owned(),
        Engine::Memory => "memory".to_owned(),
    },
    FilePath: |value| value.display().to_string(),
    SocksAt: |value| value.to_string(),
    PrivateDestinations: |value| value.to_string(),
    PreferredHosts: |value| value.to_string(),
    SocksHosts: |value| value.to_string(),
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
