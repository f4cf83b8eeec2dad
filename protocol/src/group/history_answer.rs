//! An answer to a request for history, as message bodies (docs/protocol.md §5, "History by pages").
//!
//! ```text
//! body = batch( x.grp.history.page, introductions of authors, items oldest first )
//! ```
//!
//! An item that leaves no room for the header fills a body by itself, and the next header stands for it too.

use std::collections::BTreeSet;

use super::batch::{Added, BatchWriter, pack};
use super::constants::{
    BATCH_ELEMENTS_MAX, HISTORY_HEADER_BYTES_MAX, HISTORY_PAGE_BODIES_MAX, MESSAGE_BYTES_MAX,
};
use super::event::history::{HistoryPage, HistoryPosition};
use super::event::{Event, Message};
use super::identity::MemberId;

/// One item of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it stands: what is older comes before it.
    pub position: HistoryPosition,
    /// Who said it.
    pub author: MemberId,
    /// Who that is, for those who have not met.
    pub introduction: Option<Vec<u8>>,
    /// The forward element.
    pub forward: Vec<u8>,
}

/// Bytes of an element's length in a batch.
const LENGTH_BYTES: usize = 2;

/// What is being filled.
#[derive(Default)]
struct Draft {
    introductions: Vec<Vec<u8>>,
    newest_first: Vec<Vec<u8>>,
    bytes: usize,
    /// The oldest item in it.
    oldest: Option<HistoryPosition>,
}

impl Draft {
    fn add(&mut self, item: &Item, met: &mut BTreeSet<MemberId>) -> bool {
        let introduction = item.introduction.as_ref().filter(|_| !met.contains(&item.author));
        let size = |element: &Vec<u8>| element.len().saturating_add(LENGTH_BYTES);
        let bytes = size(&item.forward).saturating_add(introduction.map_or(0, size));
        let elements = self.introductions.len().saturating_add(self.newest_first.len()).saturating_add(3);
        if self.bytes.saturating_add(bytes) > MESSAGE_BYTES_MAX - HISTORY_HEADER_BYTES_MAX
            || elements > BATCH_ELEMENTS_MAX
        {
            return false;
        }
        self.introductions.extend(introduction.cloned());
        met.insert(item.author.clone());
        self.newest_first.push(item.forward.clone());
        self.bytes = self.bytes.saturating_add(bytes);
        self.oldest = Some(item.position.clone());
        true
    }
}

/// The bodies of an answer: newest items first from body to body, as far as one answer goes. `next` is where older items
/// than these begin, if there are any.
#[must_use]
pub fn bodies(
    before: Option<&HistoryPosition>,
    newest_first: Vec<Item>,
    next: Option<&HistoryPosition>,
) -> Vec<Vec<u8>> {
    let (mut parts, mut draft, mut met) = (Vec::new(), Draft::default(), BTreeSet::new());
    let mut is_cut = false;
    for item in newest_first {
        if draft.add(&item, &mut met) {
            continue;
        }
        if draft.oldest.is_some() {
            parts.push(Part::Page(std::mem::take(&mut draft)));
            if parts.len() >= HISTORY_PAGE_BODIES_MAX {
                is_cut = true;
                break;
            }
            if draft.add(&item, &mut met) {
                continue;
            }
        }
        parts.push(Part::Alone(item.introduction.into_iter().chain([item.forward]).collect()));
        draft.oldest = Some(item.position);
    }
    if draft.oldest.is_some() || parts.is_empty() {
        parts.push(Part::Page(draft));
    }
    let count = parts.len();
    let mut oldest = before.cloned();
    let mut bodies = Vec::new();
    for (place, part) in (1..).zip(parts) {
        match part {
            Part::Alone(elements) => bodies.extend(pack(elements.iter().map(Vec::as_slice)).0),
            Part::Page(draft) => {
                let last = place == count;
                oldest = draft.oldest.clone().or(oldest);
                let next = if last && !is_cut { next.cloned() } else { oldest.clone() };
                let header = HistoryPage { before: before.cloned(), next, last };
                bodies.extend(batch(header, &draft));
            }
        }
    }
    bodies
}

/// A body, or an item that takes one for itself.
enum Part {
    Page(Draft),
    Alone(Vec<Vec<u8>>),
}

fn batch(header: HistoryPage, draft: &Draft) -> Option<Vec<u8>> {
    let mut writer = BatchWriter::new();
    let header = Message::new(None, Event::HistoryPage(header)).to_json();
    let items = draft.introductions.iter().chain(draft.newest_first.iter().rev());
    for element in std::iter::once(&header).chain(items) {
        match writer.add(element) {
            Added::Added => {}
            // Nothing is that long: the room for the header is wide enough.
            Added::Full | Added::TooLarge => {}
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::super::batch::Element;
    use super::super::constants::STATEMENT_BYTES_MAX;
    use super::super::container;
    use super::super::forward::{ForwardSender, forward};
    use super::super::signed::Statement;
    use super::*;
    use crate::timestamp::Timestamp;

    fn position(number: usize) -> HistoryPosition {
        HistoryPosition::new(number.to_string()).unwrap()
    }

    fn said(number: usize, bytes: usize) -> String {
        format!(r#"{{"event":"x.ok","params":{{}},"number":{number},"{}":1}}"#, "x".repeat(bytes))
    }

    /// Item `number`, of so many bytes, by a stranger.
    fn item(number: usize, bytes: usize) -> Item {
        let said = said(number, bytes);
        let id = MemberId::new([1; 12]).unwrap();
        let sender = ForwardSender::Member { id: id.clone(), name: "Ann".to_owned() };
        Item {
            position: position(number),
            author: id,
            introduction: Some(br#"{"event":"x.grp.mem.new"}"#.to_vec()),
            forward: forward(&sender, Timestamp(0), &Statement::parse(said.as_bytes()).unwrap()),
        }
    }

    /// Headers, numbers of items in the order of the bodies, and how many introductions there are.
    fn read(bodies: &[Vec<u8>]) -> (Vec<HistoryPage>, Vec<Vec<u64>>, usize) {
        let (mut headers, mut numbers, mut introductions) = (Vec::new(), Vec::new(), 0);
        for body in bodies {
            assert!(body.len() <= MESSAGE_BYTES_MAX);
            let mut items = Vec::new();
            for element in container::elements(body).unwrap() {
                match element.unwrap() {
                    Element::Forward(forward) => {
                        let json: serde_json::Value =
                            serde_json::from_slice(forward.statement.body()).unwrap();
                        items.push(json["number"].as_u64().unwrap());
                    }
                    Element::Statement(said) => match said.message() {
                        Ok(Message { event: Event::HistoryPage(page), .. }) => headers.push(page),
                        _ => introductions += 1,
                    },
                    Element::Chunk(_) => panic!("no piece of a file"),
                }
            }
            numbers.push(items);
        }
        (headers, numbers, introductions)
    }

    fn page(before: Option<usize>, next: Option<usize>, last: bool) -> HistoryPage {
        HistoryPage { before: before.map(position), next: next.map(position), last }
    }

    #[test]
    fn no_history_is_an_answer() {
        let (headers, numbers, _) = read(&bodies(Some(&position(5)), Vec::new(), None));
        assert_eq!((headers, numbers), (vec![page(Some(5), None, true)], vec![vec![]]));
    }

    #[test]
    fn items_stand_oldest_first_behind_their_author_who_is_introduced_once() {
        let items = vec![item(9, 10), item(8, 10), item(6, 10)];
        let (headers, numbers, introductions) = read(&bodies(None, items.clone(), Some(&position(5))));
        assert_eq!((headers, numbers), (vec![page(None, Some(5), true)], vec![vec![6, 8, 9]]));
        assert_eq!(introductions, 1);
        assert_eq!(read(&bodies(None, items, None)).0, [page(None, None, true)]);
    }

    #[test]
    fn each_body_says_where_to_go_on() {
        let items = (1..=12).rev().map(|number| item(number, 3000)).collect();
        let (headers, numbers, introductions) = read(&bodies(Some(&position(99)), items, None));
        assert_eq!(numbers, [vec![9, 10, 11, 12], vec![5, 6, 7, 8], vec![1, 2, 3, 4]]);
        let pages =
            [page(Some(99), Some(9), false), page(Some(99), Some(5), false), page(Some(99), None, true)];
        assert_eq!((headers.as_slice(), introductions), (&pages[..], 1));
    }

    #[test]
    fn the_longest_item_has_a_body_for_itself() {
        let longest = item(2, STATEMENT_BYTES_MAX - said(2, 0).len());
        for items in [vec![longest.clone()], vec![item(3, 10), longest.clone(), item(1, 10)]] {
            let count = items.len() as u64;
            let (headers, numbers, _) = read(&bodies(None, items, None));
            let came: BTreeSet<u64> = numbers.concat().into_iter().collect();
            assert_eq!(came.len() as u64, count, "{numbers:?}");
            assert_eq!(headers.last(), Some(&page(None, None, true)));
            assert!(headers.iter().all(|header| header.last || header.next.is_some()));
        }
    }

    #[test]
    fn one_answer_is_bounded_and_the_rest_can_be_asked_for() {
        let items: Vec<_> = (1..=100).rev().map(|number| item(number, 9000)).collect();
        let (headers, numbers, _) = read(&bodies(None, items, None));
        assert_eq!(numbers.len(), HISTORY_PAGE_BODIES_MAX);
        let oldest = *numbers.last().unwrap().first().unwrap();
        assert_eq!(headers.last(), Some(&page(None, Some(usize::try_from(oldest).unwrap()), true)));
    }
}
