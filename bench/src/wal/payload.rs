//! What is appended: batches of random bytes, made before the clock runs.
//!
//! Random, because some logs compress what they write: a payload that shrinks would measure the compressor.

use std::sync::Arc;

use bytes::Bytes;

/// Bytes of payload that a pool holds: more than a processor's cache keeps, so that none is favoured.
const POOL_BYTES: usize = 8 << 20;
/// A pool's least number of batches.
const POOL_BATCHES_MIN: usize = 4;
/// A pool's greatest number of batches.
const POOL_BATCHES_MAX: usize = 256;

/// The payloads of one append.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its place in the pool.
    #[cfg(any(test, feature = "log-peers"))]
    pub(super) number: usize,
    /// All payloads, one behind the other.
    pub(super) block: Bytes,
    /// The payloads, as slices of `block` in its order; never empty, all of one length.
    pub(super) payloads: Vec<Bytes>,
}

/// The batches that writers take in turn.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    /// Never empty.
    batches: Arc<[Arc<Batch>]>,
}

impl Pool {
    /// Batches of `entries` payloads of `payload_bytes` each, both at least 1.
    pub(super) fn new(payload_bytes: usize, entries: usize) -> Self {
        assert!(payload_bytes > 0 && entries > 0, "an append needs bytes: {entries} payloads of {payload_bytes} bytes");
        let block_bytes = payload_bytes * entries;
        let count = (POOL_BYTES / block_bytes).clamp(POOL_BATCHES_MIN, POOL_BATCHES_MAX);
        let mut random = Random(0x6f75_7472_6967_6765);
        let batch = |_number| {
            let block = random.block(block_bytes);
            let payloads = (0..entries).map(|n| block.slice(n * payload_bytes..(n + 1) * payload_bytes)).collect();
            Arc::new(Batch {
                #[cfg(any(test, feature = "log-peers"))]
                number: _number,
                block,
                payloads,
            })
        };
        Self { batches: (0..count).map(batch).collect() }
    }

    /// All batches; the place of each is its number.
    #[cfg(any(test, feature = "log-peers"))]
    pub(super) fn batches(&self) -> &[Arc<Batch>] {
        &self.batches
    }

    /// The batches in their order, over and over, beginning at `first`.
    pub(super) fn cycle_from(&self, first: usize) -> impl Iterator<Item = &Arc<Batch>> {
        self.batches.iter().cycle().skip(first % self.batches.len())
    }
}

/// Sebastiano Vigna's splitmix64: enough to defeat a compressor, and the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn block(&mut self, bytes: usize) -> Bytes {
        let mut block = Vec::with_capacity(bytes + 8);
        while block.len() < bytes {
            block.extend_from_slice(&self.next().to_le_bytes());
        }
        block.truncate(bytes);
        Bytes::from(block)
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn payloads_are_the_slices_of_their_block() {
        let pool = Pool::new(100, 3);
        for (place, batch) in pool.batches().iter().enumerate() {
            assert_eq!(batch.number, place);
            assert_eq!(batch.payloads.len(), 3);
            assert!(batch.payloads.iter().all(|payload| payload.len() == 100));
            assert_eq!(batch.payloads.concat(), batch.block);
        }
    }

    #[test]
    fn bytes_do_not_repeat() {
        let pool = Pool::new(1024, 256);
        let mut words: Vec<&[u8]> = pool.batches().iter().flat_map(|batch| batch.block.chunks_exact(8)).collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all, "eight random bytes met twice: a compressor would find them");
    }

    #[test]
    fn a_cycle_starts_anywhere_and_never_ends() {
        let pool = Pool::new(1 << 20, 4);
        let numbers: Vec<usize> = pool.cycle_from(5).take(5).map(|batch| batch.number).collect();
        assert_eq!(numbers, [1, 2, 3, 0, 1]);
    }
}
