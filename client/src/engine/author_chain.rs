//! What of an author's statements did not come: see [`protocol::group::author_chain`].
//!
//! ```text
//! verified statement ─▶ which relay brought the number ─▶ against what is held ─▶ gap · late · restarted · fork
//! ```

use protocol::encoding::Encode as _;
use protocol::group::author_chain::follow::{Held, Range, Told, arrival};
use protocol::group::author_chain::proof::ForkProof;
use protocol::group::author_chain::{ChainLink, OwnChain};
use protocol::group::event::Message;
use protocol::group::forward::Forward;
use protocol::group::identity::{MemberId, MemberKey};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::Statement;
use protocol::timestamp::Timestamp;

use super::step::{Done, Step};
use crate::event::{Event, EvidenceKind};
use crate::rows;
use crate::store::author_chain::ChainId;
use crate::store::evidence::Evidence;
use crate::store::group::{Group, GroupId};
use crate::store::relay::RelayRow;

/// A verified statement with a place in its author's chain, as one relay brought it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chained<'a> {
    /// Who said it.
    pub(super) author: &'a MemberId,
    /// The key that it verifies with.
    pub(super) key: &'a MemberKey,
    /// Its place.
    pub(super) link: &'a ChainLink,
    /// Its id.
    pub(super) shared_id: &'a SharedMessageId,
}

impl Step<'_, '_> {
    /// Gives a statement of ours its place, if it is of the kind that has one.
    pub(super) fn chain(&mut self, id: GroupId, message: Message) -> Done<Message> {
        if !message.event.is_chained() {
            return Ok(message);
        }
        let chain = match self.store.own_chain(id)? {
            Some(chain) => chain,
            None => {
                let chain = OwnChain::begin(self.context.rng());
                self.store.set_own_chain(id, &chain)?;
                chain
            }
        };
        Ok(message.chained(chain.next()))
    }

    /// A statement of ours has taken its place; it is stored in the same transaction.
    pub(super) fn has_said(&mut self, id: GroupId, group: &Group, said: &[u8]) -> Done<()> {
        let (Some(chain), Ok(statement)) = (self.store.own_chain(id)?, Statement::parse(said)) else {
            return Ok(());
        };
        let digest = statement.digest(&group.public_id, &group.member_id);
        Ok(self.store.set_own_chain(id, &chain.followed_by(digest, self.context.rng()))?)
    }

    /// Whether something was said before we came: by the time that the relay names, unless its author's numbers say
    /// that it follows what was said to us. A relay may have the time from a clock that is wrong.
    pub(super) fn is_recalled(
        &self,
        group: &Group,
        id: GroupId,
        sent_at: Timestamp,
        said: Option<Chained<'_>>,
    ) -> Done<bool> {
        if !group.recalls(sent_at) {
            return Ok(false);
        }
        let Some(said) = said else { return Ok(true) };
        let known = self.store.author_chain(id, said.author, said.link.epoch)?;
        Ok(!known.is_some_and(|(_, chain)| chain.covers(said.link.number())))
    }

    /// Every copy of a verified statement comes here, the first as well as the others. Says whether it came after
    /// later ones.
    pub(super) fn chain_came(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        forward: &Forward<'_>,
        said: Chained<'_>,
        recalled: bool,
    ) -> Done<bool> {
        let (id, number) = (relay.group, said.link.number());
        // What we said ourselves is no news. Another device of ours has an epoch of its own: what it said has its place.
        if *said.author == group.member_id {
            let chain = match self.store.author_chain(id, said.author, said.link.epoch)? {
                Some((known, _)) => known,
                None => self.store.add_author_chain(id, said.author, said.link.epoch)?.0,
            };
            let digest = forward.statement.digest(&group.public_id, said.author);
            let held = Held { digest, previous: said.link.previous().copied() };
            self.store.hold_link(chain, number, said.shared_id, held, false)?;
            return Ok(false);
        }
        let (chain_id, chain) = match self.store.author_chain(id, said.author, said.link.epoch)? {
            Some(known) => known,
            None => self.store.add_author_chain(id, said.author, said.link.epoch)?,
        };
        self.store.note_chain_relay(chain_id, relay.id, number)?;
        let digest = forward.statement.digest(&group.public_id, said.author);
        let held = self.store.chain_neighbours(chain_id, number)?;
        let arrival = arrival(said.link, &digest, recalled, &held);
        let (after, told) = chain.clone().apply(arrival);
        if held.same.is_none() {
            let held = Held { digest, previous: said.link.previous().copied() };
            self.store.hold_link(chain_id, number, said.shared_id, held, told == Told::Late)?;
        }
        if after != chain {
            self.store.save_author_chain(chain_id, &after)?;
        }
        match told {
            Told::Nothing => {}
            Told::Gap(gap) => self.tell_gap(id, group, chain_id, said.author, gap)?,
            Told::Late => self.tell_late(relay, group, chain_id, said)?,
            Told::Restarted(gap) => {
                self.tell(Event::Restarted {
                    group: group.alias.clone(),
                    author: rows::author_name(self.store, id, group, Some(said.author))?,
                    author_id: said.author.to_string(),
                    relay: relay.record.name.clone(),
                });
                if let Some(gap) = gap {
                    self.tell_gap(id, group, chain_id, said.author, gap)?;
                }
            }
            Told::Forked { with } => self.forked(relay, group, forward, chain_id, said, with)?,
        }
        Ok(told == Told::Late)
    }

    fn tell_gap(
        &mut self,
        id: GroupId,
        group: &Group,
        chain: ChainId,
        author: &MemberId,
        gap: Range,
    ) -> Done<()> {
        let row = rows::gap_row(self.store, id, group, chain, author, gap)?;
        self.want_missing(id, &row.skipped_by)?;
        self.tell(Event::Gap(rows::gap_row(self.store, id, group, chain, author, gap)?));
        Ok(())
    }

    fn tell_late(&mut self, relay: &RelayRow, group: &Group, chain: ChainId, said: Chained<'_>) -> Done<()> {
        let number = said.link.number();
        let gap = Range { from: number, to: number };
        let mut gap = rows::gap_row(self.store, relay.group, group, chain, said.author, gap)?;
        gap.skipped_by.retain(|name| *name != relay.record.name);
        self.tell(Event::Late {
            group: gap.group,
            author: gap.author,
            author_id: gap.author_id,
            number,
            message_id: said.shared_id.to_string(),
            relay: relay.record.name.clone(),
            skipped_by: gap.skipped_by,
        });
        Ok(())
    }

    /// Keeps both statements: they prove it to whoever knows the author's key.
    fn forked(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        forward: &Forward<'_>,
        chain: ChainId,
        said: Chained<'_>,
        with: u64,
    ) -> Done<()> {
        let id = relay.group;
        let Some(other) = self.store.chain_message(chain, with)? else { return Ok(()) };
        let Some((held_by, held)) = self.store.held_copy(id, &other)? else { return Ok(()) };
        let proof = ForkProof { first: held.verbatim, second: forward.statement.verbatim().to_vec() };
        if !proof.proves(&group.public_id, said.author, said.key) {
            // Two members' messages of one id: the other's is what is held under it.
            return Ok(());
        }
        let author = rows::author_name(self.store, id, group, Some(said.author))?;
        let first = self.store.relay(held_by)?.map(|first| first.record.name).unwrap_or_default();
        let detail = format!(
            "{author} signed two statements that no order can hold both, numbers {with} (by relay {first}) and {} \
             (by relay {}): either two copies of one home are in use, or {author} tells people different things",
            said.link.number(),
            relay.record.name
        );
        let evidence = Evidence {
            kind: EvidenceKind::AuthorForked,
            relay: relay.record.name.clone(),
            message_id: Some(said.shared_id.to_string()),
            detail,
            bytes: proof.to_bytes(),
        };
        self.hold_against(id, group.alias.clone(), evidence)
    }
}
