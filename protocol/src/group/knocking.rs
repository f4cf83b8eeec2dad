//! Somebody knocks at a group whose joiners are reviewed, as a relay sees it (docs/protocol.md §5).
//!
//! ```text
//! x.member ──▶ Asking ──connected──▶ Waiting ──accepted──▶ Admitted
//!                │ accepted             │ rejected             ▲ connected
//!                └─────▶ Approved ──────┼──────────────────────┘
//!                           │ rejected  ▼
//!                           └──────▶ Rejected ──accepted──▶ Invited: let in when it asks again
//! withdrawn, lost, expired: Gone; what was approved stays so: Invited
//! ```
//!
//! Moderators see a knock when its connection stands, so that each costs its author a queue. The first decision counts;
//! a rejection can be taken back, and an admission ends by removal like any membership.

use thiserror::Error;

/// Where a knock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnockStatus {
    /// The request is answered with "pending review"; the connection is being made.
    Asking,
    /// Connected; a moderator is to decide.
    Waiting,
    /// Accepted before the connection stands.
    Approved,
    /// Not wanted: asking again gets the reason.
    Rejected,
    /// A member from now on.
    Admitted,
    /// Let in without review at the next request.
    Invited,
    /// Nothing is waited for any more.
    Gone,
}

/// What happens to a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnockEvent {
    /// x.member again, by the same id and key.
    Asked,
    /// The connection stands.
    Connected,
    /// A moderator accepts.
    Accepted,
    /// A moderator rejects.
    Rejected,
    /// The joiner takes the request back.
    Withdrawn,
    /// The joiner's queue is gone.
    Lost,
    /// Nobody decided, or the connection was not made, in time.
    Expired,
}

/// What the relay does, in this order, once the record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnockEffect {
    /// Answer the request with x.grp.link.inv, `accepted` being `pending_review`.
    AnswerPending,
    /// Answer the request as that of any joiner.
    AnswerAdmitted,
    /// Answer the request with x.grp.link.reject and the reason.
    AnswerRejected,
    /// x.grp.mem.new to moderators, scoped to the joiner.
    ShowModerators,
    /// x.grp.link.acpt to the joiner.
    TellAccepted,
    /// x.grp.link.reject to the joiner, with the reason.
    TellRejected,
    /// x.grp.link.reject to the joiner: nobody decided.
    TellExpired,
    /// What every new member gets and others get of it.
    Welcome,
    /// x.grp.link.acpt to moderators.
    ReportAccepted,
    /// x.grp.link.reject to moderators, with the reason.
    ReportRejected,
    /// x.grp.link.reject to moderators: there is nothing to decide any more.
    ReportGone,
    /// Delete the connection when what waits on it was sent.
    CutOff,
}

/// An event that has no place in this state; it is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{event:?} has no place for a knock that is {status:?}")]
pub struct OutOfPlace {
    /// Where it stands.
    pub status: KnockStatus,
    /// What happened.
    pub event: KnockEvent,
}

impl KnockStatus {
    /// What follows when something happens.
    ///
    /// # Errors
    /// [`OutOfPlace`].
    pub fn apply(self, event: KnockEvent) -> Result<(Self, Vec<KnockEffect>), OutOfPlace> {
        use KnockEffect::{
            AnswerAdmitted, AnswerPending, AnswerRejected, CutOff, ReportAccepted, ReportGone,
            ReportRejected, ShowModerators, TellAccepted, TellExpired, TellRejected, Welcome,
        };
        use KnockEvent as E;
        use KnockStatus::{Admitted, Approved, Asking, Gone, Invited, Rejected, Waiting};
        Ok(match (self, event) {
            (Asking | Waiting, E::Asked) => (Asking, vec![AnswerPending]),
            (Asking, E::Connected) => (Waiting, vec![ShowModerators]),
            (Asking, E::Accepted) => (Approved, vec![ReportAccepted]),
            (Asking, E::Rejected) => (Rejected, vec![CutOff, ReportRejected]),
            (Asking, E::Withdrawn | E::Lost | E::Expired) => (Gone, vec![CutOff]),

            (Waiting, E::Accepted) => (Admitted, vec![TellAccepted, ReportAccepted, Welcome]),
            (Waiting, E::Rejected) => (Rejected, vec![TellRejected, CutOff, ReportRejected]),
            (Waiting, E::Withdrawn | E::Lost) => (Gone, vec![CutOff, ReportGone]),
            (Waiting, E::Expired) => (Gone, vec![TellExpired, CutOff, ReportGone]),

            (Approved, E::Asked) => (Admitted, vec![AnswerAdmitted]),
            (Approved, E::Connected) => (Admitted, vec![TellAccepted, Welcome]),
            (Approved, E::Accepted) => (Approved, vec![]),
            (Approved, E::Rejected) => (Rejected, vec![CutOff, ReportRejected]),
            (Approved, E::Withdrawn | E::Lost | E::Expired) => (Invited, vec![CutOff]),

            (Rejected, E::Asked) => (Rejected, vec![AnswerRejected]),
            (Rejected, E::Accepted) => (Invited, vec![ReportAccepted]),
            (Rejected, E::Rejected) => (Rejected, vec![ReportRejected]),

            (Waiting, E::Connected)
            | (Rejected, E::Connected | E::Withdrawn | E::Lost | E::Expired)
            | (
                Admitted | Invited | Gone,
                E::Asked | E::Connected | E::Accepted | E::Rejected | E::Withdrawn | E::Lost | E::Expired,
            ) => return Err(OutOfPlace { status: self, event }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUSES: [KnockStatus; 7] = [
        KnockStatus::Asking,
        KnockStatus::Waiting,
        KnockStatus::Approved,
        KnockStatus::Rejected,
        KnockStatus::Admitted,
        KnockStatus::Invited,
        KnockStatus::Gone,
    ];

    const EVENTS: [KnockEvent; 7] = [
        KnockEvent::Asked,
        KnockEvent::Connected,
        KnockEvent::Accepted,
        KnockEvent::Rejected,
        KnockEvent::Withdrawn,
        KnockEvent::Lost,
        KnockEvent::Expired,
    ];

    #[test]
    fn every_status_and_event() {
        let mut lines = String::new();
        for status in STATUSES {
            for event in EVENTS {
                let outcome = match status.apply(event) {
                    Err(_) => "-".to_owned(),
                    Ok((next, effects)) => format!("{next:?} {effects:?}"),
                };
                lines.push_str(&format!("{status:?} + {event:?}: {outcome}\n"));
            }
        }
        let expected = "\
Asking + Asked: Asking [AnswerPending]
Asking + Connected: Waiting [ShowModerators]
Asking + Accepted: Approved [ReportAccepted]
Asking + Rejected: Rejected [CutOff, ReportRejected]
Asking + Withdrawn: Gone [CutOff]
Asking + Lost: Gone [CutOff]
Asking + Expired: Gone [CutOff]
Waiting + Asked: Asking [AnswerPending]
Waiting + Connected: -
Waiting + Accepted: Admitted [TellAccepted, ReportAccepted, Welcome]
Waiting + Rejected: Rejected [TellRejected, CutOff, ReportRejected]
Waiting + Withdrawn: Gone [CutOff, ReportGone]
Waiting + Lost: Gone [CutOff, ReportGone]
Waiting + Expired: Gone [TellExpired, CutOff, ReportGone]
Approved + Asked: Admitted [AnswerAdmitted]
Approved + Connected: Admitted [TellAccepted, Welcome]
Approved + Accepted: Approved []
Approved + Rejected: Rejected [CutOff, ReportRejected]
Approved + Withdrawn: Invited [CutOff]
Approved + Lost: Invited [CutOff]
Approved + Expired: Invited [CutOff]
Rejected + Asked: Rejected [AnswerRejected]
Rejected + Connected: -
Rejected + Accepted: Invited [ReportAccepted]
Rejected + Rejected: Rejected [ReportRejected]
Rejected + Withdrawn: -
Rejected + Lost: -
Rejected + Expired: -
";
        let over: String = STATUSES[4..]
            .iter()
            .flat_map(|status| EVENTS.map(|event| format!("{status:?} + {event:?}: -\n")))
            .collect();
        assert_eq!(lines, format!("{expected}{over}"));
    }

    proptest! {
        /// Nobody gets in whom no moderator accepted after the last rejection.
        #[test]
        fn only_those_who_were_accepted_are_welcomed(events in prop::collection::vec(0_usize..7, 0..12)) {
            let (mut status, mut accepted) = (KnockStatus::Asking, false);
            for event in events.into_iter().map(|index| EVENTS[index]) {
                let Ok((next, effects)) = status.apply(event) else { continue };
                accepted = match event {
                    KnockEvent::Accepted => true,
                    KnockEvent::Rejected => false,
                    _ => accepted,
                };
                let lets_in = effects.contains(&KnockEffect::Welcome)
                    || effects.contains(&KnockEffect::AnswerAdmitted)
                    || matches!(next, KnockStatus::Admitted | KnockStatus::Invited);
                prop_assert!(accepted || !lets_in, "{status:?} + {event:?}");
                status = next;
            }
        }
    }
}
