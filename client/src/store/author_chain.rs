//! Authors' chains: see [`protocol::group::author_chain`] and `migrations/0003_author_chains.sql`.

use protocol::group::author_chain::follow::{AuthorChain, Held, Neighbours};
use protocol::group::author_chain::{Digest, Epoch, OwnChain};
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::relay::RelayId;
use super::{Store, StoreError, unsigned};

const OWN: &str = "own_chains.sealed";
const CHAIN: &str = "author_chains.sealed";
const LINK: &str = "chain_links.sealed";

/// Epochs that are kept of one author; of more, the oldest are let go. An author begins one after a restore.
const EPOCHS_MAX: u32 = 32;

/// Names an author's chain in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChainId(i64);

/// A chain of which something is missing.
#[derive(Debug, Clone)]
pub(crate) struct ChainRow {
    /// The row.
    pub(crate) id: ChainId,
    /// Whose.
    pub(crate) author: MemberId,
    /// What is known.
    pub(crate) chain: AuthorChain,
}

/// The numbers that one relay brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Brought {
    /// The relay.
    pub(crate) relay: RelayId,
    /// The lowest.
    pub(crate) lowest: u64,
    /// The highest.
    pub(crate) highest: u64,
}

/// A statement that came, with its digests.
#[derive(Debug, Serialize, Deserialize)]
struct Link {
    digest: Digest,
    previous: Option<Digest>,
}

impl Store {
    /// What our next statement is linked to, once we have made one.
    pub(crate) fn own_chain(&self, group: GroupId) -> Result<Option<OwnChain>, StoreError> {
        let sql = "SELECT sealed FROM own_chains WHERE group_id = ?1";
        let sealed: Option<Vec<u8>> = self.one(sql, params![group.0], |row| row.get(0))?;
        sealed.map(|sealed| self.open_record(OWN, &sealed)).transpose()
    }

    /// Says what our next statement is linked to.
    pub(crate) fn set_own_chain(&mut self, group: GroupId, chain: &OwnChain) -> Result<(), StoreError> {
        let sealed = self.seal_record(OWN, chain)?;
        self.change_one(
            "INSERT INTO own_chains (group_id, sealed) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
            params![group.0, sealed],
        )
    }

    /// Forgets all our numbers: a later copy of this home may have used those that follow.
    pub(crate) fn forget_own_chains(&mut self) -> Result<(), StoreError> {
        self.run("DELETE FROM own_chains", [])?;
        Ok(())
    }

    /// An author's chain, with its row if there is one.
    pub(crate) fn author_chain(
        &self,
        group: GroupId,
        author: &MemberId,
        epoch: Epoch,
    ) -> Result<Option<(ChainId, AuthorChain)>, StoreError> {
        let sql =
            "SELECT chain_id, sealed FROM author_chains WHERE group_id = ?1 AND author = ?2 AND epoch = ?3";
        let found: Option<(i64, Vec<u8>)> =
            self.one(sql, params![group.0, author.as_bytes(), epoch.0], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        found.map(|(id, sealed)| Ok((ChainId(id), self.open_record(CHAIN, &sealed)?))).transpose()
    }

    /// Adds the chain of an author in an epoch that is new here. It restarts when another epoch is followed.
    pub(crate) fn add_author_chain(
        &mut self,
        group: GroupId,
        author: &MemberId,
        epoch: Epoch,
    ) -> Result<(ChainId, AuthorChain), StoreError> {
        let key = params![group.0, author.as_bytes(), EPOCHS_MAX - 1];
        let sql = "SELECT sealed FROM author_chains WHERE group_id = ?1 AND author = ?2";
        let others: Vec<Vec<u8>> = self.all(sql, params![group.0, author.as_bytes()], |row| row.get(0))?;
        let others: Vec<AuthorChain> =
            others.iter().map(|sealed| self.open_record(CHAIN, sealed)).collect::<Result<_, _>>()?;
        self.run(
            "DELETE FROM author_chains WHERE group_id = ?1 AND author = ?2 AND chain_id NOT IN
             (SELECT chain_id FROM author_chains WHERE group_id = ?1 AND author = ?2
              ORDER BY chain_id DESC LIMIT ?3)",
            key,
        )?;
        let chain = AuthorChain::Unseen { restarts: others.iter().any(AuthorChain::is_followed) };
        let sealed = self.seal_record(CHAIN, &chain)?;
        let sql = "INSERT INTO author_chains (group_id, author, epoch, sealed) VALUES (?1, ?2, ?3, ?4)";
        let id = self.insert(sql, params![group.0, author.as_bytes(), epoch.0, sealed])?;
        Ok((ChainId(id), chain))
    }

    /// Says what is known of a chain now.
    pub(crate) fn save_author_chain(&mut self, id: ChainId, chain: &AuthorChain) -> Result<(), StoreError> {
        let sealed = self.seal_record(CHAIN, chain)?;
        self.change_one("UPDATE author_chains SET sealed = ?2 WHERE chain_id = ?1", params![id.0, sealed])
    }

    /// The chains of a group, in the order in which they were first heard of.
    pub(crate) fn author_chains(&self, group: GroupId) -> Result<Vec<ChainRow>, StoreError> {
        let sql = "SELECT chain_id, author, sealed FROM author_chains WHERE group_id = ?1 ORDER BY chain_id";
        let rows: Vec<(i64, Vec<u8>, Vec<u8>)> =
            self.all(sql, params![group.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let open = |(id, author, sealed): (i64, Vec<u8>, Vec<u8>)| {
            let chain = self.open_record(CHAIN, &sealed)?;
            Ok(ChainRow { id: ChainId(id), author: MemberId::new(author)?, chain })
        };
        rows.into_iter().map(open).collect()
    }

    /// What is held around a number.
    pub(crate) fn chain_neighbours(&self, id: ChainId, number: u64) -> Result<Neighbours, StoreError> {
        let at = |number: Option<u64>| -> Result<Option<Held>, StoreError> {
            let Some(number) = number else { return Ok(None) };
            let sql = "SELECT sealed FROM chain_links WHERE chain_id = ?1 AND number = ?2";
            let sealed: Option<Vec<u8>> = self.one(sql, params![id.0, signed(number)], |row| row.get(0))?;
            let link: Option<Link> = sealed.map(|sealed| self.open_record(LINK, &sealed)).transpose()?;
            Ok(link.map(|Link { digest, previous }| Held { digest, previous }))
        };
        Ok(Neighbours {
            before: at(number.checked_sub(1))?,
            same: at(Some(number))?,
            after: at(number.checked_add(1))?,
        })
    }

    /// The id of the statement that is held at a number.
    pub(crate) fn chain_message(
        &self,
        id: ChainId,
        number: u64,
    ) -> Result<Option<SharedMessageId>, StoreError> {
        let sql = "SELECT shared_id FROM chain_links WHERE chain_id = ?1 AND number = ?2";
        let found: Option<Vec<u8>> = self.one(sql, params![id.0, signed(number)], |row| row.get(0))?;
        Ok(found.map(SharedMessageId::new).transpose()?)
    }

    /// Holds a statement at its number; the first one stays.
    pub(crate) fn hold_link(
        &mut self,
        id: ChainId,
        number: u64,
        shared_id: &SharedMessageId,
        held: Held,
        late: bool,
    ) -> Result<(), StoreError> {
        let sealed = self.seal_record(LINK, &Link { digest: held.digest, previous: held.previous })?;
        self.run(
            "INSERT INTO chain_links (chain_id, number, shared_id, late, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
            params![id.0, signed(number), shared_id.as_bytes(), late, sealed],
        )?;
        Ok(())
    }

    /// The number of a message in its author's chain, and whether it came after higher ones.
    pub(crate) fn chain_place(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Option<(u64, bool)>, StoreError> {
        let sql = "SELECT number, late FROM chain_links JOIN author_chains USING (chain_id)
                   WHERE shared_id = ?2 AND group_id = ?1";
        let found: Option<(i64, bool)> =
            self.one(sql, params![group.0, shared_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.map(|(number, late)| (unsigned(number), late)))
    }

    /// Notes that a relay brought a number, be it the first copy or not.
    pub(crate) fn note_chain_relay(
        &mut self,
        id: ChainId,
        relay: RelayId,
        number: u64,
    ) -> Result<(), StoreError> {
        self.change_one(
            "INSERT INTO chain_relays (chain_id, relay_id, lowest, highest) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT DO UPDATE SET lowest = min(lowest, excluded.lowest), highest = max(highest, excluded.highest)",
            params![id.0, relay.0, signed(number)],
        )
    }

    /// What each relay brought of a chain.
    pub(crate) fn chain_relays(&self, id: ChainId) -> Result<Vec<Brought>, StoreError> {
        let sql = "SELECT relay_id, lowest, highest FROM chain_relays WHERE chain_id = ?1 ORDER BY relay_id";
        self.all(sql, params![id.0], |row| {
            Ok(Brought {
                relay: RelayId(row.get(0)?),
                lowest: unsigned(row.get(1)?),
                highest: unsigned(row.get(2)?),
            })
        })
    }
}

/// Numbers of chains are far below this bound.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use protocol::group::author_chain::EPOCH_BYTES;
    use protocol::group::author_chain::follow::Arrival;
    use protocol::net::rng::system_rng;

    use super::super::group::tests::a_group;
    use super::super::relay::Relay;
    use super::*;

    fn author() -> MemberId {
        MemberId::new([4; 12]).unwrap()
    }

    fn epoch(byte: u8) -> Epoch {
        Epoch([byte; EPOCH_BYTES])
    }

    #[test]
    fn our_numbers_go_on_until_they_are_forgotten() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        assert_eq!(store.own_chain(group).unwrap(), None);
        let chain = OwnChain::begin(&mut system_rng());
        store.set_own_chain(group, &chain).unwrap();
        let next = chain.followed_by([1; 32], &mut system_rng());
        store.set_own_chain(group, &next).unwrap();
        assert_eq!(store.own_chain(group).unwrap(), Some(next));
        store.forget_own_chains().unwrap();
        assert_eq!(store.own_chain(group).unwrap(), None);
    }

    #[test]
    fn a_link_is_held_once_and_found_from_its_neighbours() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let (id, _) = store.add_author_chain(group, &author(), epoch(1)).unwrap();
        let shared = |text: &str| SharedMessageId::new(text.as_bytes()).unwrap();
        let held = |byte: u8| Held { digest: [byte; 32], previous: None };
        store.hold_link(id, 5, &shared("five"), held(5), false).unwrap();
        store.hold_link(id, 5, &shared("other"), held(6), false).unwrap();
        store.hold_link(id, 4, &shared("four"), held(4), true).unwrap();
        let around = store.chain_neighbours(id, 4).unwrap();
        assert_eq!((around.before, around.same, around.after), (None, Some(held(4)), Some(held(5))));
        assert_eq!(store.chain_place(group, &shared("four")).unwrap(), Some((4, true)));
        assert_eq!(store.chain_place(group, &shared("other")).unwrap(), None);
        assert_eq!(store.chain_message(id, 5).unwrap(), Some(shared("five")));
        let relay = store.add_relay(group, &Relay::listed("r".to_owned(), String::new())).unwrap();
        for number in [5, 4, 7] {
            store.note_chain_relay(id, relay, number).unwrap();
        }
        assert_eq!(store.chain_relays(id).unwrap(), [Brought { relay, lowest: 4, highest: 7 }]);
    }

    #[test]
    fn a_further_epoch_restarts_what_is_followed_and_old_ones_are_let_go() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let (first, chain) = store.add_author_chain(group, &author(), epoch(0)).unwrap();
        assert_eq!(chain, AuthorChain::Unseen { restarts: false });
        store.save_author_chain(first, &chain.apply(Arrival::Said(1)).0).unwrap();
        assert_eq!(
            store.add_author_chain(group, &author(), epoch(1)).unwrap().1,
            AuthorChain::Unseen { restarts: true }
        );
        for byte in 2..=u8::try_from(EPOCHS_MAX).unwrap() {
            store.add_author_chain(group, &author(), epoch(byte)).unwrap();
        }
        assert_eq!(store.author_chain(group, &author(), epoch(0)).unwrap(), None);
        assert!(store.author_chain(group, &author(), epoch(1)).unwrap().is_some());
        assert_eq!(store.author_chains(group).unwrap().len(), EPOCHS_MAX as usize);
    }
}
