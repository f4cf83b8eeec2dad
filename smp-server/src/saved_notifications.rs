//! Notifications that wait, kept over a stop: a line each, without secrets, which the store has.
//!
//! ```text
//! notifier id, message id, Unix milliseconds
//! ```
//!
//! The file is read once and removed: after a crash, what was told before is not told again from an old file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use protocol::smp::ids::NotifierId;
use protocol::timestamp::Timestamp;

use crate::notifications::{Notification, Notifications};
use crate::server::Server;
use crate::store::{QueueName, QueueRecord};

/// Notifiers that are looked up in one visit to the store, so that it does others' work between.
const NOTIFIERS_PER_READ: usize = 256;

/// Writes what waits, or removes the file when nothing does.
///
/// # Errors
/// When the file cannot be written.
pub fn save(notifications: &Notifications, path: &Path) -> anyhow::Result<()> {
    let waiting = notifications.waiting();
    if waiting.is_empty() {
        return remove(path);
    }
    let mut text = String::new();
    for (id, notification) in waiting {
        writeln!(text, "{}", line(id, notification))?;
    }
    let unfinished = path.with_extension("unfinished");
    let write = || {
        let mut options = File::options();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("Unable to save notifications at {}", path.display()))
}

/// Takes up what was saved, leaving out what expired and what has no notifier any more. Says how many.
///
/// # Errors
/// When the file or the store cannot be read. A line that cannot be understood is left out.
pub async fn restore(server: &Server, path: &Path) -> anyhow::Result<usize> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("Unable to read saved notifications at {}", path.display()));
        }
    };
    let expires_before = server.notifications_expire_before();
    let saved: Vec<(NotifierId, Notification)> = text
        .lines()
        .filter_map(parsed)
        .filter(|(_, notification)| notification.received_at >= expires_before)
        .collect();
    let mut ids: Vec<NotifierId> =
        saved.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>().into_iter().collect();
    let mut queues: BTreeMap<NotifierId, QueueRecord> = BTreeMap::new();
    while !ids.is_empty() {
        let some = ids.split_off(ids.len().saturating_sub(NOTIFIERS_PER_READ));
        let found = server
            .store
            .read(move |reader| {
                some.into_iter()
                    .map(|id| reader.queue(&QueueName::Notifier(id)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let found = found.into_iter().flatten();
        queues.extend(found.filter_map(|queue| Some((queue.notifier.as_ref()?.id, queue))));
    }
    let mut restored = 0_usize;
    for (id, notification) in saved {
        if let Some(queue) = queues.get(&id) {
            server.notify(queue, notification);
            restored = restored.saturating_add(1);
        }
    }
    remove(path)?;
    Ok(restored)
}

/// A notification as it stands in the file, without the end of the line.
#[must_use]
pub fn line(id: NotifierId, notification: Notification) -> String {
    let Notification { message_id, received_at } = notification;
    format!("{id} {message_id} {}", received_at.0)
}

fn parsed(text: &str) -> Option<(NotifierId, Notification)> {
    let mut words = text.split(' ');
    let (id, message_id) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let received_at = Timestamp(words.next()?.parse().ok()?);
    words.next().is_none().then_some((id, Notification { message_id, received_at }))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("Unable to remove saved notifications at {}", path.display()))
        }
        _ => Ok(()),
    }
}
