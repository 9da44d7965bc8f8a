//! A digest of all rows that changes with one row in constant time.
//!
//! It is the sum modulo 2^256 of SHA-256(key ‖ 0 ‖ value): order does not matter, a row that goes is subtracted.
//! A sum of hashes can be steered by someone who chooses many rows; so can the unkeyed chain it is written into.
//! It finds accidents and clumsy edits, which is what both are for.

use sha2::{Digest, Sha256};

/// The digest of a set of rows; of none: zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowDigest([u64; 4]);

impl RowDigest {
    pub(crate) fn of<'a>(rows: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> Self {
        let mut sum = Self::default();
        for (key, value) in rows {
            sum.add(key, value);
        }
        sum
    }

    /// The digest of one row alone.
    pub(crate) fn of_row(key: &str, value: &[u8]) -> Self {
        Self(limbs(key, value))
    }

    /// Adds the rows of another set, which has none of this one's.
    pub(crate) fn join(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            (*limb, carry) = limb.carrying_add(other, carry);
        }
    }

    pub(crate) fn add(&mut self, key: &str, value: &[u8]) {
        self.join(&Self::of_row(key, value));
    }

    pub(crate) fn remove(&mut self, key: &str, value: &[u8]) {
        let mut borrow = false;
        for (limb, other) in self.0.iter_mut().zip(limbs(key, value)) {
            (*limb, borrow) = limb.borrowing_sub(other, borrow);
        }
    }

    /// Sixty-four lower-case hex digits, the most significant first.
    pub(crate) fn hex(&self) -> String {
        let [a, b, c, d] = self.0;
        format!("{d:016x}{c:016x}{b:016x}{a:016x}")
    }
}

/// The row's hash as a little-endian number.
fn limbs(key: &str, value: &[u8]) -> [u64; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(key)
        .chain_update([0])
        .chain_update(value)
        .finalize()
        .into();
    let (words, _) = hash.as_chunks::<8>();
    [0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_taken_away_leaves_no_trace_and_order_does_not_matter() {
        let mut there = RowDigest::default();
        there.add("a", b"1");
        there.add("b", b"2");
        let mut back = RowDigest::default();
        back.add("b", b"2");
        back.add("a", b"1");
        assert_eq!(there, back);
        assert_ne!(there, RowDigest::default());
        back.remove("b", b"2");
        back.remove("a", b"1");
        assert_eq!(back, RowDigest::default());
    }

    #[test]
    fn the_boundary_between_key_and_value_counts() {
        let (mut one, mut other) = (RowDigest::default(), RowDigest::default());
        one.add("ab", b"c");
        other.add("a", b"bc");
        assert_ne!(one, other);
    }

    #[test]
    fn carries_travel_over_all_limbs() {
        // Subtracting from zero borrows through every limb; adding again must come back to zero.
        let mut sum = RowDigest::default();
        sum.remove("k", b"v");
        assert_ne!(sum.hex(), RowDigest::default().hex());
        sum.add("k", b"v");
        assert_eq!(sum.hex(), "0".repeat(64));
    }
}
