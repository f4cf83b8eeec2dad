//! `smp-server import-reference`

use std::fs::{self, File};
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use protocol::smp::password::BasicAuth;
use serde_json::json;

use super::{Place, engine, first_port, say, server_address};
use crate::config::{Engine, Settings, SettingsLayer};
use crate::directory::{CREATE_PASSWORD_FILE, DATABASE_FILE, Directory, MESSAGES_DIRECTORY};
use crate::error::CommandError;
use crate::identity::{CA_CERTIFICATE_FILE, CA_KEY_FILE, create_directory, write_new};
use crate::import_reference::{Progress, Reference, Taken, Target};
use crate::store::{QueueStore, Totals};

/// What the import works with; it is gone at the end.
const STAGING_FILE: &str = "import.staging";

/// Take over a server of the reference implementation (simplexmq), so that its address and its queues live on.
///
/// Takes its certificates, its settings as far as they have a counterpart, queues, services, messages and saved
/// notifications; not its statistics. Stop it first: SIGINT makes it write its messages to disk. Nothing of it is changed.
/// The directory must hold no server, and the store that the flags name (--store) nothing. An import that was
/// interrupted is not started as a server; run the command again, it begins anew.
///
/// Ends with 20 when records are damaged.
#[derive(Debug, Args)]
pub(super) struct ImportReferenceArgs {
    /// Directory of the reference server's settings and certificates.
    #[arg(value_name = "SETTINGS", env = "SMP_SERVER_CFG_PATH", default_value = "/etc/opt/simplex")]
    reference_settings: PathBuf,
    /// Directory of what it stores.
    #[arg(value_name = "DATA", env = "SMP_SERVER_LOG_PATH", default_value = "/var/opt/simplex")]
    reference_data: PathBuf,
    /// Only look: say what would be taken over and what is damaged. The reference server may run meanwhile.
    #[arg(long)]
    check: bool,
    /// Take over the rest when records are damaged, and list in this new file what is left out.
    #[arg(long, value_name = "FILE")]
    leave_out_damaged: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: ImportReferenceArgs) -> anyhow::Result<()> {
    let ImportReferenceArgs { reference_settings, reference_data, check, leave_out_damaged, settings } = args;
    let reference = Reference::open(&reference_settings, &reference_data)?;
    let layer = settings.over(reference.layer());
    let settings = layer.clone().settle()?;
    ensure!(
        settings.storage.engine != Engine::Memory,
        "A store in memory keeps nothing: choose another --store"
    );
    let password = reference.create_password().map(|text| BasicAuth::new(text.as_bytes())).transpose();
    let password = password.context("create_password of the reference server can stand in no address")?;
    let address = server_address(&settings, reference.key_hash(), first_port(&settings), password)?;
    let leave_out = leave_out_damaged.as_deref();
    let taken = if check {
        reference.take_over(None, leave_out, progress())?
    } else {
        into_directory(place, &reference, &layer, &settings, leave_out)?
    };
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    report(place, check, &reference, &taken, &address.to_string())?;
    if check && leave_out.is_none() && taken.damaged > 0 {
        let first = taken.damages.first();
        let first = first.map(|damage| format!("{}: {}", damage.place, damage.flaw)).unwrap_or_default();
        return Err(CommandError::DamagedReference { count: taken.damaged, first }.into());
    }
    Ok(())
}

/// Makes a server's directory, marked as unfinished until all is in it.
fn into_directory(
    place: &Place,
    reference: &Reference,
    layer: &SettingsLayer,
    settings: &Settings,
    leave_out: Option<&Path>,
) -> anyhow::Result<Taken> {
    let directory = place.directory();
    let settings_file = place.config.clone().unwrap_or_else(|| directory.settings_file());
    create_directory(directory.path())?;
    let _lock = directory.lock_for_import()?;
    let mark = directory.unfinished_import();
    if mark.exists() {
        clear(&directory)?;
    }
    directory.refuse_used(&settings_file)?;
    if !mark.exists() {
        write_new(&mark, b"", 0o600)?;
        sync(directory.path())?;
    }
    let mut store = engine::open(settings, &directory)?;
    expect_empty(&mut *store)?;
    let staging = directory.join(STAGING_FILE.as_ref());
    let notifications = directory.saved_notifications();
    let target = Target { store: &mut *store, staging: &staging, notifications: &notifications };
    let taken = reference.take_over(Some(target), leave_out, progress())?;
    drop(store);
    fs::remove_file(&staging).context("Unable to remove the import's working file")?;
    reference.write_identity(directory.path())?;
    if let Some(password) = reference.create_password() {
        write_new(&directory.join(CREATE_PASSWORD_FILE.as_ref()), password.as_bytes(), 0o600)?;
    }
    write_new(&settings_file, layer.example().as_bytes(), 0o600)?;
    sync(directory.path())?;
    fs::remove_file(&mark).with_context(|| format!("Unable to remove {}", mark.display()))?;
    sync(directory.path())?;
    Ok(taken)
}

fn expect_empty(store: &mut dyn QueueStore) -> anyhow::Result<()> {
    let mut reader = store.open_reader()?;
    let counts = reader.counts()?;
    ensure!(
        counts.queues == 0 && counts.messages == 0 && reader.services_after(&[0; 32], 1)?.is_empty(),
        "The store is not empty: empty it or choose another, so that nothing is mixed or lost. After an import into \
         PostgreSQL that was interrupted, drop its database and make it anew"
    );
    Ok(())
}

/// Removes what an interrupted import made: nothing else was there when it began.
fn clear(directory: &Directory) -> anyhow::Result<()> {
    let of_database = ["", "-wal", "-shm"].map(|end| format!("{DATABASE_FILE}{end}"));
    let others =
        [STAGING_FILE, CA_KEY_FILE, CA_CERTIFICATE_FILE, "server.key", "server.crt", CREATE_PASSWORD_FILE];
    let files = of_database.iter().map(String::as_str).chain(others).map(|name| directory.path().join(name));
    for path in files.chain([directory.saved_notifications(), directory.settings_file()]) {
        absent_is_fine(fs::remove_file(&path), &path)?;
    }
    let messages = directory.path().join(MESSAGES_DIRECTORY);
    absent_is_fine(fs::remove_dir_all(&messages), &messages)
}

fn absent_is_fine(removed: std::io::Result<()>, path: &Path) -> anyhow::Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("Unable to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> anyhow::Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("Unable to write {}", directory.display()))
}

/// Says on a terminal how far it is.
fn progress() -> Progress {
    Progress::new(Box::new(|records, totals| {
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            let Totals { queues, messages, .. } = totals;
            // Whoever closed stderr does not want to know.
            let _ = write!(stderr, "\r{records} records read; {queues} queues, {messages} messages");
        }
    }))
}

fn report(
    place: &Place,
    check: bool,
    reference: &Reference,
    taken: &Taken,
    address: &str,
) -> anyhow::Result<()> {
    let Taken { totals, notifications, late, damaged, damages, flaws, notes } = taken;
    let Totals { services, queues, messages } = totals;
    let mut notes = notes.clone();
    if *late > 0 {
        notes.push(format!("{late} records or messages belong to queues that are deleted"));
    }
    if reference.has_ca_key() {
        notes.push(format!("{CA_KEY_FILE} is on this machine: move it to a safe place"));
    }
    notes.push("statistics are not taken over: counting begins anew".to_owned());
    let left: Vec<String> = reference.left().iter().map(ToString::to_string).collect();
    if place.json {
        let damages: Vec<_> =
            damages.iter().map(|one| json!({ "place": one.place, "flaw": one.flaw })).collect();
        return say(json!({
            "type": if check { "checked" } else { "imported" },
            "address": address,
            "services": services,
            "queues": queues,
            "messages": messages,
            "notifications": notifications,
            "late": late,
            "damaged": damaged,
            "flaws": flaws,
            "damages": damages,
            "settings_left": left,
            "notes": notes,
        }));
    }
    let done = if check { "Would be imported" } else { "Imported" };
    say(format_args!(
        "{done}: {services} services, {queues} queues, {messages} messages, {notifications} notifications"
    ))?;
    say(format_args!("Server address: {address}"))?;
    for line in &left {
        say(format_args!("setting not taken: {line}"))?;
    }
    for (flaw, count) in flaws {
        say(format_args!("damaged: {count} times: {flaw}"))?;
    }
    for damage in damages {
        say(format_args!("damaged: {}: {}", damage.place, damage.flaw))?;
    }
    for note in &notes {
        eprintln!("note: {note}");
    }
    Ok(())
}
