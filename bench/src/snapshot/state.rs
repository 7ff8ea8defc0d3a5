//! A state of many blocks that are shared with whoever writes them, and copied one by one when they change meanwhile.

use std::io::{self, Read, Write};
use std::sync::Arc;

use outrigger::engine::LogId;
use outrigger::{CommandBatch, LargeStateMachine};
use serde::{Deserialize, Serialize};

/// As large as a page of many databases.
const BLOCK_BYTES: usize = 16 << 10;
/// So many blocks are behind one more pointer, so that a view copies few.
const BLOCKS_PER_GROUP: usize = 256;

type Block = [u8; BLOCK_BYTES];
type Group = Vec<Arc<Block>>;

/// What is written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Change {
    /// Where: any number stands for a block.
    pub(super) at: u64,
    /// What its first bytes are from then on.
    pub(super) bytes: Vec<u8>,
}

/// See the module.
pub(super) struct Large {
    groups: Vec<Arc<Group>>,
    /// How many blocks there are.
    blocks: usize,
}

impl Large {
    /// Of about so many bytes, and no two blocks alike.
    pub(super) fn new(bytes: u64) -> Self {
        let blocks = usize::try_from(bytes).map_or(usize::MAX, |bytes| bytes.div_ceil(BLOCK_BYTES).max(1));
        let block = |number: usize| {
            let mut random = number as u64 | 1 << 63;
            let mut block = [0; BLOCK_BYTES];
            for word in block.chunks_exact_mut(8) {
                // xorshift: what a disk or a link cannot compress.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                word.copy_from_slice(&random.to_le_bytes());
            }
            Arc::new(block)
        };
        let firsts = (0..blocks).step_by(BLOCKS_PER_GROUP);
        let groups = firsts.map(|first| Arc::new((first..blocks.min(first + BLOCKS_PER_GROUP)).map(block).collect()));
        Self { groups: groups.collect(), blocks }
    }

    fn change(&mut self, Change { at, bytes }: &Change) {
        let blocks = self.blocks as u64;
        let place = usize::try_from(at % blocks).unwrap_or(0);
        let group = Arc::make_mut(&mut self.groups[place / BLOCKS_PER_GROUP]);
        let block = Arc::make_mut(&mut group[place % BLOCKS_PER_GROUP]);
        let length = bytes.len().min(BLOCK_BYTES);
        block[..length].copy_from_slice(&bytes[..length]);
    }
}

impl LargeStateMachine for Large {
    type Command = Change;
    type Response = ();
    type View = Vec<Arc<Group>>;

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.each(|change| self.change(&change));
        Ok(())
    }

    fn view(&self) -> io::Result<Self::View> {
        Ok(self.groups.clone())
    }

    fn write_view(view: &Self::View, out: &mut dyn Write) -> io::Result<()> {
        view.iter().flat_map(|group| group.iter()).try_for_each(|block| out.write_all(&block[..]))
    }

    fn restore(&mut self, content: &mut dyn Read, _: LogId) -> io::Result<()> {
        // In place: what is there is as large as what comes.
        for group in &mut self.groups {
            for block in Arc::make_mut(group) {
                content.read_exact(&mut Arc::make_mut(block)[..])?;
            }
        }
        Ok(())
    }
}
