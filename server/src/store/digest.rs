//! A hash of 64 bits with a fixed definition: every node, on every platform and in every version, must get the same
//! number for the same entry. It takes eight bytes at a time, because values are long.

/// An odd constant with its bits well spread: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The digest of one entry. Lengths are part of it, so that bytes cannot wander from the key to the value.
pub(super) fn digest(key: &[u8], value: &[u8], revision: u64) -> u64 {
    let state = absorb(mix(revision), key);
    mix(absorb(state, value))
}

/// Spreads every bit of the input over the whole output, one to one (the finaliser of splitmix64).
pub(super) const fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(SPREAD);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| step(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
    step(step(state, u64::from_le_bytes(last)), length)
}

/// One to one in either argument while the other stays.
const fn step(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(SPREAD).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_definition_never_changes() {
        // Computed by a second program; nodes of different versions compare their hashes, so these numbers are part of the format.
        assert_eq!(digest(b"city", b"Oslo", 1), 0xe5fd_f2e4_290d_fdf1);
        assert_eq!(digest(b"a key of several words", b"", 2), 0x4f8c_052f_0ec6_9bcd);
    }

    #[test]
    fn key_value_revision_and_the_border_between_them_count() {
        let long = [0_u8; 24];
        let entries: [(&[u8], &[u8], u64); 9] = [
            (b"a", b"", 1),
            (b"", b"a", 1),
            (b"a", b"\0", 1),
            (b"a\0", b"", 1),
            (b"a", b"", 2),
            (&long[..8], &long[..16], 1),
            (&long[..16], &long[..8], 1),
            (&long[..24], b"", 1),
            (&long[..23], &long[..1], 1),
        ];
        let digests: BTreeSet<u64> =
            entries.iter().map(|(key, value, revision)| digest(key, value, *revision)).collect();
        assert_eq!(digests.len(), entries.len());
    }

    #[test]
    fn flipping_any_bit_of_a_value_changes_the_digest() {
        let mut value = vec![7_u8; 33];
        let before = digest(b"key", &value, 9);
        for bit in 0..value.len() * 8 {
            value[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest(b"key", &value, 9), before, "bit {bit}");
            value[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
