//! Two statements of one author that cannot both be in one chain: proof for whoever knows the author's key.

use super::ChainLink;
use super::follow::{Arrival, Held, Neighbours, arrival};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large};
use crate::group::identity::{MemberId, MemberKey, PublicGroupId};
use crate::group::signed::{SignatureState, Statement};

/// `large(first) large(second)`: both statements as they came, with their signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    /// The one that was held.
    pub first: Vec<u8>,
    /// The one that contradicts it.
    pub second: Vec<u8>,
}

impl ForkProof {
    /// Whether both are this author's in this group, and no chain can hold both.
    #[must_use]
    pub fn proves(&self, group: &PublicGroupId, author: &MemberId, key: &MemberKey) -> bool {
        let read = |bytes: &[u8]| -> Option<(ChainLink, Held)> {
            let statement = Statement::parse(bytes).ok()?;
            if statement.check(group, author, Some(key)) != SignatureState::Verified {
                return None;
            }
            let link = statement.message().ok()?.chain?;
            let digest = statement.digest(group, author);
            Some((link, Held { digest, previous: link.previous().copied() }))
        };
        let (Some((first, held)), Some((second, said))) = (read(&self.first), read(&self.second)) else {
            return false;
        };
        let at = |number: Option<u64>| (number == Some(first.number())).then_some(held);
        let around = Neighbours {
            before: at(second.number().checked_sub(1)),
            same: at(Some(second.number())),
            after: at(second.number().checked_add(1)),
        };
        first.epoch == second.epoch
            && matches!(arrival(&second, &said.digest, false, &around), Arrival::Contradiction { .. })
    }
}

impl Encode for ForkProof {
    fn encode(&self, out: &mut Vec<u8>) {
        put_large(out, &self.first);
        put_large(out, &self.second);
    }
}

impl Decode for ForkProof {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { first: reader.large()?.to_vec(), second: reader.large()?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::Ed25519PrivateKey;
    use crate::group::author_chain::Epoch;
    use crate::group::event::members::Leave;
    use crate::group::event::{Event, Message};
    use crate::group::signed::sign;

    #[test]
    fn it_takes_two_statements_of_the_author_that_contradict_each_other() {
        let (group, author) = (PublicGroupId::new([1; 32]).unwrap(), MemberId::new([2; 12]).unwrap());
        let key = Ed25519PrivateKey::from_seed(&[3; 32]);
        let public = MemberKey(key.public_key());
        let say = |by: &Ed25519PrivateKey, epoch: u8, number, previous: Option<[u8; 32]>| {
            let link = ChainLink::new(Epoch([epoch; 12]), number, previous).unwrap();
            sign(by, &group, &author, &Message::new(None, Event::Leave(Leave {})).chained(link).to_json())
        };
        let digest = |said: &[u8]| Statement::parse(said).unwrap().digest(&group, &author);
        let five = say(&key, 1, 5, Some([4; 32]));
        let after = say(&key, 1, 6, Some(digest(&five)));
        let elsewhere = say(&key, 1, 6, Some([9; 32]));
        let proves = |first: &[u8], second: &[u8]| {
            let proof = ForkProof { first: first.to_vec(), second: second.to_vec() };
            assert_eq!(ForkProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
            proof.proves(&group, &author, &public)
        };
        assert!(proves(&five, &elsewhere) && proves(&elsewhere, &five));
        assert!(proves(&after, &elsewhere), "two of one number");
        assert!(!proves(&five, &after) && !proves(&after, &five) && !proves(&five, &five));
        assert!(!proves(&five, &say(&key, 2, 6, Some([9; 32]))), "another epoch");
        assert!(!proves(&five, &say(&key, 1, 8, Some([9; 32]))), "with others between");
        let forged = Ed25519PrivateKey::from_seed(&[8; 32]);
        assert!(!proves(&five, &say(&forged, 1, 6, Some([9; 32]))), "another key");
        assert!(!proves(&five, b"{}"));
    }
}
