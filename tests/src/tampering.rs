//! What a dishonest relay or server can do: whatever it likes to its own database.
//!
//! The programs hold no misbehaviour. A relay takes a message, stops before anything of it went out, finds other
//! rows when it starts again, and acts on them.

use anyhow::{Context as _, ensure};
use protocol::agent::address_draft::AddressDraft;
use protocol::encoding::Decode as _;
use protocol::group::forward::{ForwardSender, forward_head};
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::Profile;
use protocol::net::rng::system_rng;
use protocol::smp::ids::{LinkId, SenderId};
use protocol::timestamp::Timestamp;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::world::{Relay, Server, eventually};

/// Where a relay stops: its owner's message is durable, nothing of it was acknowledged or forwarded.
const MESSAGE_IS_DURABLE: &str = "relay.message.stored.durable";

/// The database of a relay that does not run.
#[derive(Debug)]
pub struct RelayDatabase(Connection);

impl RelayDatabase {
    /// Has the relay take one message that `say` sends, and stops it before it forwards.
    ///
    /// # Errors
    /// When a step fails, or the message does not reach the relay.
    pub fn intercept(relay: &mut Relay, say: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Self> {
        arm(relay)?;
        say()?;
        Self::taken(relay)
    }

    /// Waits until an armed relay has taken a message, which is not forwarded yet.
    ///
    /// # Errors
    /// When it does not stop by itself, or has forwarded it all the same.
    pub fn taken(relay: &mut Relay) -> anyhow::Result<Self> {
        relay.process()?.wait()?;
        let taken = Self::stop(relay)?;
        let newest = taken.newest()?;
        let sql = "SELECT count(*) FROM positions p JOIN deliveries d ON p.given >= d.delivery_id
                   AND p.group_id = d.group_id WHERE d.message_number = ?1";
        let given: u32 = taken.0.query_row(sql, [newest], |row| row.get(0))?;
        ensure!(given == 0, "{given} members have been given it");
        Ok(taken)
    }

    /// Stops the relay where it is.
    ///
    /// # Errors
    /// When it does not run, or its database cannot be opened.
    pub fn stop(relay: &mut Relay) -> anyhow::Result<Self> {
        relay.kill()?;
        Self::open(relay)
    }

    /// The database of a relay that was stopped.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(relay: &Relay) -> anyhow::Result<Self> {
        Ok(Self(Connection::open(relay.directory.join("relay.sqlite"))?))
    }

    /// The number of the newest message.
    ///
    /// # Errors
    /// When there is none.
    pub fn newest(&self) -> anyhow::Result<i64> {
        let newest = self.0.query_row("SELECT max(message_number) FROM messages", [], |row| row.get(0));
        newest.context("The relay has stored a message")
    }

    /// A message as its author sent it.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn element(&self, message: i64) -> anyhow::Result<Vec<u8>> {
        let sql = "SELECT element FROM messages WHERE message_number = ?1";
        Ok(self.0.query_row(sql, [message], |row| row.get(0))?)
    }

    /// Puts other bytes in place of a message.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn replace(&self, message: i64, element: &[u8]) -> anyhow::Result<()> {
        let sql = "UPDATE messages SET element = ?2 WHERE message_number = ?1";
        ensure!(self.0.execute(sql, params![message, element])? == 1, "no message {message}");
        Ok(())
    }

    /// Makes up a message of the author of `like`, in the same group.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn invent(&self, like: i64, element: &[u8]) -> anyhow::Result<i64> {
        let id = SharedMessageId::generate(&mut system_rng());
        self.0.execute(
            "INSERT INTO messages (group_id, message_id, author, broker_ms, received_ms, kind, as_channel, verified, element)
             SELECT group_id, ?2, author, broker_ms, received_ms, kind, as_channel, verified, ?3
             FROM messages WHERE message_number = ?1",
            params![like, id.as_bytes(), element],
        )?;
        Ok(self.0.last_insert_rowid())
    }

    /// Lets a message wait to be forwarded, behind all others: once more if it was forwarded before.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn forward_last(&self, message: i64) -> anyhow::Result<()> {
        let sql = "INSERT INTO deliveries (group_id, author, support_of, introduces, message_number)
                   SELECT m.group_id, m.author, m.support_of, a.role NOT IN ('owner', 'relay'), m.message_number
                   FROM messages m JOIN members a ON a.member_number = m.author WHERE m.message_number = ?1";
        self.withhold(message)?;
        ensure!(self.0.execute(sql, [message])? == 1, "no message {message}");
        let sql =
            "INSERT INTO streams (group_id, head, cursor) SELECT group_id, delivery_id, 0 FROM deliveries
                   WHERE message_number = ?1 ON CONFLICT DO UPDATE SET head = excluded.head, cursor = 0";
        self.0.execute(sql, [message])?;
        self.name_authors()
    }

    /// What goes ahead of each message that waits, by the names that members have now.
    fn name_authors(&self) -> anyhow::Result<()> {
        let mut waiting = self.0.prepare(
            "SELECT d.delivery_id, a.member_id, a.profile, m.as_channel, m.broker_ms FROM deliveries d
             JOIN messages m ON m.message_number = d.message_number
             JOIN members a ON a.member_number = m.author",
        )?;
        let mut rows = waiting.query([])?;
        while let Some(row) = rows.next()? {
            let id = MemberId::new(row.get::<_, Vec<u8>>(1)?)?;
            let profile: Option<String> = row.get(2)?;
            let profile: Option<Profile> = profile.map(|json| serde_json::from_str(&json)).transpose()?;
            let name = profile.map_or_else(|| id.stand_in_name(), |profile| profile.display_name);
            let sender =
                if row.get(3)? { ForwardSender::Channel } else { ForwardSender::Member { id, name } };
            let head = forward_head(&sender, Timestamp(row.get(4)?));
            let sql = "UPDATE deliveries SET forward = ?2, introduction = NULL WHERE delivery_id = ?1";
            self.0.execute(sql, params![row.get::<_, i64>(0)?, head])?;
        }
        Ok(())
    }

    /// The relay link of the newest group, with its keys.
    ///
    /// # Errors
    /// When there is none.
    pub fn group_draft(&self) -> anyhow::Result<AddressDraft> {
        let sql = "SELECT draft FROM served_groups ORDER BY group_id DESC";
        let draft: Vec<u8> = self.0.query_row(sql, [], |row| row.get(0))?;
        Ok(AddressDraft::from_bytes(&draft)?)
    }

    /// Gives a member another name, and forgets who has heard of it.
    ///
    /// # Errors
    /// When nobody has the old one.
    pub fn rename(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let sql = "UPDATE members SET profile = json_set(profile, '$.displayName', ?2)
                   WHERE json_extract(profile, '$.displayName') = ?1";
        ensure!(self.0.execute(sql, [from, to])? > 0, "nobody is called {from}");
        self.0.execute("DELETE FROM introductions", [])?;
        self.name_authors()
    }

    /// Has a message not forwarded, nor given as history.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn drop_message(&self, message: i64) -> anyhow::Result<()> {
        self.withhold(message)?;
        self.0.execute("DELETE FROM messages WHERE message_number = ?1", [message])?;
        Ok(())
    }

    /// Has a message not forwarded.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn withhold(&self, message: i64) -> anyhow::Result<()> {
        self.0.execute("DELETE FROM deliveries WHERE message_number = ?1", [message])?;
        Ok(())
    }
}

/// Starts the relay so that it stops when it has taken a message, before it forwards it.
///
/// # Errors
/// When it does not come to rest before, or does not start.
pub fn arm(relay: &mut Relay) -> anyhow::Result<()> {
    if relay.process().is_ok() {
        rests(relay)?;
        relay.kill()?;
    }
    relay.start(&[("CONCLAVE_CRASH_POINT", MESSAGE_IS_DURABLE)])
}

/// Waits until a running relay has nothing under way: everybody has asked for history and has two connections, and nothing
/// waits to be sent. Otherwise the message might go out, or be given as history, besides what it sets off by itself.
fn rests(relay: &Relay) -> anyhow::Result<()> {
    let database = RelayDatabase::open(relay)?.0;
    database.busy_timeout(crate::process::PATIENCE)?;
    let sql = "SELECT count(*) FROM members WHERE status = 'connected' AND bulk_stage <> 3";
    eventually(&format!("{} rests", relay.name), || {
        let jobs = relay.ctl(&["jobs"])?;
        let is_idle = jobs.get("jobs").and_then(Value::as_array).is_some_and(Vec::is_empty);
        let under_way: u32 = database.query_row(sql, [], |row| row.get(0))?;
        Ok((is_idle && under_way == 0).then_some(()))
    })
}

/// `text` with `from` replaced, which must be there once and as long as `to`.
///
/// # Errors
/// When it is not.
pub fn altered(text: &[u8], from: &str, to: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(from.len() == to.len(), "lengths stand in other places too");
    let mut places = text.windows(from.len()).enumerate().filter(|(_, part)| *part == from.as_bytes());
    let (place, _) = places.next().with_context(|| format!("{from:?} is not there"))?;
    ensure!(places.next().is_none(), "{from:?} is there twice");
    let mut altered = text.to_vec();
    altered.splice(place..place + from.len(), to.bytes());
    Ok(altered)
}

/// The user data of a link, as its server keeps it.
///
/// # Errors
/// When the server does not know the link.
pub fn link_data(server: &Server, link: &LinkId) -> anyhow::Result<Vec<u8>> {
    let sql = "SELECT user_data FROM links WHERE link_id = ?1";
    Ok(database(server)?.query_row(sql, [link.as_bytes()], |row| row.get(0))?)
}

/// Puts other user data in place of a link's, behind the owner's back. The server may run.
///
/// # Errors
/// When the server does not know the link.
pub fn replace_link_data(server: &Server, link: &LinkId, data: &[u8]) -> anyhow::Result<()> {
    let sql = "UPDATE links SET user_data = ?2 WHERE link_id = ?1";
    ensure!(database(server)?.execute(sql, params![link.as_bytes(), data])? == 1, "no such link");
    Ok(())
}

/// How many messages wait in a running server's queues.
///
/// # Errors
/// When its database cannot be read, or it does not answer.
pub fn waiting_messages(server: &Server) -> anyhow::Result<u64> {
    let ids = queues(server)?;
    ids.into_iter().try_fold(0_u64, |waiting, id| Ok(waiting + server.waiting_in(&id.to_string())?))
}

/// The sender ids of a server's queues.
///
/// # Errors
/// When its database cannot be read.
pub fn queues(server: &Server) -> anyhow::Result<Vec<SenderId>> {
    let database = database(server)?;
    let mut queues = database.prepare("SELECT sender_id FROM queues")?;
    let ids: Vec<[u8; 24]> = queues.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids.into_iter().map(SenderId).collect())
}

fn database(server: &Server) -> anyhow::Result<Connection> {
    let database = Connection::open(server.directory.join("smp-server.db"))?;
    database.busy_timeout(crate::process::PATIENCE)?;
    Ok(database)
}
