//! Makes what a server of the reference implementation leaves behind, by its formats (smp.md §18.2).

use std::fs;
use std::path::{Path, PathBuf};

use protocol::base64url;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::secretbox::BoxKey;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId};
use protocol::smp::key::{AuthPrivateKey, AuthPublicKey};
use protocol::smp::response::QueueIds;
use smp_server::identity::Identity;
use tempfile::TempDir;

use crate::client::{Queue, ed25519};

/// A stopped server: its settings in one directory, what it stores in another.
pub(crate) struct Reference {
    settings: TempDir,
    data: TempDir,
}

impl Reference {
    /// A server with these sections in its ini file, beside where it listens.
    pub(crate) fn make(ini: &str) -> Self {
        let reference = Self { settings: tempfile::tempdir().unwrap(), data: tempfile::tempdir().unwrap() };
        let made = Identity::generate("127.0.0.1").unwrap();
        let at = |name: &str| reference.settings.path().join(name);
        made.write(reference.settings.path()).unwrap();
        // There the leaf stands alone.
        let chain = fs::read_to_string(at("server.crt")).unwrap();
        let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        fs::write(at("server.crt"), leaf).unwrap();
        fs::write(at("fingerprint"), base64url::encode(&made.identity.key_hash()) + "\n").unwrap();
        let ini = format!("[TRANSPORT]\nhost = 127.0.0.1\nport = 5223\nwebsockets = off\n{ini}");
        fs::write(at("smp-server.ini"), ini).unwrap();
        reference
    }

    /// Its key hash in text.
    pub(crate) fn fingerprint(&self) -> String {
        fs::read_to_string(self.settings.path().join("fingerprint")).unwrap().trim().to_owned()
    }

    pub(crate) fn settings(&self) -> &Path {
        self.settings.path()
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Writes a file of lines among its data.
    pub(crate) fn write(&self, name: &str, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.data().join(name), text).unwrap();
    }

    /// All its files with what is in them.
    pub(crate) fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut directories = vec![self.settings().to_owned(), self.data().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    files.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    /// Puts the messages of a queue into journals; `read` of them were read already, `first` of them are in a journal
    /// that is not written any more.
    pub(crate) fn write_journals(
        &self,
        queue: &OldQueue,
        messages: &[String],
        read: usize,
        first: usize,
    ) -> PathBuf {
        let id = queue.rid();
        let mut directory = self.data().join("messages");
        for part in [&id[0..2], &id[2..4], &id[4..6], &id[6..8], &id[8..]] {
            directory.push(part);
        }
        fs::create_dir_all(&directory).unwrap();
        let (old, new) = messages.split_at(first);
        let bytes = |lines: &[String]| lines.iter().map(|line| line.len() + 1).sum::<usize>();
        let side = |id: &str, done: &[String], all: &[String]| {
            format!("{id},{},{},{},{}", done.len(), all.len(), bytes(done), bytes(all))
        };
        let write_journal = |id: &str, lines: &[String]| {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs::write(directory.join(format!("messages.{id}.log")), text).unwrap();
        };
        let (write, read_side) = if old.is_empty() {
            write_journal("AAAAAAAAAAAAAAAB", new);
            (side("AAAAAAAAAAAAAAAB", new, new), side("AAAAAAAAAAAAAAAB", &new[..read], new))
        } else {
            write_journal("AAAAAAAAAAAAAAAA", old);
            write_journal("AAAAAAAAAAAAAAAB", new);
            (side("AAAAAAAAAAAAAAAB", new, new), side("AAAAAAAAAAAAAAAA", &old[..read], old))
        };
        let state = format!("write={write} read={read_side} canWrite=T size={}", messages.len() - read);
        let earlier = "write=AAAAAAAAAAAAAAAB,0,0,0,0 read=AAAAAAAAAAAAAAAB,0,0,0,0 canWrite=T size=0";
        fs::write(directory.join(format!("queue_state.{id}.log")), format!("{earlier}\n{state}\n")).unwrap();
        directory
    }
}

/// A queue with the keys of all who use it.
pub(crate) struct OldQueue {
    number: u8,
    pub(crate) key: AuthPrivateKey,
    pub(crate) sender_key: AuthPrivateKey,
    pub(crate) notifier_key: AuthPrivateKey,
}

/// Bytes in the form of all of its files.
pub(crate) fn text(bytes: &[u8]) -> String {
    base64url::encode(bytes)
}

pub(crate) fn key_text(key: &AuthPublicKey) -> String {
    text(&key.to_der())
}

impl OldQueue {
    pub(crate) fn new(number: u8) -> Self {
        Self { number, key: ed25519(), sender_key: ed25519(), notifier_key: ed25519() }
    }

    pub(crate) fn id(&self, role: u8) -> [u8; 24] {
        let mut id = [self.number; 24];
        id[0] = role;
        id
    }

    pub(crate) fn recipient_id(&self) -> RecipientId {
        RecipientId(self.id(1))
    }

    pub(crate) fn sender_id(&self) -> SenderId {
        SenderId(self.id(2))
    }

    pub(crate) fn link_id(&self) -> LinkId {
        LinkId(self.id(3))
    }

    pub(crate) fn notifier_id(&self) -> NotifierId {
        NotifierId(self.id(4))
    }

    pub(crate) fn rid(&self) -> String {
        text(&self.id(1))
    }

    pub(crate) fn secret(&self) -> [u8; 32] {
        [self.number; 32]
    }

    pub(crate) fn notifier_secret(&self) -> [u8; 32] {
        [self.number.wrapping_add(100); 32]
    }

    /// `CREATE`, with what follows the sender's key.
    pub(crate) fn create(&self, secured: bool, rest: &str) -> String {
        let sender_key = if secured { key_text(&self.sender_key.public_key()) } else { String::new() };
        format!(
            "CREATE rid={} rk={} rdh={} sid={} sk={sender_key}{rest}",
            self.rid(),
            key_text(&self.key.public_key()),
            text(&self.secret()),
            text(&self.id(2)),
        )
    }

    /// Id, key and secret of its notifier.
    pub(crate) fn notifier(&self) -> String {
        let key = key_text(&self.notifier_key.public_key());
        format!("{} {key} {}", text(&self.id(4)), text(&self.notifier_secret()))
    }

    /// A message as it is stored.
    pub(crate) fn message(number: u8, body: Option<&[u8]>, flags: &str) -> String {
        let id = text(&Self::message_id(number).0);
        match body {
            Some(body) => format!("{id} {} {flags}{}", 1_700_000_000 + u64::from(number), text(body)),
            None => format!("{id} {} quota", 1_700_000_000 + u64::from(number)),
        }
    }

    pub(crate) fn message_id(number: u8) -> MessageId {
        MessageId([number; 24])
    }

    /// As the recipient knows it.
    pub(crate) fn known(&self) -> Queue {
        let ids = QueueIds {
            recipient_id: self.recipient_id(),
            sender_id: self.sender_id(),
            server_dh_key: X25519PrivateKey::from_bytes([1; 32]).public_key(),
            mode: None,
            link_id: None,
            service_id: None,
            notifier: None,
        };
        Queue { key: self.key.clone(), ids, secret: BoxKey::new(&self.secret()) }
    }
}
