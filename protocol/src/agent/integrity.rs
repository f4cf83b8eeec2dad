//! Whether a message follows the one before it (agent.md §4.3).

use super::event::Integrity;
use super::record::Position;

/// Compares a message with the last one. Rows are tried in the order of the table.
pub(super) fn check(last: &Position, number: i64, previous_hash: &[u8]) -> Integrity {
    let next = last.number.saturating_add(1);
    let is_hash_equal = last.hash.is_some_and(|hash| hash == previous_hash);
    if number == next && is_hash_equal {
        Integrity::Ok
    } else if number < last.number {
        Integrity::BadId
    } else if number == last.number {
        Integrity::Duplicate
    } else if number > next {
        Integrity::Skipped { first: next, last: number.saturating_sub(1) }
    } else {
        Integrity::BadHash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let last = Position { number: 5, hash: Some([7; 32]) };
        for (number, hash, expected) in [
            (6, &[7; 32][..], Integrity::Ok),
            (6, &[8; 32], Integrity::BadHash),
            (6, &[], Integrity::BadHash),
            (4, &[7; 32], Integrity::BadId),
            (-1, &[7; 32], Integrity::BadId),
            (5, &[7; 32], Integrity::Duplicate),
            (7, &[7; 32], Integrity::Skipped { first: 6, last: 6 }),
            (9, &[8; 32], Integrity::Skipped { first: 6, last: 8 }),
            (i64::MAX, &[8; 32], Integrity::Skipped { first: 6, last: i64::MAX - 1 }),
        ] {
            assert_eq!(check(&last, number, hash), expected, "{number}");
        }
    }

    #[test]
    fn without_a_last_hash_none_is_right() {
        assert_eq!(check(&Position::default(), 1, &[]), Integrity::BadHash);
    }
}
