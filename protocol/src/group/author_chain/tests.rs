use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::follow::{Arrival, AuthorChain, Held, MISSING_RANGES_MAX, Neighbours, Range, Told, arrival};
use super::*;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::group::event::content::{Content, MessageNew};
use crate::group::event::{Event, Message};
use crate::group::identity::{MemberId, PublicGroupId};
use crate::group::msg_id::SharedMessageId;
use crate::group::signed::{Statement, sign};

/// One statement as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Post {
    link: ChainLink,
    digest: Digest,
}

/// `count` statements; those of different `branch`es differ from number `fork` on.
fn posts(count: u64, branch: u8, fork: u64) -> Vec<Post> {
    let (mut previous, mut posts) = (None, Vec::new());
    for number in 1..=count {
        let own = if number < fork { 0 } else { branch };
        let digest: Digest = crate::crypto::hash::sha256(&[own, u8::try_from(number).unwrap()]);
        posts.push(Post { link: ChainLink::new(Epoch([7; 12]), number, previous).unwrap(), digest });
        previous = Some(digest);
    }
    posts
}

/// A member who keeps what comes.
struct Reader {
    chain: AuthorChain,
    held: BTreeMap<u64, Held>,
}

impl Reader {
    fn new() -> Self {
        Self { chain: AuthorChain::Unseen { restarts: false }, held: BTreeMap::new() }
    }

    fn takes(&mut self, post: &Post, recalled: bool) -> Told {
        let number = post.link.number();
        let at = |number: u64| self.held.get(&number).copied();
        let neighbours =
            Neighbours { before: at(number.saturating_sub(1)), same: at(number), after: at(number + 1) };
        let arrival = arrival(&post.link, &post.digest, recalled, &neighbours);
        self.held
            .entry(number)
            .or_insert(Held { digest: post.digest, previous: post.link.previous().copied() });
        let (chain, told) = std::mem::replace(&mut self.chain, AuthorChain::Recalled).apply(arrival);
        self.chain = chain;
        told
    }

    fn missing(&self) -> BTreeSet<u64> {
        self.chain.missing().iter().flat_map(|range| range.from..=range.to).collect()
    }
}

/// States in the order of the table below, each at head 5 with 3 missing where it has numbers.
fn states() -> [AuthorChain; 5] {
    let follow = |numbers: &[u64]| {
        let start = AuthorChain::Unseen { restarts: false };
        numbers.iter().fold(start, |chain, number| chain.apply(Arrival::Said(*number)).0)
    };
    let followed = follow(&[2, 4, 5]);
    let forked = followed.clone().apply(Arrival::Contradiction { number: 5, with: 5 }).0;
    [
        AuthorChain::Unseen { restarts: false },
        AuthorChain::Unseen { restarts: true },
        AuthorChain::Recalled,
        followed,
        forked,
    ]
}

fn name(chain: &AuthorChain) -> &'static str {
    match chain {
        AuthorChain::Unseen { .. } => "unseen",
        AuthorChain::Recalled => "recalled",
        AuthorChain::Followed(_) => "followed",
        AuthorChain::Forked(_) => "forked",
    }
}

#[test]
fn every_state_and_every_arrival() {
    let gap = |from, to| Told::Gap(Range { from, to });
    let restarted = |from, to| Told::Restarted(Some(Range { from, to }));
    let fork = Told::Forked { with: 5 };
    let arrivals = [
        Arrival::Again,
        Arrival::Recalled(3),
        Arrival::Said(6),
        Arrival::Said(8),
        Arrival::Said(3),
        Arrival::Said(1),
        Arrival::Contradiction { number: 6, with: 5 },
    ];
    use Told::{Late, Nothing};
    let expected: [[(&str, Told); 7]; 5] = [
        [
            ("unseen", Nothing),
            ("recalled", Nothing),
            ("followed", Nothing),
            ("followed", Nothing),
            ("followed", Nothing),
            ("followed", Nothing),
            ("forked", fork),
        ],
        [
            ("unseen", Nothing),
            ("recalled", Nothing),
            ("followed", restarted(1, 5)),
            ("followed", restarted(1, 7)),
            ("followed", restarted(1, 2)),
            ("followed", Told::Restarted(None)),
            ("forked", fork),
        ],
        [
            ("recalled", Nothing),
            ("recalled", Nothing),
            ("followed", Nothing),
            ("followed", Nothing),
            ("followed", Nothing),
            ("followed", Nothing),
            ("forked", fork),
        ],
        [
            ("followed", Nothing),
            ("followed", Late),
            ("followed", Nothing),
            ("followed", gap(6, 7)),
            ("followed", Late),
            ("followed", Late),
            ("forked", fork),
        ],
        [
            ("forked", Nothing),
            ("forked", Nothing),
            ("forked", Nothing),
            ("forked", Nothing),
            ("forked", Nothing),
            ("forked", Nothing),
            ("forked", Nothing),
        ],
    ];
    for (state, row) in states().into_iter().zip(expected) {
        for (arrival, (to, told)) in arrivals.into_iter().zip(row) {
            let (after, shown) = state.clone().apply(arrival);
            assert_eq!((name(&after), shown), (to, told), "{state:?} {arrival:?}");
            assert!(!matches!(after, AuthorChain::Forked(_)) || after.missing().is_empty());
        }
    }
}

#[test]
fn a_contradiction_is_seen_from_either_side() {
    let (left, right) = (posts(6, 1, 4), posts(6, 2, 4));
    for (held, comes, with) in [(3, 3, 4), (3, 4, 4), (4, 3, 5)] {
        let mut reader = Reader::new();
        assert_eq!(reader.takes(&left[held], false), Told::Nothing);
        assert_eq!(reader.takes(&right[comes], false), Told::Forked { with });
        assert_eq!(reader.takes(&right[5], false), Told::Nothing, "it is told once");
    }
}

#[test]
fn history_claims_nothing_until_something_is_said_to_us() {
    let posts = posts(12, 0, 1);
    let mut reader = Reader::new();
    for (number, recalled) in [(3, true), (7, true), (10, false), (5, true)] {
        assert_eq!(reader.takes(&posts[number - 1], recalled), Told::Nothing, "{number}");
    }
    assert_eq!(reader.takes(&posts[11], false), Told::Gap(Range { from: 11, to: 11 }));
    assert_eq!(reader.takes(&posts[8], true), Told::Nothing, "from below what was first said to us");
}

#[test]
fn what_was_said_to_us_before_the_first_that_came_is_late() {
    let posts = posts(4, 0, 1);
    let mut reader = Reader::new();
    assert_eq!(reader.takes(&posts[2], false), Told::Nothing);
    assert_eq!(reader.takes(&posts[3], false), Told::Nothing);
    assert_eq!(reader.takes(&posts[1], false), Told::Late);
    assert_eq!(reader.takes(&posts[1], false), Told::Nothing, "another relay's copy");
    assert_eq!(reader.missing(), BTreeSet::new(), "whether 1 was said to us, nobody knows");
    assert_eq!((reader.chain.covers(2), reader.chain.covers(3), reader.chain.covers(9)), (false, true, true));
    assert!(!AuthorChain::Recalled.covers(3));
}

#[test]
fn what_is_missing_is_bounded_and_the_lowest_is_let_go() {
    let mut chain = AuthorChain::Unseen { restarts: false };
    let most = u64::try_from(MISSING_RANGES_MAX).unwrap();
    for number in 0..=most + 1 {
        chain = chain.apply(Arrival::Said(1 + 2 * number)).0;
    }
    assert_eq!(chain.missing().len(), MISSING_RANGES_MAX);
    assert_eq!(chain.missing().first(), Some(&Range { from: 4, to: 4 }));
    assert_eq!(chain.clone().apply(Arrival::Said(2)), (chain, Told::Late), "it was let go");
}

#[test]
fn a_stored_chain_is_read_as_it_was_written() {
    for state in states() {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<AuthorChain>(&text).unwrap(), state);
    }
    let own = OwnChain::begin(&mut StdRng::seed_from_u64(1));
    assert_eq!(serde_json::from_str::<OwnChain>(&serde_json::to_string(&own).unwrap()).unwrap(), own);
}

#[test]
fn numbers_and_epochs_of_our_own() {
    let mut rng = StdRng::seed_from_u64(1);
    let first = OwnChain::begin(&mut rng);
    assert_eq!((first.next().number(), first.next().previous()), (1, None));
    let second = first.followed_by([5; 32], &mut rng).next();
    assert_eq!((second.epoch, second.number(), second.previous()), (first.next().epoch, 2, Some(&[5; 32])));
    let last = OwnChain { next: ChainLink::new(Epoch([1; 12]), NUMBER_MAX, Some([1; 32])).unwrap() };
    let anew = last.followed_by([5; 32], &mut rng).next();
    assert_eq!((anew.number(), anew.previous()), (1, None));
    assert_ne!(anew.epoch, Epoch([1; 12]));
}

fn post(text: &str) -> Message {
    let id = SharedMessageId::new(b"AAAA".to_vec()).unwrap();
    Message::new(Some(id), Event::MessageNew(Box::new(MessageNew::new(Content::text(text)))))
}

#[test]
fn the_field_stands_among_the_parameters_and_has_this_form() {
    let link = ChainLink::new(Epoch([0; 12]), 2, Some([0; 32])).unwrap();
    let json = String::from_utf8(post("hi").chained(link).to_json()).unwrap();
    let zeros = "A".repeat(43);
    assert!(json.contains(&format!(
        r#""params":{{"authorChain":{{"epoch":"AAAAAAAAAAAAAAAA","number":2,"previous":"{zeros}="}},"content""#
    )));
    assert_eq!(Message::parse(json.as_bytes()).unwrap(), post("hi").chained(link));
    let longest = ChainLink::new(Epoch([0; 12]), NUMBER_MAX, Some([0; 32])).unwrap();
    let added = post("").chained(longest).to_json().len() - post("").to_json().len();
    assert!(added <= AUTHOR_CHAIN_BYTES_MAX, "{added}");
}

#[test]
fn a_field_that_makes_no_sense_is_passed_over() {
    let (zeros, epoch) = ("A".repeat(43), "AAAAAAAAAAAAAAAA");
    let good = format!(r#"{{"epoch":"{epoch}","number":2,"previous":"{zeros}"}}"#);
    let parse = |field: &str| {
        let json = format!(r#"{{"event":"x.grp.leave","params":{{"authorChain":{field}}}}}"#);
        Message::parse(json.as_bytes()).unwrap().chain
    };
    assert!(parse(&good).is_some());
    for (from, to) in [
        ("\"number\":2", "\"number\":1"),
        ("\"number\":2", "\"number\":0"),
        ("\"number\":2", "\"number\":-2"),
        ("\"number\":2", "\"number\":9007199254740992"),
        ("\"number\":2,", ""),
        (epoch, "AAAA"),
        (zeros.as_str(), "AAAA"),
        ("\"previous\"", "\"before\""),
    ] {
        assert_eq!(parse(&good.replace(from, to)), None, "{to}");
    }
    for other in ["1", "null", "[]", "\"text\"", "{}"] {
        assert_eq!(parse(other), None, "{other}");
    }
}

#[test]
fn a_relay_cannot_change_the_digest_by_its_handling_of_signatures() {
    let (group, member) = (PublicGroupId::new([1; 32]).unwrap(), MemberId::new([2; 12]).unwrap());
    let json = post("hi").to_json();
    let said = sign(&Ed25519PrivateKey::from_seed(&[3; 32]), &group, &member, &json);
    let twice = [b"/G\x02", &said[3..69], &said[3..69], &json].concat();
    let digest = |bytes: &[u8]| Statement::parse(bytes).unwrap().digest(&group, &member);
    assert_eq!(digest(&said), digest(&twice));
    assert_eq!(digest(&said), digest(&json), "stripped");
    let other = MemberId::new([4; 12]).unwrap();
    assert_ne!(digest(&said), Statement::parse(&said).unwrap().digest(&group, &other));
}

#[test]
fn what_all_relays_get_signed_is_chained() {
    let mut names: Vec<_> =
        EventTag::ALL.iter().filter(|tag| tag.is_chained()).map(|tag| tag.name()).collect();
    names.sort_unstable();
    let expected = [
        "x.grp.del",
        "x.grp.info",
        "x.grp.leave",
        "x.grp.mem.del",
        "x.grp.mem.restrict",
        "x.grp.mem.role",
        "x.grp.prefs",
        "x.info",
        "x.msg.del",
        "x.msg.new",
        "x.msg.update",
    ];
    assert_eq!(names, expected);
}

/// What several relays deliver of `count` statements: each in an order of its own, with losses and repetitions,
/// interleaved.
fn deliveries(count: u64) -> impl Strategy<Value = Vec<u64>> {
    let relay = prop::collection::vec(1..=count, 0..40);
    prop::collection::vec(relay, 1..4).prop_map(|relays| relays.concat()).prop_shuffle()
}

proptest! {
    #[test]
    fn any_delivery_gives_exactly_what_is_missing(numbers in deliveries(20)) {
        let posts = posts(20, 0, 1);
        let mut reader = Reader::new();
        for number in &numbers {
            reader.takes(&posts[usize::try_from(*number - 1).unwrap()], false);
            prop_assert_ne!(name(&reader.chain), "forked");
        }
        let came: BTreeSet<u64> = numbers.iter().copied().collect();
        // What comes below the first is history: nothing is claimed between.
        let span = numbers.first().zip(came.last()).into_iter().flat_map(|(base, head)| *base..=*head);
        let expected: BTreeSet<u64> = span.filter(|number| !came.contains(number)).collect();
        prop_assert_eq!(reader.missing(), expected);
    }

    #[test]
    fn a_fork_is_found_in_whatever_order_both_branches_come(
        fork in 1_u64..=8,
        order in Just((0_usize..16).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let all = [posts(8, 1, fork), posts(8, 2, fork)].concat();
        let mut reader = Reader::new();
        let forks = order.iter().filter(|place| matches!(reader.takes(&all[**place], false), Told::Forked { .. })).count();
        prop_assert_eq!(forks, 1);
    }
}
