//! The state machine that the tests replicate: numbers in a file, with the entry up to which they are applied.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use outrigger::engine::LogId;
use outrigger::{CommandBatch, Config, LargeStateMachine, Raft};

/// Keeps every number that was added, so that a lost or doubled one is seen.
pub(crate) struct Kept {
    path: PathBuf,
    pub(crate) added: Vec<u64>,
    applied: LogId,
}

impl Kept {
    /// What the file holds; nothing if there is none.
    pub(crate) fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_default();
        let mut words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let applied = LogId::new(words.next().unwrap_or(0), words.next().unwrap_or(0));
        Self { path: path.to_owned(), added: words.collect(), applied }
    }

    pub(crate) const fn applied(&self) -> LogId {
        self.applied
    }

    /// One transaction: a crash leaves all of it, or nothing.
    pub(crate) fn commit(&mut self, applied: LogId) -> io::Result<()> {
        self.applied = applied;
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial)?;
        let words = [applied.term.0, applied.index.0].into_iter().chain(self.added.iter().copied());
        file.write_all(&words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())?;
        file.sync_all()?;
        fs::rename(partial, &self.path)
    }
}

impl LargeStateMachine for Kept {
    type Command = u64;
    type Response = u64;
    type View = Vec<u64>;

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.each(|number| {
            self.added.push(number);
            self.added.len() as u64
        });
        self.commit(batch.last())
    }

    fn view(&self) -> io::Result<Vec<u64>> {
        Ok(self.added.clone())
    }

    fn write_view(view: &Vec<u64>, out: &mut dyn Write) -> io::Result<()> {
        view.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
    }

    fn restore(&mut self, content: &mut dyn Read, last: LogId) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.added = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        self.commit(last)
    }

    fn last_applied(&self) -> Option<LogId> {
        Some(self.applied)
    }
}

/// A cluster of one node, with log and state in this directory.
pub(crate) fn alone(directory: &Path) -> Config {
    let mut config = Config {
        data_dir: Some(directory.join("log")),
        listen_peer: "127.0.0.1:0".into(),
        initial_cluster: [(1, "127.0.0.1:7101".into())].into(),
        snapshot_bytes: 0,
        snapshot_keep_entries: 0,
        ..Config::default()
    };
    config.limits.segment_bytes = 1 << 20;
    config
}

pub(crate) fn state(directory: &Path) -> Kept {
    Kept::open(&directory.join("state"))
}

pub(crate) async fn start(directory: &Path) -> Raft<Kept> {
    Raft::start(alone(directory), state(directory)).await.expect("the node starts")
}
