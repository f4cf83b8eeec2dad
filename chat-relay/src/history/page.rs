//! A message of an answer, as its elements tell.

use std::collections::BTreeMap;

use protocol::group::batch::Element;
use protocol::group::event::history::HistoryPage;
use protocol::group::event::members::MemberInfo;
use protocol::group::event::{Event, Message};
use protocol::group::forward::Forward;
use protocol::group::identity::MemberId;

/// What it holds.
pub(crate) struct Page<'a> {
    /// Its header; none for an item that leaves no room for one.
    pub(crate) header: Option<HistoryPage>,
    /// The items, oldest first.
    pub(crate) forwards: Vec<&'a Forward<'a>>,
    /// Who is introduced.
    pub(crate) introduced: BTreeMap<MemberId, MemberInfo>,
}

impl<'a> Page<'a> {
    /// Nothing when it has neither header nor items.
    pub(crate) fn read(elements: &'a [Element<'a>]) -> Option<Self> {
        let (mut header, mut forwards, mut introduced) = (None, Vec::new(), BTreeMap::new());
        for element in elements {
            match element {
                Element::Forward(forward) => forwards.push(forward),
                Element::Statement(said) => match said.message() {
                    Ok(Message { event: Event::HistoryPage(page), .. }) => header = Some(page),
                    Ok(Message { event: Event::MemberNew(new), .. }) => {
                        introduced.insert(new.member_info.member_id.clone(), new.member_info);
                    }
                    _ => {}
                },
                Element::Chunk(_) => {}
            }
        }
        (header.is_some() || !forwards.is_empty()).then_some(Self { header, forwards, introduced })
    }
}
