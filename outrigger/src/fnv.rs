//! FNV-1a, 64 bits: for what must be the same on every node and in every version, and guards against no malice.

/// What a hash begins with.
pub(crate) const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of what was hashed before, and these bytes behind it.
pub(crate) fn hash(before: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
