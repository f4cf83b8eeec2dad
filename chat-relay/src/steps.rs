//! The persisted steps of serving a group, each with two points where a test build can crash: as it is taken, inside the
//! transaction, and when it is durable, whether what it sends has left or not. The engine has points of its own around
//! the commit.

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $step:ident = $taken:literal, $durable:literal,)*) => {
        /// A step that a crash may interrupt.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step {
            $($(#[doc = $doc])* $step,)*
        }

        /// The names of all points, for a harness that tries each.
        pub const CRASH_POINTS: &[&str] = &[$($taken, $durable,)*];

        impl Step {
            /// Marks that the step was taken; its transaction is open.
            pub fn taken(self) {
                match self { $(Self::$step => { protocol::crash_point!($taken); })* }
            }

            /// The point where the step is durable, one of [`CRASH_POINTS`]. Steps of one transaction become so at once.
            #[must_use]
            pub fn durable(self) -> &'static str {
                match self { $(Self::$step => $durable,)* }
            }
        }
    };
}

steps! {
    /// An owner's invitation waits for the group link to be read.
    InvitationStored = "relay.invitation.stored", "relay.invitation.stored.durable",
    /// The group is valid: it is stored with its owners, and its relay link was asked for.
    GroupAccepted = "relay.group.accepted", "relay.group.accepted.durable",
    /// The owner was answered with the relay link.
    OwnerAnswered = "relay.owner.answered", "relay.owner.answered.durable",
    /// Somebody who says to be the owner, beside the owner's own connection, is connected.
    ClaimantConnected = "relay.claimant.connected", "relay.claimant.connected.durable",
    /// A part of a roster was taken.
    RosterProgress = "relay.roster.progress", "relay.roster.progress.durable",
    /// A roster is complete, live and acknowledged.
    RosterLive = "relay.roster.live", "relay.roster.live.durable",
    /// The group link lists us.
    GroupActive = "relay.group.active", "relay.group.active.durable",
    /// The group link does not list us any more, and we wait to be listed again.
    GroupDelisted = "relay.group.delisted", "relay.group.delisted.durable",
    /// A joiner was let in.
    JoinerAdmitted = "relay.joiner.admitted", "relay.joiner.admitted.durable",
    /// A joiner who waits for a moderator is shown to those who decide.
    JoinerShown = "relay.joiner.shown", "relay.joiner.shown.durable",
    /// A knock went on: shown, decided, or over.
    KnockDecided = "relay.knock.decided", "relay.knock.decided.durable",
    /// A joiner says of itself who it is.
    JoinerNamed = "relay.joiner.named", "relay.joiner.named.durable",
    /// A joiner is connected, and was given introductions, roster and history.
    JoinerIntroduced = "relay.joiner.introduced", "relay.joiner.introduced.durable",
    /// A member left by itself.
    MemberLeft = "relay.member.left", "relay.member.left.durable",
    /// A member was removed, is told so, and does not come back by the same key.
    MemberRemoved = "relay.member.removed", "relay.member.removed.durable",
    /// A member's second connection was let in.
    BulkAdmitted = "relay.bulk.admitted", "relay.bulk.admitted.durable",
    /// The stream stands on it, held until the member is ready.
    BulkBegun = "relay.bulk.begun", "relay.bulk.begun.durable",
    /// Both connections are in use.
    BulkDouble = "relay.bulk.double", "relay.bulk.double.durable",
    /// The second connection is over: the stream stands on the first again.
    BulkEnded = "relay.bulk.ended", "relay.bulk.ended.durable",
    /// Copies of a statement were handed out ahead.
    AheadServed = "relay.ahead.served", "relay.ahead.served.durable",
    /// A statement that came ahead has come in its turn, and is part of its group's stream.
    TurnTaken = "relay.turn.taken", "relay.turn.taken.durable",
    /// A message was stored, and is part of its group's stream.
    MessageStored = "relay.message.stored", "relay.message.stored.durable",
    /// The reading of another relay's history began, went on or ended.
    PeersRead = "relay.peers.read", "relay.peers.read.durable",
    /// Another relay may read the history of a group.
    PeerLetIn = "relay.peer.let_in", "relay.peer.let_in.durable",
    /// The owner was asked for a page of history.
    HistoryAsked = "relay.history.asked", "relay.history.asked.durable",
    /// A message of the owner's answer was taken into the history.
    HistoryFilled = "relay.history.filled", "relay.history.filled.durable",
    /// Members were given what they had not, and the round went on.
    PageServed = "relay.page.served", "relay.page.served.durable",
    /// A member's server has what it was given, and its position moved.
    PositionMoved = "relay.position.moved", "relay.position.moved.durable",
    /// A member's server takes nothing for it any more, or refuses an item for good: it is given up.
    ItemGivenUp = "relay.item.given_up", "relay.item.given_up.durable",
    /// A member's queue is full or blocked, or takes messages again.
    LinkChanged = "relay.link.changed", "relay.link.changed.durable",
    /// An item cannot be encrypted now: it is held until its member's keys are agreed on.
    ItemHeld = "relay.item.held", "relay.item.held.durable",
    /// They are: what was held goes on.
    ItemReleased = "relay.item.released", "relay.item.released.durable",
    /// An item that did not reach a member's server for long, or a part of which was passed over, is made anew.
    ItemMadeAnew = "relay.item.made_anew", "relay.item.made_anew.durable",
    /// The roster was given on request.
    RosterServed = "relay.roster.served", "relay.roster.served.durable",
    /// A member's server has the word of what was passed over.
    GapTold = "relay.gap.told", "relay.gap.told.durable",
    /// Members were told whom they meet for the first time.
    AuthorIntroduced = "relay.author.introduced", "relay.author.introduced.durable",
    /// A round over all members is at its end.
    RoundEnded = "relay.round.ended", "relay.round.ended.durable",
    /// What all members have was taken out of the stream.
    StreamForgotten = "relay.stream.forgotten", "relay.stream.forgotten.durable",
    /// Members for whom too much waits, or a message to whom was given up, are given roster and history later.
    MembersPassedOver = "relay.members.passed_over", "relay.members.passed_over.durable",
    /// A member that was passed over was given the roster and history.
    MemberCaughtUp = "relay.member.caught_up", "relay.member.caught_up.durable",
    /// A page of history was given on request.
    HistoryGiven = "relay.history.given", "relay.history.given.durable",
    /// The time of a connection is over: an answer that nobody fetched, a joiner who never came.
    ConnectionExpired = "relay.connection.expired", "relay.connection.expired.durable",
    /// Old messages and members were forgotten.
    OldForgotten = "relay.old.forgotten", "relay.old.forgotten.durable",
    /// An invitation was refused.
    InvitationRefused = "relay.invitation.refused", "relay.invitation.refused.durable",
    /// The operator changed a rule.
    RuleChanged = "relay.rule.changed", "relay.rule.changed.durable",
    /// An invitation code was issued.
    CodeIssued = "relay.code.issued", "relay.code.issued.durable",
    /// A group was let in by a code.
    CodeUsed = "relay.code.used", "relay.code.used.durable",
    /// An owner was put on the list.
    OwnerAllowed = "relay.owner.allowed", "relay.owner.allowed.durable",
    /// The operator rejected a group.
    GroupRejected = "relay.group.rejected", "relay.group.rejected.durable",
    /// A rejection was forgotten.
    RejectionForgotten = "relay.rejection.forgotten", "relay.rejection.forgotten.durable",
    /// We say that we leave a group, behind all that waits there.
    LeaveTold = "relay.leave.told", "relay.leave.told.durable",
    /// A group has ended: its members are being told.
    GroupClosing = "relay.group.closing", "relay.group.closing.durable",
    /// A group and its connections are gone.
    GroupClosed = "relay.group.closed", "relay.group.closed.durable",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = CRASH_POINTS.iter().collect();
        assert_eq!(names.len(), CRASH_POINTS.len());
    }
}
