//! Every number and word of this layer, and every choice where the specification is uncertain.
//!
//! `[U]` marks what channels.md could not establish: our choice stands here so that it can be changed in one
//! place when the running application shows otherwise.

use super::identity::MemberRole;
use crate::crypto::sign::Ed25519PublicKey;
use crate::version::VersionRange;

// --- Choices marked [U] ---------------------------------------------------------------------------------------

/// The chat versions that we write as `v` `[U]`: 19 by elimination is the version with the roster (§7).
pub const CHAT_VERSIONS: VersionRange = VersionRange::new(1, 19).expect("1 is not above 19");
/// The first chat version whose relays acknowledge a roster before they are listed `[U]` (§7, §11).
pub const ROSTER_CHAT_VERSION: u16 = 19;
/// Where the random part of a message id has 12 bytes `[U]`; others' ids are opaque (§4).
pub const MESSAGE_ID_RANDOM_BYTES: usize = 12;
/// Different reactions of one person to one message `[U]` (§9.5).
pub const REACTIONS_PER_PERSON_MAX: usize = 3;
/// How long after posting an author's own edit or delete is taken from the wire, 78 h `[U]` (§10).
pub const OWN_CHANGE_RECEIVED_MS_MAX: i64 = 78 * 3_600_000;

/// Who changes roles below the roster's, such as observer to author `[U]` (§10).
pub const MINOR_ROLES_CHANGED_BY: MemberRole = MemberRole::Moderator;

/// What is hashed with SHA-256 to make the `publicGroupId` that we write: the raw 32-byte root key `[U]`. Readers never
/// ask for it (§3).
#[must_use]
pub const fn public_group_id_input(root_key: &Ed25519PublicKey) -> &[u8] {
    &root_key.0
}

// Key names that are [U] must be literals at their fields, where they carry the same mark; they stand as in §9:
// `reason` of x.grp.relay.reject, `rosterVersion` and `memberKey` of x.grp.mem.role, `rosterVersion` of
// x.grp.mem.del, `version` and `fileInv` at the top of the `params` of x.grp.roster. `MemberKey` is the 44-byte DER form
// in base64url.

// --- Ids --------------------------------------------------------------------------------------------------------

/// Bytes of a member id that we make (§2).
pub const MEMBER_ID_BYTES: usize = 12;
/// The longest id of any kind: its length is one byte.
pub const OPAQUE_ID_BYTES_MAX: usize = 255;

// --- Containers (§6, §22) ---------------------------------------------------------------------------------------

/// The longest body of an agent message that carries a container.
pub const MESSAGE_BYTES_MAX: usize = 15_602;
/// What a relay adds to a statement to forward it: batch header and length, tags, id, cut name in the longest
/// characters, time.
pub const FORWARD_OVERHEAD_BYTES: usize =
    2 + 2 + 1 + 1 + (1 + MEMBER_ID_BYTES) + (1 + 4 * FORWARDED_NAME_CHARS_MAX + '…'.len_utf8()) + 8;
/// The longest statement that we make, so that a relay can forward it.
pub const STATEMENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - FORWARD_OVERHEAD_BYTES;
/// The longest statement that is read: what a batch or a record can hold.
pub const STATEMENT_READ_BYTES_MAX: usize = u16::MAX as usize;
/// The longest information of a connection request or confirmation.
pub const CONNECTION_INFO_BYTES_MAX: usize = 14_694;
/// The most elements of a batch: their count is one byte.
pub const BATCH_ELEMENTS_MAX: usize = 255;
/// The most bytes that a compressed container or a link's JSON may unfold to.
pub const DECOMPRESSED_BYTES_MAX: usize = 65_536;
/// The longest item of a compressed container that is stored as it is.
pub const STORED_ITEM_BYTES_MAX: usize = 180;
/// The most signatures of one element that are looked at; one is written today.
pub const SIGNATURES_MAX: usize = 4;
/// Characters of a member's name in a forward, before an ellipsis.
pub const FORWARDED_NAME_CHARS_MAX: usize = 16;
/// Bytes of one inline file chunk, without its header; all but the last of a file have as many.
pub const CHUNK_BYTES_MAX: usize = 15_780;

// --- Links (§5) -------------------------------------------------------------------------------------------------

/// Link JSON above this many bytes is compressed.
pub const LINK_JSON_PLAIN_BYTES_MAX: usize = 10_240;
/// zstd level of link JSON.
pub const LINK_JSON_ZSTD_LEVEL: i32 = 3;
/// The longest link that is read from JSON.
pub const LINK_TEXT_BYTES_MAX: usize = 4_096;
/// The most owners of one link (proposed in the reference; one is published today).
pub const OWNERS_MAX: usize = 8;
/// The most relays of one link that we list or connect to.
pub const RELAYS_MAX: usize = 16;

// --- Profiles: our own bounds, wide enough for what stock clients make -------------------------------------------

/// Longest display name, in bytes.
pub const DISPLAY_NAME_BYTES_MAX: usize = 256;
/// Longest full name, in bytes.
pub const FULL_NAME_BYTES_MAX: usize = 512;
/// Longest short description, in bytes.
pub const SHORT_DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Longest description (which is the welcome message), in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 16_384;
/// Longest image as data URI, in bytes; stock clients stay below 12,500.
pub const IMAGE_BYTES_MAX: usize = 24_576;
/// Longest reason of a refusal that is kept, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

// --- Roster (§14) -----------------------------------------------------------------------------------------------

/// Bytes of the id of a roster's header: with up to 11 a whole chunk fits an agent message, and 8 are no other's by chance.
pub const ROSTER_MESSAGE_ID_BYTES: usize = 8;
/// The most entries of a roster.
pub const ROSTER_ENTRIES_MAX: usize = 256;
/// The largest roster blob that is taken: [`ROSTER_ENTRIES_MAX`] entries of the longest form, and the count.
pub const ROSTER_BLOB_BYTES_MAX: usize = 2 + ROSTER_ENTRIES_MAX * ROSTER_ENTRY_BYTES_MAX;
/// The largest entry: an id of up to 32 bytes, the key, the longest role word and the privileges.
pub const ROSTER_ENTRY_BYTES_MAX: usize = 33 + 45 + 10 + 2;
/// The longest ruling about a member whose bytes are kept for those who come later; ours have fewer than half as many.
pub const RULING_BYTES_MAX: usize = 1024;

// --- Times ------------------------------------------------------------------------------------------------------

/// How long a sender offers to edit or delete a message for everyone.
pub const OWN_CHANGE_SENT_MS_MAX: i64 = 24 * 3_600_000;
/// First pause of an owner before it repeats a step of adding a relay; it doubles up to [`OWNER_RETRY_MS_MAX`].
pub const OWNER_RETRY_MS_MIN: i64 = 30_000;
/// Longest pause of an owner before it repeats a step.
pub const OWNER_RETRY_MS_MAX: i64 = 3_600_000;
/// How long one step of adding a relay may take before the relay is given up.
pub const OWNER_STEP_MS_MAX: i64 = 86_400_000;
/// First delay of a relay's request worker; it doubles up to [`REQUEST_RETRY_MS_MAX`].
pub const REQUEST_RETRY_MS_MIN: i64 = 5_000;
/// Longest delay of a relay's request worker.
pub const REQUEST_RETRY_MS_MAX: i64 = 600_000;
/// Tries after which a request that is also old enough is given up.
pub const REQUEST_TRIES_MAX: u32 = 10;
/// Age from which a request with enough tries is given up.
pub const REQUEST_AGE_MS_MAX: i64 = 86_400_000;
/// How often a relay looks for its own link in a group link.
pub const LINK_CHECK_MS: i64 = 900_000;
/// How long a relay adds to that at most, by chance, so that it does not ask for all groups at once.
pub const LINK_CHECK_JITTER_MS_MAX: i64 = 180_000;
/// How soon it looks again after its link was missing.
pub const LINK_RECHECK_MS: i64 = 60_000;
/// How many checks in a row must miss the link before a relay believes it: one bad read is not enough.
pub const LINK_MISSES_MAX: u32 = 3;
/// How long an accepted relay may wait to be listed before it takes the invitation for abandoned.
pub const LISTING_WAIT_MS_MAX: i64 = 86_400_000;
/// How long a group that does not list us any more is waited for, and an ended one keeps its connections.
pub const INACTIVE_TTL_MS: i64 = 86_400_000;
/// How long a test of a relay address may take in all.
pub const RELAY_TEST_MS_MAX: i64 = 40_000;

// --- Delivery ---------------------------------------------------------------------------------------------------

/// Members of one page of a delivery job.
pub const DELIVERY_PAGE_MEMBERS: usize = 10_000;
/// Recent items that a joiner is given, and that relays keep unless the owner wants another number.
pub const HISTORY_ITEMS_MAX: u32 = 100;
/// Items of one answer to a request for history.
pub const HISTORY_PAGE_ITEMS_MAX: u32 = 100;
/// Messages of one answer: what a member's queue takes at once is bounded, and it can ask again.
pub const HISTORY_PAGE_BODIES_MAX: usize = 8;
/// Answers that one reading of a history asks for at most: some thousands of items.
pub const HISTORY_ANSWERS_MAX: u32 = 64;
/// First wait for an answer before it is asked for again; it doubles with each try.
pub const HISTORY_ANSWER_MS_MAX: i64 = 60_000;
/// Tries for one answer.
pub const HISTORY_TRIES_MAX: u32 = 6;
/// First pause after a reading of one history before the next; it doubles up to [`HISTORY_PAUSE_MS_MAX`] while something
/// is still wanted, and is forgotten once nothing is.
pub const HISTORY_PAUSE_MS_MIN: i64 = 2_000;
/// Longest pause between readings of one history.
pub const HISTORY_PAUSE_MS_MAX: i64 = 3_600_000;
/// How long a relay waits for another one to let it read.
pub const PEER_ANSWER_MS_MAX: i64 = 60_000;
/// First pause before another relay is asked again; it doubles with each try. That relay may not have seen yet that the
/// group link lists the one that asks.
pub const PEER_PAUSE_MS_MIN: i64 = 2_000;
/// Tries with one relay in one round over all.
pub const PEER_TRIES_MAX: u32 = 5;
/// First pause before the next round when no other relay could be read; it doubles up to [`PEER_ROUND_MS_MAX`].
pub const PEER_ROUND_MS_MIN: i64 = 60_000;
/// Longest pause between rounds.
pub const PEER_ROUND_MS_MAX: i64 = 3_600_000;
/// Rounds until a relay does without the others' history: about a day.
pub const PEER_ROUNDS_MAX: u32 = 30;
/// Bytes that are kept free for the header of a page in each message of an answer.
pub const HISTORY_HEADER_BYTES_MAX: usize = 512;
/// The longest position in a relay's history.
pub const HISTORY_POSITION_BYTES_MAX: usize = 64;
/// Age up to which a joiner is told where a file is: file servers keep files for 48 hours.
pub const HISTORY_FILE_AGE_MS_MAX: i64 = 48 * 3_600_000;
