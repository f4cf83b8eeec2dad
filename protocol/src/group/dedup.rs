//! The same message by several relays: shown once, and compared (channels.md §8, §17).
//!
//! ```text
//! first copy ─▶ shown
//! next copy  ─▶ the same ─────────────────────────────▶ dropped
//!            ─▶ one signed, one not, same words ──────▶ one relay stripped the signature; the signed one counts
//!            ─▶ other words, one of them verified ────▶ one relay changed it; the verified one counts
//!            ─▶ other words, none verified ───────────▶ one relay changed it, nobody can tell which; the first stays
//!            ─▶ the same post, unsigned, written anew ─▶ dropped: a stock relay's history
//!            ─▶ other words, both verified, one author ─▶ the author said two things under one id; the first stays
//!            ─▶ two authors ──────────────────────────▶ both verified: two messages that happen to have one id;
//!                                                       else the verified one counts, or the first
//! ```
//!
//! The real application drops the second copy unseen. Whatever differs here comes with both relays and both copies,
//! as they came, so that it can be shown and kept as evidence.

use serde_json::Value;

use super::event::Event;
use super::identity::MemberId;
use super::msg_id::SharedMessageId;
use super::signed::Statement;
use super::signing::Verdict;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large, put_maybe, put_short};

/// One copy of a message, as one relay passed it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy<'a> {
    /// The relay that it came through.
    pub relay: &'a MemberId,
    /// The author that the relay named; none for the group itself.
    pub author: Option<&'a MemberId>,
    /// What its signature was worth.
    pub verdict: Verdict,
    /// The statement as it came.
    pub verbatim: &'a [u8],
}

/// How a further copy stands to the one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Nothing new: drop it.
    Same,
    /// The same words; now with a signature that verifies. Hold this copy as verified, and keep the finding.
    Upgrade(Finding),
    /// Other words, verified, where what is held is not. Show this copy instead, and keep the finding.
    Replace(Finding),
    /// Keep what is held, and keep the finding.
    Keep(Finding),
    /// Another author's message under the same id, both verified: treat it as a message of its own.
    Separate,
}

/// What the relays did differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The relay that the held copy came through took the signature away.
    HeldWasStripped,
    /// The relay that the new copy came through took the signature away.
    NewWasStripped,
    /// The relay that the held copy came through changed what was said.
    HeldWasChanged,
    /// The relay that the new copy came through changed what was said.
    NewWasChanged,
    /// One of the two relays changed what was said; neither copy is verified.
    OneWasChanged,
    /// The copies name different authors, and not both are verified: a relay lied, or somebody reused the id.
    OtherAuthor,
    /// The author signed two different statements under one id; the relays are innocent.
    AuthorSaidBoth,
}

impl Finding {
    /// All findings.
    pub const ALL: [Self; 7] = [
        Self::HeldWasStripped,
        Self::NewWasStripped,
        Self::HeldWasChanged,
        Self::NewWasChanged,
        Self::OneWasChanged,
        Self::OtherAuthor,
        Self::AuthorSaidBoth,
    ];

    /// For the reader, with the relays' names. Names are for the caller to sanitise.
    #[must_use]
    pub fn explain(self, held_by: &str, new_by: &str) -> String {
        match self {
            Self::HeldWasStripped => format!("relay {held_by} removed the signature of this message"),
            Self::NewWasStripped => format!("relay {new_by} removed the signature of this message"),
            Self::HeldWasChanged => format!("relay {held_by} changed this message"),
            Self::NewWasChanged => format!("relay {new_by} changed this message"),
            Self::OneWasChanged => {
                format!("relays {held_by} and {new_by} delivered different versions of this message")
            }
            Self::OtherAuthor => {
                format!("relays {held_by} and {new_by} delivered this message with different authors")
            }
            Self::AuthorSaidBoth => "the author sent different versions of this message".to_owned(),
        }
    }

    /// The stable word for programs and records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::HeldWasStripped => "first_copy_stripped",
            Self::NewWasStripped => "later_copy_stripped",
            Self::HeldWasChanged => "first_copy_changed",
            Self::NewWasChanged => "later_copy_changed",
            Self::OneWasChanged => "copies_differ",
            Self::OtherAuthor => "authors_differ",
            Self::AuthorSaidBoth => "author_said_both",
        }
    }
}

/// A finding with everything that proves it, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What the relays did differently.
    pub finding: Finding,
    /// The relay and the copy that came first.
    pub held: EvidenceCopy,
    /// The relay and the copy that came later.
    pub new: EvidenceCopy,
}

/// One copy, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceCopy {
    /// The relay that it came through.
    pub relay: MemberId,
    /// The author that the relay named.
    pub author: Option<MemberId>,
    /// The statement as it came, with its signature.
    pub verbatim: Vec<u8>,
}

impl Evidence {
    /// What to keep of a finding.
    #[must_use]
    pub fn new(finding: Finding, held: &Copy<'_>, new: &Copy<'_>) -> Self {
        Self { finding, held: held.into(), new: new.into() }
    }
}

impl From<&Copy<'_>> for EvidenceCopy {
    fn from(copy: &Copy<'_>) -> Self {
        Self { relay: copy.relay.clone(), author: copy.author.cloned(), verbatim: copy.verbatim.to_vec() }
    }
}

impl Encode for Evidence {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, self.finding.word().as_bytes());
        self.held.encode(out);
        self.new.encode(out);
    }
}

impl Decode for Evidence {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let word = reader.text()?;
        let finding = Finding::ALL.into_iter().find(|finding| finding.word() == word);
        let finding = finding.ok_or(DecodeError::Invalid("finding"))?;
        Ok(Self { finding, held: EvidenceCopy::decode(reader)?, new: EvidenceCopy::decode(reader)? })
    }
}

impl Encode for EvidenceCopy {
    fn encode(&self, out: &mut Vec<u8>) {
        self.relay.encode(out);
        put_maybe(out, self.author.as_ref(), |out, author| author.encode(out));
        put_large(out, &self.verbatim);
    }
}

impl Decode for EvidenceCopy {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            relay: MemberId::decode(reader)?,
            author: reader.maybe(MemberId::decode)?,
            verbatim: reader.large()?.to_vec(),
        })
    }
}

/// Compares a further copy with the one that is held. A copy whose signature is bad never gets to be held: compare it
/// all the same, the finding names the relay.
#[must_use]
pub fn compare(held: &Copy<'_>, new: &Copy<'_>) -> Comparison {
    if held.verbatim == new.verbatim && held.author == new.author {
        return Comparison::Same;
    }
    let verified = |copy: &Copy<'_>| copy.verdict == Verdict::Verified;
    // A relay that passes a member's message off as the group's has not found another author.
    let other_author = held.author.zip(new.author).is_some_and(|(held, new)| held != new);
    if other_author {
        return match (verified(held), verified(new)) {
            (true, true) => Comparison::Separate,
            (false, true) => Comparison::Replace(Finding::OtherAuthor),
            (_, false) => Comparison::Keep(Finding::OtherAuthor),
        };
    }
    let same = says_the_same(held.verbatim, new.verbatim);
    let signed = |copy: &Copy<'_>| is_signed(copy.verbatim);
    match (verified(held), verified(new)) {
        // Two signatures over the same words, or the same words encoded twice by the author.
        (true, true) if same => Comparison::Same,
        (true, true) => Comparison::Keep(Finding::AuthorSaidBoth),
        (true, false) if same && !signed(new) => Comparison::Keep(Finding::NewWasStripped),
        (true, false) => Comparison::Keep(Finding::NewWasChanged),
        (false, true) if same && !signed(held) => Comparison::Upgrade(Finding::HeldWasStripped),
        (false, true) if same => Comparison::Upgrade(Finding::HeldWasChanged),
        (false, true) => Comparison::Replace(Finding::HeldWasChanged),
        (false, false) if same => match (signed(held), signed(new)) {
            (true, false) => Comparison::Keep(Finding::NewWasStripped),
            (false, true) if !matches!(new.verdict, Verdict::Drop(_)) => {
                Comparison::Upgrade(Finding::HeldWasStripped)
            }
            (false, true) => Comparison::Keep(Finding::NewWasChanged),
            (true, true) => Comparison::Keep(Finding::OneWasChanged),
            (false, false) => Comparison::Same,
        },
        (false, false) => match new.verdict {
            Verdict::Drop(_) => Comparison::Keep(Finding::NewWasChanged),
            _ if shows_the_same(held.verbatim, new.verbatim) => Comparison::Same,
            _ => Comparison::Keep(Finding::OneWasChanged),
        },
    }
}

/// Whether two unsigned posts are the same to who reads them. A stock relay writes an unsigned post of its history anew
/// from what it stored of it: what is said stays and what is answered, but a quote has the relay's times and the relay's
/// view of who sent it, and other parameters may be gone.
#[must_use]
pub fn shows_the_same(left: &[u8], right: &[u8]) -> bool {
    shown(left).is_some_and(|shown_left| shown(right) == Some(shown_left))
}

/// Id, content and the id of the post that is answered; nothing for what is signed or no post.
fn shown(verbatim: &[u8]) -> Option<(SharedMessageId, Value, Option<SharedMessageId>)> {
    let statement = Statement::parse(verbatim).ok().filter(|statement| !statement.is_signed())?;
    let message = statement.message().ok()?;
    let Event::MessageNew(new) = message.event else { return None };
    let content = serde_json::to_value(&new.content).ok()?;
    Some((message.message_id?, content, new.quote.and_then(|quote| quote.msg_ref.msg_id)))
}

fn is_signed(verbatim: &[u8]) -> bool {
    Statement::parse(verbatim).is_ok_and(|statement| statement.is_signed())
}

/// Whether two statements say the same. Stock relays encode unsigned messages of their history again, with their own
/// version range, so it is the meaning that counts: id, event and parameters.
fn says_the_same(left: &[u8], right: &[u8]) -> bool {
    let (Some(left), Some(right)) = (body(left), body(right)) else { return false };
    left == right || meaning(left).is_some_and(|said| meaning(right) == Some(said))
}

fn body(verbatim: &[u8]) -> Option<&[u8]> {
    Statement::parse(verbatim).ok().map(|statement| statement.body())
}

fn meaning(body: &[u8]) -> Option<Value> {
    let mut json: Value = serde_json::from_slice(body).ok()?;
    json.as_object_mut()?.remove("v");
    Some(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::sign::Ed25519PrivateKey;
    use crate::group::identity::PublicGroupId;
    use crate::group::signed::sign;
    use crate::group::signing::DropReason;

    const HI: &[u8] = br#"{"v":"1-19","msgId":"AQID","event":"x.msg.new","params":{"content":{"type":"text","text":"hi"}}}"#;
    const HI_AGAIN: &[u8] =
        br#"{"params":{"content":{"text":"hi","type":"text"}},"event":"x.msg.new","msgId":"AQID","v":"1-18"}"#;
    const HO: &[u8] = br#"{"v":"1-19","msgId":"AQID","event":"x.msg.new","params":{"content":{"type":"text","text":"ho"}}}"#;

    fn id(text: &str) -> MemberId {
        MemberId::new(text).unwrap()
    }

    fn signed(json: &[u8]) -> Vec<u8> {
        let group = PublicGroupId::new([1; 32]).unwrap();
        sign(&Ed25519PrivateKey::from_seed(&[1; 32]), &group, &id("ann"), json)
    }

    /// Compares copies by `ann` through the relays `one` and `two`.
    fn compare_copies(held: (&[u8], Verdict), new: (&[u8], Verdict)) -> Comparison {
        let (one, two, ann) = (id("one"), id("two"), id("ann"));
        compare(
            &Copy { relay: &one, author: Some(&ann), verdict: held.1, verbatim: held.0 },
            &Copy { relay: &two, author: Some(&ann), verdict: new.1, verbatim: new.0 },
        )
    }

    #[test]
    fn equal_copies_are_shown_once() {
        use Verdict::{KeyUnknown, Unsigned, Verified};
        let hi = signed(HI);
        assert_eq!(compare_copies((&hi, Verified), (&hi, Verified)), Comparison::Same);
        assert_eq!(compare_copies((&hi, KeyUnknown), (&hi, Verified)), Comparison::Same);
        assert_eq!(compare_copies((HI, Unsigned), (HI, Unsigned)), Comparison::Same);
        assert_eq!(
            compare_copies((HI, Unsigned), (HI_AGAIN, Unsigned)),
            Comparison::Same,
            "history, encoded again"
        );
    }

    /// What an author of the stock app posts, and what a stock relay writes of it for its history.
    const ANSWER: &[u8] = br#"{"v":"1-19","msgId":"AQIE","event":"x.msg.new","params":{"content":{"type":"text","text":"so?"},
        "quote":{"msgRef":{"msgId":"AQID","sentAt":"2026-07-01T10:00:00.123456Z","sent":true,"memberId":"YW5u"},
        "content":{"type":"text","text":"hi"}},"live":true,"ttl":86400}}"#;
    const ANSWER_ANEW: &[u8] =
        br#"{"v":"1-21","msgId":"AQIE","event":"x.msg.new","params":{"content":{"text":"so?","type":"text"},
        "quote":{"msgRef":{"msgId":"AQID","sentAt":"2026-07-01T10:00:01Z","sent":false,"memberId":"YW5u"},
        "content":{"type":"text","text":"hi"}},"ttl":86400}}"#;

    #[test]
    fn a_post_that_a_relay_wrote_anew_is_no_other() {
        use Verdict::{Unsigned, Verified};
        assert_eq!(compare_copies((ANSWER, Unsigned), (ANSWER_ANEW, Unsigned)), Comparison::Same);
        assert_eq!(compare_copies((ANSWER_ANEW, Unsigned), (ANSWER, Unsigned)), Comparison::Same);
        let changed = |from: &str, to: &str| {
            let anew = std::str::from_utf8(ANSWER_ANEW).unwrap().replace(from, to).into_bytes();
            assert_ne!(anew, ANSWER_ANEW);
            compare_copies((ANSWER, Unsigned), (&anew, Unsigned))
        };
        let other = Comparison::Keep(Finding::OneWasChanged);
        assert_eq!(changed("so?", "no?"), other, "other words");
        assert_eq!(changed(r#""text":"hi""#, r#""text":"ha""#), Comparison::Same, "only quoted");
        assert_eq!(changed("\"AQID\"", "\"AQIC\""), other, "an answer to something else");
        let (once, again) = (signed(ANSWER), signed(ANSWER_ANEW));
        assert_eq!(
            compare_copies((&once, Verified), (&again, Verified)),
            Comparison::Keep(Finding::AuthorSaidBoth),
            "what is signed is nobody's to write anew"
        );
        assert_eq!(
            compare_copies((&once, Verified), (ANSWER_ANEW, Unsigned)),
            Comparison::Keep(Finding::NewWasChanged)
        );
    }

    #[test]
    fn a_stripped_signature_is_found_whichever_copy_comes_first() {
        use Verdict::{KeyUnknown, Unsigned, Verified};
        let hi = signed(HI);
        assert_eq!(
            compare_copies((&hi, Verified), (HI, Unsigned)),
            Comparison::Keep(Finding::NewWasStripped)
        );
        assert_eq!(
            compare_copies((HI, Unsigned), (&hi, Verified)),
            Comparison::Upgrade(Finding::HeldWasStripped)
        );
        assert_eq!(
            compare_copies((&hi, KeyUnknown), (HI_AGAIN, Unsigned)),
            Comparison::Keep(Finding::NewWasStripped)
        );
        assert_eq!(
            compare_copies((HI, Unsigned), (&hi, KeyUnknown)),
            Comparison::Upgrade(Finding::HeldWasStripped)
        );
    }

    #[test]
    fn a_change_is_found_and_the_verified_copy_counts() {
        use Verdict::{Unsigned, Verified};
        let (hi, ho) = (signed(HI), signed(HO));
        let bad = Verdict::Drop(DropReason::BadSignature);
        assert_eq!(compare_copies((&hi, Verified), (HO, Unsigned)), Comparison::Keep(Finding::NewWasChanged));
        assert_eq!(
            compare_copies((HO, Unsigned), (&hi, Verified)),
            Comparison::Replace(Finding::HeldWasChanged)
        );
        assert_eq!(compare_copies((HI, Unsigned), (HO, Unsigned)), Comparison::Keep(Finding::OneWasChanged));
        assert_eq!(compare_copies((&hi, Verified), (&ho, bad)), Comparison::Keep(Finding::NewWasChanged));
        assert_eq!(compare_copies((HI, Unsigned), (&ho, bad)), Comparison::Keep(Finding::NewWasChanged));
        assert_eq!(compare_copies((HI, Unsigned), (&hi, bad)), Comparison::Keep(Finding::NewWasChanged));
        assert_eq!(
            compare_copies((&hi, Verified), (&ho, Verified)),
            Comparison::Keep(Finding::AuthorSaidBoth),
            "not the relays' doing"
        );
    }

    #[test]
    fn another_author_under_the_same_id() {
        let (one, two, ann, bob) = (id("one"), id("two"), id("ann"), id("bob"));
        let hi = signed(HI);
        let copy = |relay, author, verdict, verbatim| Copy { relay, author, verdict, verbatim };
        let held = copy(&one, Some(&ann), Verdict::Verified, &hi);
        assert_eq!(compare(&held, &copy(&two, Some(&bob), Verdict::Verified, HI)), Comparison::Separate);
        let unsigned = copy(&two, Some(&bob), Verdict::Unsigned, HI);
        assert_eq!(compare(&held, &unsigned), Comparison::Keep(Finding::OtherAuthor));
        assert_eq!(compare(&unsigned, &held), Comparison::Replace(Finding::OtherAuthor));
        assert_eq!(
            compare(&unsigned, &copy(&one, Some(&ann), Verdict::Unsigned, HI)),
            Comparison::Keep(Finding::OtherAuthor)
        );
    }

    #[test]
    fn a_message_passed_off_as_the_groups_was_stripped() {
        let (one, two, ann) = (id("one"), id("two"), id("ann"));
        let hi = signed(HI);
        let good = Copy { relay: &one, author: Some(&ann), verdict: Verdict::Verified, verbatim: &hi };
        let channel = Copy { relay: &two, author: None, verdict: Verdict::Unsigned, verbatim: HI };
        assert_eq!(compare(&good, &channel), Comparison::Keep(Finding::NewWasStripped));
        assert_eq!(compare(&channel, &good), Comparison::Upgrade(Finding::HeldWasStripped));
        let changed = Copy { verbatim: HO, ..channel };
        assert_eq!(compare(&changed, &good), Comparison::Replace(Finding::HeldWasChanged));
    }

    #[test]
    fn evidence_is_kept_as_it_came() {
        let (one, two, ann) = (id("one"), id("two"), id("ann"));
        let hi = signed(HI);
        let held = Copy { relay: &one, author: Some(&ann), verdict: Verdict::Verified, verbatim: &hi };
        let new = Copy { relay: &two, author: None, verdict: Verdict::Unsigned, verbatim: HO };
        for finding in Finding::ALL {
            let evidence = Evidence::new(finding, &held, &new);
            assert_eq!(evidence.held.verbatim, hi);
            let bytes = evidence.to_bytes();
            assert_eq!(Evidence::from_bytes(&bytes), Ok(evidence));
            for cut in 0..bytes.len() {
                assert!(Evidence::from_bytes(&bytes[..cut]).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_copies_and_records_are_survived(held: Vec<u8>, new: Vec<u8>, verified: bool) {
            let (one, two) = (id("one"), id("two"));
            let verdict = if verified { Verdict::Verified } else { Verdict::Unsigned };
            let copy = |relay, verbatim| Copy { relay, author: None, verdict, verbatim };
            let _ = compare(&copy(&one, &held), &copy(&two, &new));
            let _ = Evidence::from_bytes(&held);
        }
    }

    #[test]
    fn findings_name_the_relay_to_blame() {
        assert_eq!(Finding::NewWasChanged.explain("one", "two"), "relay two changed this message");
        assert_eq!(
            Finding::HeldWasStripped.explain("one", "two"),
            "relay one removed the signature of this message"
        );
    }
}
