//! State machines whose state is too large to be cloned or held twice.

use std::io::{self, Read, Write};

use outrigger_engine::LogId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CommandBatch, StateMachine};
use crate::runtime::encoded;

/// A state machine for a large state: one that is structurally shared, or that lives on disk. It says itself how its state is
/// written to a snapshot and read from it, as a stream of bytes, so that nobody holds a copy of the state.
///
/// Every [`StateMachine`] is one, by cloning and serialising its state; a type of yours implements one of the two. The rules
/// for commands are the same: [`apply_batch`](Self::apply_batch) is deterministic, and so must be what its
/// [commands](Self::Command) mean to later versions of your program. All that a node does with a state machine is the same too:
/// reads, sessions, snapshots that come by the policy and are sent to others.
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::sync::Arc;
///
/// use outrigger::engine::LogId;
/// use outrigger::{CommandBatch, LargeStateMachine};
///
/// /// Texts that are shared with whoever writes a snapshot of them, not copied.
/// #[derive(Default)]
/// struct Journal(Vec<Arc<String>>);
///
/// impl LargeStateMachine for Journal {
///     type Command = String;
///     type Response = usize;
///     type View = Vec<Arc<String>>;
///
///     fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
///         batch.each(|text| {
///             self.0.push(Arc::new(text));
///             self.0.len()
///         });
///         Ok(())
///     }
///
///     fn view(&self) -> io::Result<Self::View> {
///         Ok(self.0.clone())
///     }
///
///     fn write_view(view: &Self::View, out: &mut dyn Write) -> io::Result<()> {
///         for text in view {
///             out.write_all(&(text.len() as u64).to_le_bytes())?;
///             out.write_all(text.as_bytes())?;
///         }
///         Ok(())
///     }
///
///     fn restore(&mut self, content: &mut dyn Read, _: LogId) -> io::Result<()> {
///         self.0.clear();
///         let mut length = [0; 8];
///         while content.read(&mut length[..1])? == 1 {
///             content.read_exact(&mut length[1..])?;
///             let mut text = String::new();
///             Read::take(&mut *content, u64::from_le_bytes(length)).read_to_string(&mut text)?;
///             self.0.push(Arc::new(text));
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// # A state on disk
///
/// A state that outlives the process says so by [`last_applied`](Self::last_applied), and is not read from a snapshot again at
/// each start. It keeps three promises: changes and the entry that they belong to are durable **together**, in one transaction; it
/// never tells of an entry whose changes a crash could still take back; a restore that a crash has cut short is as if nothing
/// was applied. In return, it is given an entry only once that is durable in this node's own log, so that the log of a later start
/// holds all that it has applied. A node whose log does not is not started: log and state are then of different nodes, or one of them
/// was put back from an older copy.
///
/// At such a start nothing is applied twice: entries that the state holds already only pass the table of sessions, which is part of
/// snapshots and not of the state. So a command that is tried again is still known, but what was answered then went with the crash,
/// if no snapshot holds it: whoever tries such a command again **on this node** is told that it was applied once, and that the response
/// was not kept ([`WriteError::ResponseNotKept`](crate::WriteError::ResponseNotKept)). Nodes that did not crash since still have it.
pub trait LargeStateMachine: Sized + Send + 'static {
    /// What changes the state; see [`StateMachine::Command`].
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What the caller of a change gets back.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// The state as it is at one moment, whatever is applied later: a persistent data structure, the snapshot of a database, a
    /// copy if there is nothing better. It goes to another thread, which writes it.
    type View: Send + 'static;

    /// Applies the commands of a batch, in their order, and answers each: see [`CommandBatch::each`]. Runs in a task of the node's
    /// runtime: while a state on disk waits for its disk here, so does whatever shares the thread, which on a runtime of one thread are
    /// the heartbeats too. Use one of several threads for such a state. A batch is as many commands as
    /// are there and can be applied in some hundred microseconds; it may hold none, when all that came was applied before. Where one
    /// batch ends and the next begins differs from node to node, so the state must not depend on it. Make it one transaction if the
    /// state is on disk, and store [`CommandBatch::last`] with it.
    ///
    /// # Errors
    /// What the state's storage says. It stops this node at this batch, as a panic does and a command that was left out: nothing is
    /// ever skipped. The next start begins with the state as it was stored, or with the newest snapshot. What all nodes answer alike,
    /// such as a mistake of a caller, belongs into the response.
    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()>;

    /// The state as of now. Nothing is applied meanwhile, so it must be quick, whatever the state's size.
    ///
    /// # Errors
    /// What the state's storage says. No snapshot is taken then; it is tried again later.
    fn view(&self) -> io::Result<Self::View>;

    /// Writes all of a view, on a thread that may block, while the state goes on. No faster than
    /// [`Config::snapshot_bytes_per_second_max`](crate::Config::snapshot_bytes_per_second_max): `out` waits. Two views of equal states
    /// are written alike, to the byte: states are [compared](crate::Config::state_check_interval) by it.
    ///
    /// # Errors
    /// What `out` says, which is to be handed on, also when the node ends; and what the state's storage says. Then there is no
    /// snapshot; it is tried again later.
    fn write_view(view: &Self::View, out: &mut dyn Write) -> io::Result<()>;

    /// Replaces the state by what [`write_view`](Self::write_view) wrote, on this node or another, up to the entry `last`. All of
    /// `content` must be read. It comes from a file, block by block, each verified, and ends without an error only if the whole is
    /// what was written: so a state on disk makes nothing durable before it has seen the end. Runs on a thread that may block; nothing
    /// else is done with the state meanwhile.
    ///
    /// # Errors
    /// What `content` says, and what is wrong with what it holds. The node stops, and the state is not used any more.
    fn restore(&mut self, content: &mut dyn Read, last: LogId) -> io::Result<()>;

    /// The last entry whose changes the state holds durably; [`LogId::ZERO`] if that is none yet. Asked once, at the start. `None`
    /// stands for a state that begins anew with each start: it is restored from the newest snapshot, and what follows is applied
    /// again.
    fn last_applied(&self) -> Option<LogId> {
        None
    }
}

impl<S: StateMachine> LargeStateMachine for S {
    type Command = S::Command;
    type Response = S::Response;
    type View = S;

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        batch.each(|command| self.apply(command));
        Ok(())
    }

    fn view(&self) -> io::Result<S> {
        Ok(self.clone())
    }

    fn write_view(view: &S, out: &mut dyn Write) -> io::Result<()> {
        encoded::write(view, out)
    }

    fn restore(&mut self, content: &mut dyn Read, _: LogId) -> io::Result<()> {
        // Postcard reads values out of memory.
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        *self = encoded::decode(&bytes).map_err(|error| io::Error::other(format!("it does not decode: {error}")))?;
        Ok(())
    }
}
