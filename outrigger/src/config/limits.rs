//! How much a node holds at once, in bytes and in counts: what exceeds a limit is refused, not queued without bound.

use outrigger_engine as engine;
use serde::{Deserialize, Serialize};

const MIB: usize = 1 << 20;

/// The limits of a node; each at least 1. What exceeds one is refused with an error that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one encoded command; at most 64 MiB less 64 KiB, so that it fits in a frame.
    pub entry_bytes_max: usize,
    /// Bytes of entries in one `append_entries`; a single larger entry still travels. At most 32 MiB.
    pub append_bytes_max: usize,
    /// `append_entries` requests to one follower that are sent and not acknowledged.
    pub inflight_requests_max: usize,
    /// Bytes of entries to one follower that are sent and not acknowledged.
    pub inflight_bytes_max: usize,
    /// Bytes of entries that a leader took in and has not applied.
    pub uncommitted_bytes_max: usize,
    /// The same in entries.
    pub uncommitted_entries_max: usize,
    /// Bytes handed to the log that are not durable yet.
    pub unflushed_bytes_max: usize,
    /// Writes and reads of this node's callers that are on their way to the leader.
    pub forwards_max: usize,
    /// Bytes of one piece of a snapshot on its way to a follower; at most 32 MiB. One is under way at a time: larger ones travel far
    /// faster, and are felt more by writes beside them.
    pub snapshot_chunk_bytes_max: usize,
    /// Writes and reads that callers have handed in and the node has not looked at yet.
    pub requests_max: usize,
    /// Bytes of writes that callers have handed in and the node has not looked at yet; at most 64 MiB.
    pub requests_bytes_max: usize,
    /// Messages of other nodes that have arrived and the node has not looked at yet; further ones count as lost.
    pub messages_max: usize,
    /// Bytes of entries in messages that have arrived and the node has not looked at yet.
    pub messages_bytes_max: usize,
    /// Bytes of answers to one connection of a client that are not written yet, 1 B to `answers_bytes_max`: with more,
    /// its requests wait. A single larger answer still travels.
    pub connection_answers_bytes_max: usize,
    /// The same for all connections of clients together: with more, queries are refused as overload. Commands are not:
    /// they are answered whatever their responses weigh.
    pub answers_bytes_max: usize,
    /// Bytes that all clients together have sent and this node has not answered, partly received requests included: with
    /// more, only connections that have sent little are read from.
    pub received_bytes_max: usize,
    /// Entries handed to the state machine that it has not applied yet; a single larger command still travels.
    pub unapplied_entries_max: u64,
    /// Bytes of the newest entries that are kept in memory, so that nobody reads back what was just written. Entries
    /// that are not durable or not applied stay, whatever they weigh.
    pub tail_bytes_max: usize,
    /// How long a file of the log is made, in bytes: 4 KiB to 2 GiB. It is filled with zeros ahead of need.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let engine = engine::Limits::default();
        Self {
            entry_bytes_max: engine.entry_bytes_max,
            append_bytes_max: engine.append_bytes_max,
            inflight_requests_max: engine.inflight_requests_max,
            inflight_bytes_max: engine.inflight_bytes_max,
            uncommitted_bytes_max: engine.uncommitted_bytes_max,
            uncommitted_entries_max: engine.uncommitted_entries_max,
            unflushed_bytes_max: engine.unflushed_bytes_max,
            forwards_max: engine.forwards_max,
            snapshot_chunk_bytes_max: engine.snapshot_chunk_bytes_max,
            requests_max: 1 << 16,
            requests_bytes_max: 64 * MIB,
            messages_max: 1 << 16,
            messages_bytes_max: 64 * MIB,
            connection_answers_bytes_max: 16 * MIB,
            answers_bytes_max: 256 * MIB,
            received_bytes_max: 256 * MIB,
            unapplied_entries_max: 1 << 16,
            tail_bytes_max: 32 * MIB,
            segment_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// The part of them that the engine keeps.
    #[must_use]
    pub const fn engine(&self) -> engine::Limits {
        engine::Limits {
            entry_bytes_max: self.entry_bytes_max,
            append_bytes_max: self.append_bytes_max,
            inflight_requests_max: self.inflight_requests_max,
            inflight_bytes_max: self.inflight_bytes_max,
            uncommitted_bytes_max: self.uncommitted_bytes_max,
            uncommitted_entries_max: self.uncommitted_entries_max,
            unflushed_bytes_max: self.unflushed_bytes_max,
            forwards_max: self.forwards_max,
            snapshot_chunk_bytes_max: self.snapshot_chunk_bytes_max,
        }
    }

    /// The name of a limit that is zero.
    pub(super) fn zero(&self) -> Option<&'static str> {
        // Those of the engine are checked by it.
        let own = [
            ("requests_max", self.requests_max),
            ("requests_bytes_max", self.requests_bytes_max),
            ("messages_max", self.messages_max),
            ("messages_bytes_max", self.messages_bytes_max),
            ("connection_answers_bytes_max", self.connection_answers_bytes_max),
            ("answers_bytes_max", self.answers_bytes_max),
            ("received_bytes_max", self.received_bytes_max),
            ("unapplied_entries_max", usize::try_from(self.unapplied_entries_max).unwrap_or(usize::MAX)),
            ("tail_bytes_max", self.tail_bytes_max),
        ];
        own.into_iter().find_map(|(name, value)| (value == 0).then_some(name))
    }
}
