//! What the person keeps besides groups: own name, servers, addresses of relays.

use protocol::smp::address::ServerAddressWithAuth;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::network::NetworkChoice;

const SETTING: &str = "settings.sealed";
const SERVER: &str = "servers.sealed";
const RELAY: &str = "relay_addresses.sealed";
const OWN_NAME: &str = "own name";
const NETWORK: &str = "network";
const RESTORED: &str = "restored from a backup";

/// Writes one setting: its name and its sealed value.
pub(super) const SET_SETTING: &str = "INSERT INTO settings (name, sealed) VALUES (?1, ?2)
                                      ON CONFLICT DO UPDATE SET sealed = excluded.sealed";

/// A relay's address under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRelay {
    /// The person's choice.
    pub(crate) name: String,
    /// The relay's long-lived link.
    pub(crate) link: String,
    /// The invitation code that its operator gave.
    #[serde(default)]
    pub(crate) code: Option<String>,
}

impl Store {
    /// The name that groups see.
    pub(crate) fn own_name(&self) -> Result<Option<String>, StoreError> {
        self.setting(OWN_NAME)
    }

    /// Sets the name that groups see.
    pub(crate) fn set_own_name(&mut self, name: &str) -> Result<(), StoreError> {
        let sealed = self.seal_record(SETTING, &name)?;
        self.change_one(SET_SETTING, params![OWN_NAME, sealed])
    }

    /// How servers are reached.
    pub(crate) fn network(&self) -> Result<NetworkChoice, StoreError> {
        let sql = "SELECT sealed FROM settings WHERE name = ?1";
        let sealed: Option<Vec<u8>> = self.one(sql, params![NETWORK], |row| row.get(0))?;
        let kept = sealed.map(|sealed| self.open_record(SETTING, &sealed)).transpose()?;
        Ok(kept.unwrap_or_default())
    }

    /// Sets how servers are reached.
    pub(crate) fn set_network(&mut self, choice: &NetworkChoice) -> Result<(), StoreError> {
        let sealed = self.seal_record(SETTING, choice)?;
        self.change_one(SET_SETTING, params![NETWORK, sealed])
    }

    /// Whether this is a copy whose connections must agree on new keys first.
    pub(crate) fn is_restored(&self) -> Result<bool, StoreError> {
        Ok(self.setting(RESTORED)?.is_some())
    }

    /// Says that this is no such copy any more: new keys are under way.
    pub(crate) fn forget_restored(&mut self) -> Result<(), StoreError> {
        self.run("DELETE FROM settings WHERE name = ?1", params![RESTORED])?;
        Ok(())
    }

    /// The row that marks a copy, for [`SET_SETTING`].
    pub(super) fn restored_mark(&self) -> Result<(&'static str, Vec<u8>), StoreError> {
        Ok((RESTORED, self.seal_record(SETTING, &"yes")?))
    }

    /// Kept servers, oldest first.
    pub(crate) fn servers(&self) -> Result<Vec<ServerAddressWithAuth>, StoreError> {
        let rows: Vec<Vec<u8>> =
            self.all("SELECT sealed FROM servers ORDER BY server_id", [], |row| row.get(0))?;
        let open = |sealed: Vec<u8>| {
            let text: String = self.open_record(SERVER, &sealed)?;
            Ok(text.parse()?)
        };
        rows.into_iter().map(open).collect()
    }

    /// Keeps one more server; says whether it was new. A known one takes the new password.
    pub(crate) fn keep_server(&mut self, server: &ServerAddressWithAuth) -> Result<bool, StoreError> {
        let new = !self.forget_server(server)?;
        let sealed = self.seal_record(SERVER, &server.to_string())?;
        self.change_one("INSERT INTO servers (sealed) VALUES (?1)", params![sealed])?;
        Ok(new)
    }

    /// Forgets a server; says whether it was there.
    pub(crate) fn forget_server(&mut self, server: &ServerAddressWithAuth) -> Result<bool, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> =
            self.all("SELECT server_id, sealed FROM servers", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (id, sealed) in rows {
            let kept: ServerAddressWithAuth = self.open_record::<String>(SERVER, &sealed)?.parse()?;
            if kept.server == server.server {
                self.change_one("DELETE FROM servers WHERE server_id = ?1", params![id])?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Kept relays, oldest first.
    pub(crate) fn kept_relays(&self) -> Result<Vec<KeptRelay>, StoreError> {
        let sql = "SELECT sealed FROM relay_addresses ORDER BY relay_address_id";
        let rows: Vec<Vec<u8>> = self.all(sql, [], |row| row.get(0))?;
        rows.into_iter().map(|sealed| self.open_record(RELAY, &sealed)).collect()
    }

    /// Keeps one more relay.
    pub(crate) fn keep_relay(&mut self, relay: &KeptRelay) -> Result<(), StoreError> {
        let sealed = self.seal_record(RELAY, relay)?;
        self.change_one("INSERT INTO relay_addresses (sealed) VALUES (?1)", params![sealed])
    }

    /// Forgets a relay by its name; says whether it was there.
    pub(crate) fn forget_relay(&mut self, name: &str) -> Result<bool, StoreError> {
        let sql = "SELECT relay_address_id, sealed FROM relay_addresses";
        let rows: Vec<(i64, Vec<u8>)> = self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (id, sealed) in rows {
            if self.open_record::<KeptRelay>(RELAY, &sealed)?.name == name {
                self.change_one("DELETE FROM relay_addresses WHERE relay_address_id = ?1", params![id])?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT sealed FROM settings WHERE name = ?1";
        let sealed: Option<Vec<u8>> = self.one(sql, params![name], |row| row.get(0))?;
        sealed.map(|sealed| self.open_record(SETTING, &sealed)).transpose()
    }
}
