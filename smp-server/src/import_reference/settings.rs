//! What the settings of the reference server are called here.

use std::fmt;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

use super::ini::Ini;
use crate::config::SettingsLayer;
use crate::directory::CREATE_PASSWORD_FILE;

/// Where the reference server keeps what it stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stores {
    /// In memory only.
    Nowhere,
    /// Queues in the store log.
    Files(Messages),
    /// Queues in PostgreSQL.
    Database { connection: String, schema: String, messages: Messages },
}

/// Where it keeps messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    /// In memory, lost when it stops.
    Nowhere,
    /// In memory, written to a file when it stops.
    File,
    /// In journals.
    Journals,
    /// In PostgreSQL.
    Database,
}

/// What the settings become.
pub(super) struct Translated {
    pub(super) layer: SettingsLayer,
    pub(super) create_password: Option<String>,
    /// Keys without a counterpart, with what to do instead.
    pub(super) left: Vec<Left>,
}

/// A key without a counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Such as `[WEB] static_path`.
    pub key: String,
    /// What there is instead.
    pub instead: &'static str,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.instead)
    }
}

/// Where everything is stored.
pub(super) fn stores(ini: &Ini) -> anyhow::Result<Stores> {
    let enable = ini.switch("STORE_LOG", "enable")?.unwrap_or(false);
    let keeps = ini.switch("STORE_LOG", "restore_messages")?.unwrap_or(enable);
    let value = |key, absent| ini.get("STORE_LOG", key).unwrap_or(absent);
    let database = |messages| Stores::Database {
        connection: value("db_connection", "postgresql://smp@/smp_server_store").to_owned(),
        schema: value("db_schema", "smp_server").to_owned(),
        messages,
    };
    Ok(match (value("store_queues", "memory"), value("store_messages", "memory")) {
        ("memory", "memory") if !enable => Stores::Nowhere,
        ("memory", "memory") => Stores::Files(if keeps { Messages::File } else { Messages::Nowhere }),
        ("memory", "journal") => Stores::Files(Messages::Journals),
        ("database", "journal") => database(Messages::Journals),
        ("database", "database") => database(Messages::Database),
        (queues, messages) => bail!(
            "store_queues = {queues} with store_messages = {messages} is no pair that the reference server has"
        ),
    })
}

/// How a value is written here.
enum Form {
    Text,
    Number,
    /// With this unit.
    Period(&'static str),
}

/// Keys that have a counterpart of the same meaning: section, key, section here, key here, form.
const SAME: [(&str, &str, &str, &str, Form); 21] = [
    ("TRANSPORT", "host", "listen", "hosts", Form::Text),
    ("TRANSPORT", "port", "listen", "ports", Form::Text),
    ("TRANSPORT", "accept_service_credentials", "access", "accept_service_credentials", Form::Text),
    ("AUTH", "new_queues", "access", "new_queues", Form::Text),
    ("STORE_LOG", "expire_messages_days", "times", "message_ttl", Form::Period("d")),
    ("STORE_LOG", "expire_messages_on_start", "times", "expire_on_start", Form::Text),
    ("STORE_LOG", "expire_messages_on_send", "times", "expire_on_send", Form::Text),
    ("STORE_LOG", "expire_ntfs_hours", "times", "notification_ttl", Form::Period("h")),
    ("STORE_LOG", "log_stats", "monitoring", "daily_statistics", Form::Text),
    ("INACTIVE_CLIENTS", "disconnect", "times", "disconnect_inactive", Form::Text),
    ("INACTIVE_CLIENTS", "ttl", "times", "inactive_ttl", Form::Period("s")),
    ("INACTIVE_CLIENTS", "check_interval", "times", "inactive_interval", Form::Period("s")),
    ("PROXY", "host_mode", "proxy", "host_mode", Form::Text),
    ("PROXY", "required_host_mode", "proxy", "required_host_mode", Form::Text),
    ("PROXY", "socks_proxy", "proxy", "socks_proxy", Form::Text),
    ("PROXY", "socks_mode", "proxy", "socks_mode", Form::Text),
    ("PROXY", "client_concurrency", "proxy", "client_concurrency", Form::Number),
    ("WEB", "http", "web", "http", Form::Text),
    ("WEB", "https", "web", "https", Form::Text),
    ("WEB", "cert", "web", "certificate", Form::Text),
    ("WEB", "key", "web", "private_key", Form::Text),
];

/// What is said of a value that is none here.
const NOT_UNDERSTOOD: &str = "the value is not understood; see `example-config`";

/// Keys that say where the stores are, which `--store` says here.
const STORES: [&str; 8] = [
    "enable",
    "store_queues",
    "store_messages",
    "restore_messages",
    "db_connection",
    "db_schema",
    "db_pool_size",
    "db_store_log",
];

/// Translates the settings.
///
/// # Errors
/// When a value is none that the reference server takes.
pub(super) fn translate(ini: &Ini) -> anyhow::Result<Translated> {
    let mut layer = SettingsLayer::default();
    let mut information = SettingsLayer::default();
    // Without the source code the reference server says nothing of the others.
    let has_information = ini.get("INFORMATION", "source_code").is_some();
    let mut left = Vec::new();
    let mut create_password = None;
    for (section, key, value) in ini.entries() {
        let name = || format!("[{section}] {key}");
        if section == "STORE_LOG" && STORES.contains(&key) {
            continue;
        }
        if (section, key) == ("AUTH", "create_password") {
            create_password = Some(value.to_owned());
            layer = layer.with_create_password_file(CREATE_PASSWORD_FILE.into());
            continue;
        }
        if section == "INFORMATION" {
            match one_setting("information", key, Value::String(value.to_owned())) {
                _ if !has_information => {}
                Ok(one) => information = one.over(information),
                Err(_) => left.push(Left { key: name(), instead: NOT_UNDERSTOOD }),
            }
            continue;
        }
        let same = SAME.iter().find(|same| (same.0, same.1) == (section, key));
        let translated = match same {
            Some((_, _, ours, our_key, form)) => Some(setting(ours, our_key, form, value)),
            None if (section, key) == ("AUTH", "daily_block_queue_quota") => Some(blocks_per_day(value)),
            None => None,
        };
        match translated {
            Some(Ok(one)) => layer = one.over(layer),
            Some(Err(_)) => {
                left.push(Left { key: name(), instead: NOT_UNDERSTOOD });
            }
            None => left.push(Left { key: name(), instead: instead(section, key) }),
        }
    }
    let together = information.over(layer.clone());
    match together.clone().settle() {
        Ok(_) => layer = together,
        Err(_) => left.push(Left {
            key: "[INFORMATION]".to_owned(),
            instead: "its values do not fit each other; write what holds into the new settings",
        }),
    }
    // Without these keys the reference server does as if they were so.
    for (section, key, ours, our_key, absent) in [
        ("STORE_LOG", "expire_messages_on_send", "times", "expire_on_send", "on"),
        ("INACTIVE_CLIENTS", "disconnect", "times", "disconnect_inactive", "off"),
    ] {
        if ini.get(section, key).is_none() {
            layer = setting(ours, our_key, &Form::Text, absent)?.over(layer);
        }
    }
    Ok(Translated { layer, create_password, left })
}

/// A layer of one setting, if the value can be one.
fn setting(section: &str, key: &str, form: &Form, value: &str) -> anyhow::Result<SettingsLayer> {
    let value = match form {
        Form::Text => Value::String(value.to_owned()),
        Form::Number => Value::Integer(value.parse().context("No number")?),
        Form::Period(unit) => {
            let number: u32 = value.parse().context("No number")?;
            Value::String(format!("{number}{unit}"))
        }
    };
    let layer = one_setting(section, key, value)?;
    layer.clone().settle()?;
    Ok(layer)
}

/// A layer of one setting, which may want others beside it.
fn one_setting(section: &str, key: &str, value: Value) -> anyhow::Result<SettingsLayer> {
    let mut keys = Table::new();
    keys.insert(key.to_owned(), value);
    let mut sections = Table::new();
    sections.insert(section.to_owned(), Value::Table(keys));
    Ok(sections.try_into()?)
}

/// There 0 is no limit and -1 forbids; here 0 forbids.
fn blocks_per_day(value: &str) -> anyhow::Result<SettingsLayer> {
    let quota: i64 = value.parse().context("No number")?;
    let ours = match quota {
        0 => u32::MAX,
        quota if quota < 0 => 0,
        quota => u32::try_from(quota).unwrap_or(u32::MAX),
    };
    setting("limits", "blocks_per_day", &Form::Number, &ours.to_string())
}

/// What there is here in place of a key.
fn instead(section: &str, key: &str) -> &'static str {
    match (section, key) {
        ("STORE_LOG", "prometheus_interval") => "metrics are served over HTTP, see `monitoring.http`",
        ("STORE_LOG", "db_deleted_ttl") => "deleted queues are removed at once",
        ("AUTH", "control_port_admin_password" | "control_port_user_password")
        | ("TRANSPORT", "control_port") => {
            "`smp-server ctl` uses a socket in the directory, without passwords"
        }
        ("TRANSPORT", "websockets") => "there are no websockets",
        ("TRANSPORT", "log_tls_errors") => "run with `--log debug` to see why connections fail",
        ("PROXY", "own_server_domains") => "statistics do not tell own servers apart",
        ("WEB", "static_path") => "pages are made when they are asked for; own files are in `web.files`",
        _ => "it is not known here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str) -> Translated {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), text).unwrap();
        translate(&Ini::read(path.path()).unwrap()).unwrap()
    }

    #[test]
    fn what_has_a_counterpart_is_taken_and_the_rest_is_told() {
        let Translated { layer, create_password, left } = translated(
            "[STORE_LOG]\nenable = on\nexpire_messages_days = 7\nexpire_ntfs_hours = 5\nprometheus_interval = 60\n\
             [AUTH]\nnew_queues = off\ncreate_password = secret\ndaily_block_queue_quota = 0\n\
             [TRANSPORT]\nhost = smp.example.org,a.onion\nport = 5223,443\nwebsockets = off\n\
             [PROXY]\nsocks_proxy = localhost:9050\nclient_concurrency = many\n\
             [INACTIVE_CLIENTS]\nttl = 600\n[WEB]\nstatic_path = /x\nhttps = 443\ncert = /etc/web.crt\n\
             [INFORMATION]\nsource_code = https://example.org/code\noperator = We\nhosting_type = virtual\n\
             admin_email = nobody\n",
        );
        let settings = layer.settle().unwrap();
        assert_eq!(settings.times.message_ttl.to_string(), "7d");
        assert_eq!(settings.times.notification_ttl.to_string(), "5h");
        assert_eq!(settings.times.inactive_ttl.to_string(), "10m");
        assert!(!settings.access.new_queues.0 && !settings.times.disconnect_inactive.0);
        assert!(settings.times.expire_on_send.0, "the default of the reference server");
        assert_eq!(settings.limits.blocks_per_day, u32::MAX);
        assert_eq!(settings.listen.ports.0, [5223, 443]);
        assert_eq!(settings.proxy.socks_proxy.to_string(), "localhost:9050");
        assert_eq!((settings.web.https.to_string().as_str(), settings.web.http.0), ("443", None));
        assert_eq!(settings.web.certificate.to_str(), Some("/etc/web.crt"));
        assert_eq!(settings.information.operator.to_string(), "We");
        assert_eq!(create_password.as_deref(), Some("secret"));
        assert_eq!(settings.access.create_password_file.to_str(), Some(CREATE_PASSWORD_FILE));
        let keys: Vec<&str> = left.iter().map(|left| left.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "[INFORMATION] admin_email",
                "[PROXY] client_concurrency",
                "[STORE_LOG] prometheus_interval",
                "[TRANSPORT] websockets",
                "[WEB] static_path"
            ]
        );
    }

    #[test]
    fn information_that_the_reference_server_does_not_tell_is_no_news() {
        let Translated { layer, left, .. } = translated("[INFORMATION]\nhosting_type = virtual\n");
        assert!(left.is_empty() && layer.settle().unwrap().information.is_empty());
        let text = "[INFORMATION]\nsource_code = https://example.org\nhosting_country = DE\n";
        let Translated { layer, left, .. } = translated(text);
        assert_eq!(left.len(), 1, "a country of nobody");
        assert!(layer.settle().unwrap().information.is_empty());
    }

    #[test]
    fn stores_are_found_where_the_reference_server_looks_for_them() {
        let stores = |text: &str| {
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(path.path(), format!("[STORE_LOG]\n{text}")).unwrap();
            stores(&Ini::read(path.path()).unwrap())
        };
        assert_eq!(stores("").unwrap(), Stores::Nowhere);
        assert_eq!(stores("enable = on").unwrap(), Stores::Files(Messages::File));
        assert_eq!(stores("enable = on\nrestore_messages = off").unwrap(), Stores::Files(Messages::Nowhere));
        assert_eq!(stores("store_messages = journal").unwrap(), Stores::Files(Messages::Journals));
        let Stores::Database { connection, schema, messages } =
            stores("store_queues = database\nstore_messages = database\ndb_schema = s").unwrap()
        else {
            panic!("in a database")
        };
        assert_eq!((connection.as_str(), schema.as_str()), ("postgresql://smp@/smp_server_store", "s"));
        assert_eq!(messages, Messages::Database);
        assert!(stores("store_queues = database").is_err() && stores("enable = yes").is_err());
    }
}
