//! Losing a device must not lose the group: a whole home out of an old backup, and the owner keys on another device.

use anyhow::{Context as _, ensure};
use e2e::stage::{GROUP, Stage, connected, has, relay_becomes};
use e2e::world::{Person, event, eventually};

/// Runs `export` or `import` with the passphrase of archives.
fn archive(person: &Person, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = person.command(arguments);
    let output = command.env("CONCLAVE_ARCHIVE_PASSPHRASE", "battery staple").output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The home is lost, and an old backup takes its place.
fn bring_back(person: &Person, backup: &str) -> anyhow::Result<()> {
    std::fs::rename(&person.home, person.home.with_extension("lost"))?;
    archive(person, &["import", backup])
}

/// Waits until a person shows these texts in this order. Of what came after the backup, some is gone with the device;
/// nothing may come twice.
fn goes_on(person: &Person, texts: &[&str]) -> anyhow::Result<()> {
    let mut shown = Vec::new();
    eventually("the last text", || {
        shown = person.texts(GROUP)?;
        Ok(shown.last().is_some_and(|last| Some(&last.as_str()) == texts.last()).then_some(()))
    })?;
    let known = shown.iter().filter(|text| texts.contains(&text.as_str()));
    ensure!(known.eq(texts), "{} has {shown:?}", person.name);
    Ok(())
}

/// How many gaps are shown in a person's history.
fn told_of_gaps(person: &Person) -> anyhow::Result<usize> {
    Ok(person.ok(&["history", GROUP])?.of_type("gap").count())
}

fn file(stage: &Stage, name: &str) -> String {
    stage.world.path().join(name).display().to_string()
}

#[test]
fn an_owner_out_of_an_old_backup_goes_on() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "member")?;
    let (backup, owner) = (file(&stage, "olga.backup"), stage.owner.clone());
    owner.ok(&["send", GROUP, "one"])?;
    has(stage.member(0)?, &["one"])?;
    archive(&owner, &["export", &backup])?;
    // The ratchets move on after the backup.
    owner.ok(&["send", GROUP, "two"])?;
    has(stage.member(0)?, &["one", "two"])?;
    stage.member(0)?.ok(&["send", GROUP, "three"])?;
    has(&owner, &["one", "two", "three"])?;

    stage.listening[0].kill()?;
    bring_back(&owner, &backup)?;
    stage.listening[0] = owner.listen()?;
    owner.ok(&["send", GROUP, "four"])?;
    has(stage.member(0)?, &["one", "two", "three", "four"])?;
    // The owner counts anew: the backup does not know the number of "two".
    let told = stage.listening[1].wait_for("the restart", |line| event(line, "restarted"))?;
    ensure!(told["author"] == "Olga", "{told}");
    ensure!(told_of_gaps(stage.member(0)?)? == 0, "nothing is missing");
    stage.member(0)?.ok(&["send", GROUP, "five"])?;
    goes_on(&owner, &["one", "four", "five"])?;
    owner.ok(&["group", "relay", "remove", GROUP, "relay-1", "--force"])?;
    relay_becomes(stage.member(0)?, "relay-1", &["inactive", ""])?;
    Ok(())
}

#[test]
fn a_member_out_of_an_old_backup_goes_on() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "member")?;
    let (backup, ann) = (file(&stage, "ann.backup"), stage.member(0)?.clone());
    stage.owner.ok(&["send", GROUP, "one"])?;
    has(&ann, &["one"])?;
    archive(&ann, &["export", &backup])?;
    stage.owner.ok(&["send", GROUP, "two"])?;
    has(&ann, &["one", "two"])?;

    stage.listening[1].kill()?;
    bring_back(&ann, &backup)?;
    stage.listening[1] = ann.listen()?;
    ann.ok(&["send", GROUP, "three"])?;
    has(&stage.owner, &["one", "two", "three"])?;
    stage.owner.ok(&["send", GROUP, "four"])?;
    goes_on(&ann, &["one", "three", "four"])
}

#[test]
fn the_owner_keys_bring_a_group_back_on_another_device() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 2, "observer")?;
    let keys = file(&stage, "news.keys");
    archive(&stage.owner, &["export", "--group", GROUP, &keys])?;
    stage.owner.ok(&["send", GROUP, "before"])?;
    stage.everybody_has(&["before"])?;
    stage.listening[0].kill()?;
    std::fs::rename(&stage.owner.home, stage.owner.home.with_extension("lost"))?;

    let server = stage.servers.first().context("The stage has a server")?;
    let device = stage.world.person("Olga-again", &[server])?;
    archive(&device, &["import", "--group", &keys])?;
    let _listening = device.listen()?;
    connected(&device, 1)?;
    device.ok(&["send", GROUP, "after"])?;
    stage.everybody_has(&["before", "after"])?;

    // Everything that an owner does still works: roles, and relays that come and go.
    let second = stage.world.relay("relay-2", server)?;
    device.ok(&["relay", "add", "relay-2", second.link()])?;
    device.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    connected(stage.member(0)?, 2)?;
    device.ok(&["group", "relay", "remove", GROUP, "relay-1"])?;
    relay_becomes(stage.member(0)?, "relay-1", &["inactive", ""])?;
    device.ok(&["send", GROUP, "through the second"])?;
    stage.everybody_has(&["before", "after", "through the second"])
}
