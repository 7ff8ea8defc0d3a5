//! Zeros: most of a segment that was made ahead of need. They are looked at by the piece, without a branch for each byte.

/// Long enough to be looked at at once, short enough to end early.
const PIECE_BYTES: usize = 256;

/// Whether all bytes are zeros.
pub(crate) fn are_zeros(bytes: &[u8]) -> bool {
    bytes.chunks(PIECE_BYTES).all(|piece| piece.iter().fold(0, |any, byte| any | byte) == 0)
}

/// How many bytes there are up to the last that is not zero.
pub(crate) fn used(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    for piece in bytes.rchunks(PIECE_BYTES).take_while(|piece| are_zeros(piece)) {
        end -= piece.len();
    }
    bytes[..end].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_told_from_what_is_used_wherever_the_last_byte_stands() {
        for length in [0, 1, 255, 256, 257, 511, 1_000] {
            let mut bytes = vec![0; length];
            assert!(are_zeros(&bytes));
            assert_eq!(used(&bytes), 0);
            for last in 0..length {
                bytes[last] = 1;
                assert!(!are_zeros(&bytes));
                assert_eq!(used(&bytes), last + 1, "of {length}");
                bytes[last / 2] = 1;
                assert_eq!(used(&bytes), last + 1, "of {length}");
                bytes[last / 2] = 0;
                bytes[last] = 0;
            }
        }
    }
}
