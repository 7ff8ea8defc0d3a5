//! A state on disk that is never held twice, and not read again at a start: numbers in a file that only grows.
//!
//! `cargo run -p outrigger --example large_state -- --data-dir large-1 --initial-cluster 1=127.0.0.1:7101`

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use outrigger::engine::LogId;
use outrigger::{CommandBatch, LargeStateMachine, Raft};

/// Where the head of the file ends: term and index of the last entry, and how many bytes count behind them.
const HEAD_BYTES: u64 = 24;

/// Text that is appended to a file. What is behind the length in its head does not count, so that a crash takes back whole batches.
struct Journal {
    path: PathBuf,
    file: File,
    applied: LogId,
    bytes: u64,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
        let mut words =
            head.chunks_exact(8).map(|word| word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        let mut word = || words.next().unwrap_or(0);
        let (applied, bytes) = (LogId::new(word(), word()), word());
        Ok(Self { path: path.to_owned(), file, applied, bytes })
    }

    /// What was written counts, up to this entry. The text is durable before the head says that it is there; a head lies within one
    /// sector, which disks write whole.
    fn commit(&mut self, applied: LogId) -> io::Result<()> {
        self.file.sync_data()?;
        self.applied = applied;
        let head = [applied.term.0, applied.index.0, self.bytes].map(u64::to_le_bytes);
        self.file.write_all_at(&head.concat(), 0)?;
        self.file.sync_data()
    }

    fn append(&mut self, text: &str) -> io::Result<u64> {
        self.file.write_all_at(text.as_bytes(), HEAD_BYTES + self.bytes)?;
        self.bytes += text.len() as u64;
        Ok(self.bytes)
    }
}

impl LargeStateMachine for Journal {
    type Command = String;
    type Response = u64;
    /// The file only grows, so its beginning stays as it is.
    type View = (File, u64);

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.try_each(|text| self.append(&text))?;
        self.commit(batch.last())
    }

    fn view(&self) -> io::Result<Self::View> {
        Ok((File::open(&self.path)?, self.bytes))
    }

    fn write_view((file, bytes): &Self::View, out: &mut dyn Write) -> io::Result<()> {
        let mut file: &File = file;
        file.seek(SeekFrom::Start(HEAD_BYTES))?;
        io::copy(&mut file.take(*bytes), out).map(drop)
    }

    fn restore(&mut self, content: &mut dyn Read, last: LogId) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&partial)?;
        file.seek(SeekFrom::Start(HEAD_BYTES))?;
        (self.bytes, self.file) = (io::copy(content, &mut file)?, file);
        self.commit(last)?;
        fs::rename(partial, &self.path)?;
        // The new name is durable only with its directory.
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())
    }

    fn last_applied(&self) -> Option<LogId> {
        Some(self.applied)
    }
}

#[cfg(feature = "clap")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = outrigger::Config::parse();
    let directory = config.data_dir.clone().ok_or("--data-dir is missing: say where log and state are kept")?;
    fs::create_dir_all(&directory)?;
    let journal = Journal::open(&directory.with_extension("journal"))?;
    let raft = Raft::start(config, journal).await?;
    let bytes = raft.write("one more line\n".to_owned()).await?;
    println!("{bytes} bytes, and they are there at the next start");
    Ok(raft.stopped().await?)
}

#[cfg(not(feature = "clap"))]
fn main() {}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger::Config;

    #[tokio::test]
    async fn what_was_written_is_there_at_the_next_start_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        for start in 1..=3 {
            let config = Config {
                data_dir: Some(directory.path().join("log")),
                listen_peer: "127.0.0.1:0".into(),
                initial_cluster: [(1, "127.0.0.1:7101".into())].into(),
                ..Config::default()
            };
            let raft = Raft::start(config, Journal::open(&path).unwrap()).await.unwrap();
            assert_eq!(raft.write("line\n".into()).await, Ok(start * 5));
            raft.shutdown().await.unwrap();
        }
    }

    /// As a follower takes it in that has something else.
    #[test]
    fn a_snapshot_takes_the_place_of_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut one = Journal::open(&directory.path().join("one")).unwrap();
        one.append("all of it").unwrap();
        let mut content = Vec::new();
        Journal::write_view(&one.view().unwrap(), &mut content).unwrap();
        let mut two = Journal::open(&directory.path().join("two")).unwrap();
        two.append("something else, and longer").unwrap();
        two.restore(&mut content.as_slice(), LogId::new(2, 9)).unwrap();
        drop(two);
        let two = Journal::open(&directory.path().join("two")).unwrap();
        assert_eq!((two.applied, two.bytes), (LogId::new(2, 9), 9));
        let mut again = Vec::new();
        Journal::write_view(&two.view().unwrap(), &mut again).unwrap();
        assert_eq!(again, b"all of it");
    }
}
