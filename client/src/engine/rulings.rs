//! What an owner tells a relay that comes: who is removed, who is blocked and who has a role that the roster does not tell,
//! as it was signed. See [`protocol::group::ruling`].

use protocol::agent::Body;
use protocol::group::identity::MemberId;
use protocol::group::ruling::{Ruling, bodies};

use super::history_give::introduction;
use super::step::{Done, Step, default_role};
use crate::store::group::{Group, GroupId};
use crate::store::member::Member;
use crate::store::relay::RelayRow;

impl Step<'_, '_> {
    /// Goes ahead of the roster: a relay that has that, and is listed then, knows who is not to come in.
    pub(super) fn send_rulings_to(&mut self, relay: &RelayRow) -> Done<()> {
        let Some(connection) = relay.connection.filter(|_| relay.record.gives_history) else { return Ok(()) };
        let group = self.store.group(relay.group)?;
        let mut rulings = Vec::new();
        for (id, member) in self.store.members(relay.group)? {
            for ruling in member.rulings(default_role(&group)) {
                rulings.extend(self.told(relay.group, &group, (&id, &member), ruling)?);
            }
        }
        for body in bodies(rulings) {
            self.send_to(connection, Body::Inline(&body), false)?;
        }
        Ok(())
    }

    /// A ruling behind the keys of those whom it names.
    fn told(
        &self,
        id: GroupId,
        group: &Group,
        (of, member): (&MemberId, &Member),
        ruling: &Ruling,
    ) -> Done<Option<Vec<Vec<u8>>>> {
        let author = self.store.member(id, ruling.author())?;
        let name = author.as_ref().map_or_else(String::new, |author| author.name(ruling.author()));
        let Some(forward) = ruling.forward(&name) else { return Ok(None) };
        let author = author.filter(|_| *ruling.author() != group.member_id);
        let mut elements: Vec<_> =
            author.iter().map(|author| introduction(group, ruling.author(), author)).collect();
        elements.extend([introduction(group, of, member), forward]);
        Ok(Some(elements))
    }
}
