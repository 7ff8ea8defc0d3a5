//! A state that is far larger than what a node may take of memory, on its way through snapshots. Alone in its process, whose
//! memory is measured.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{self, Read, Write};
use std::sync::Arc;

use outrigger::engine::LogId;
use outrigger::network::InProcessNetwork;
use outrigger::{CommandBatch, Config, LargeStateMachine, Raft};

const BLOCK_BYTES: usize = 64 << 10;
/// 256 MiB.
const BLOCKS: u64 = 4_096;
/// What building, sending and taking in may need for blocks, pieces and queues.
const MORE_KIB_MAX: u64 = 64 << 10;

/// A sum, and as many bytes that follow from it as a large state has. They are nowhere but in snapshots.
#[derive(Default)]
struct Vast(u64);

fn block(sum: u64, number: u64) -> Vec<u8> {
    (sum << 32 | number).to_le_bytes().repeat(BLOCK_BYTES / 8)
}

impl LargeStateMachine for Vast {
    type Command = u64;
    type Response = u64;
    type View = u64;

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.each(|number| {
            self.0 += number;
            self.0
        });
        Ok(())
    }

    fn view(&self) -> io::Result<u64> {
        Ok(self.0)
    }

    fn write_view(view: &u64, out: &mut dyn Write) -> io::Result<()> {
        (0..BLOCKS).try_for_each(|number| out.write_all(&block(*view, number)))
    }

    fn restore(&mut self, content: &mut dyn Read, _: LogId) -> io::Result<()> {
        let mut found = vec![0; BLOCK_BYTES];
        for number in 0..BLOCKS {
            content.read_exact(&mut found)?;
            if number == 0 {
                self.0 = u64::from_le_bytes(found[..8].try_into().unwrap()) >> 32;
            }
            assert!(found == block(self.0, number), "block {number} is not as it was written");
        }
        Ok(())
    }
}

/// A figure of this process, in KiB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|mark: char| !mark.is_ascii_digit()).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_is_never_in_memory_twice_while_it_is_built_sent_and_taken_in() {
    let (directory, network) = (tempfile::tempdir().unwrap(), InProcessNetwork::default());
    let start = async |id: u64| {
        let mut config = Config {
            id,
            data_dir: Some(directory.path().join(id.to_string())),
            initial_cluster: (1..=3).map(|id| (id, format!("node-{id}:1"))).collect(),
            snapshot_bytes: 0,
            snapshot_keep_entries: 0,
            snapshot_bytes_per_second_max: 0,
            ..Config::default()
        };
        config.limits.segment_bytes = 1 << 20;
        let builder = Raft::builder(config, Vast::default()).transport(Arc::new(network.transport()));
        builder.start().await.expect("the node starts")
    };
    let (one, two) = (start(1).await, start(2).await);
    assert_eq!(one.write(7).await, Ok(7));
    let leader = one.metrics().wait_for(|metrics| metrics.leader.is_some()).await.unwrap().leader;
    let leader = if leader == Some(one.config().node()) { &one } else { &two };
    // From here on the highest is measured: 5 stands for that.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let last = leader.snapshot().await.unwrap();
    let built = memory("VmHWM:");
    assert!(built < before + MORE_KIB_MAX, "{} KiB more while a state of 256 MiB was built", built - before);

    let three = start(3).await;
    three.metrics().wait_for(|metrics| metrics.snapshot >= last && metrics.applied >= last.index).await.unwrap();
    assert_eq!(three.read(|vast| vast.0).await.unwrap(), 7);
    let sent = memory("VmHWM:");
    assert!(sent < before + MORE_KIB_MAX, "{} KiB more while it was sent and taken in", sent - before);
    for node in [one, two, three] {
        node.shutdown().await.unwrap();
    }
}
