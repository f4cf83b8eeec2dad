//! Where a subscription stands among those of other nodes (see [`crate::cluster`]).

use crate::store::Claim;

/// Its claim and that of its rivals. Always the default without a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Its own claim, once the store has given it.
    claim: Option<Claim>,
    /// The highest claim of another node that was heard of.
    rival: Option<Claim>,
}

impl Standing {
    /// Of a new subscription in place of one that stood here, if any: its claim follows, what is known of rivals stays.
    pub(crate) fn after(former: Option<Self>) -> Self {
        Self { claim: None, rival: former.and_then(|former| former.rival) }
    }

    /// Its own claim.
    pub(crate) fn claim(self) -> Option<Claim> {
        self.claim
    }

    /// The store gave it this claim.
    pub(crate) fn claimed(&mut self, claim: Claim) {
        self.claim = self.claim.max(Some(claim));
    }

    /// Another node has this claim.
    pub(crate) fn heard_of(&mut self, rival: Claim) {
        self.rival = self.rival.max(Some(rival));
    }

    /// Whether another node subscribed after this one.
    pub(crate) fn is_lost(self) -> bool {
        self.claim.is_some_and(|claim| self.rival.is_some_and(|rival| rival > claim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_claim_holds_in_whichever_order_it_is_heard_of() {
        for (own, rival, is_lost) in [(5, 6, true), (6, 5, false)] {
            let mut standing = Standing::default();
            standing.claimed(Claim(own));
            standing.heard_of(Claim(rival));
            assert_eq!(standing.is_lost(), is_lost);
            let mut standing = Standing::default();
            standing.heard_of(Claim(rival));
            assert!(!standing.is_lost(), "its own claim is on its way");
            standing.claimed(Claim(own));
            assert_eq!(standing.is_lost(), is_lost);
            standing.claimed(Claim(7));
            assert!(!standing.is_lost());
            standing.heard_of(Claim(8));
            standing.heard_of(Claim(1));
            assert!(standing.is_lost());
            let next = Standing::after(Some(standing));
            assert_eq!((next.claim(), next.is_lost()), (None, false));
        }
    }
}
