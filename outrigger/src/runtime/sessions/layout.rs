//! The sessions in a snapshot, in front of the state.
//!
//! ```text
//!   version u8 = 1 | sessions u32 | by increasing id:
//!     id u64 | time to live u64, ms | log time of the last use u64 | index of the last use u64 | highest number u64
//!     responses u32 | by increasing number:  number u64 | kept u8 | length u32 | bytes
//!   state, to the end
//! ```
//!
//! Numbers are little endian; a response that is not kept has `kept` 0 and no bytes. The layout is canonical: equal tables
//! have equal encodings.

use std::io::{self, Read};

use bytes::Bytes;
use outrigger_engine::{LogIndex, LogTime, SessionId};

use super::responses::Responses;
use super::{Session, SessionLimits, Sessions};

/// The version of the layout.
const VERSION: u8 = 1;

/// Bytes that are not the sessions of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionsError {
    /// The bytes end in the middle of a field.
    #[error("the sessions end early: {needed} more bytes were due and {found} are left")]
    Short {
        /// How many bytes the next field takes.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// A version that this one does not know.
    #[error("version {version} of the sessions is unknown; was the snapshot made by a newer version?")]
    UnknownVersion {
        /// The first byte.
        version: u8,
    },
    /// The bytes cannot be had.
    #[error("the sessions cannot be read: {reason}")]
    Unreadable {
        /// What the reader says.
        reason: String,
    },
    /// No table looks like this.
    #[error("the sessions contradict themselves: {what}")]
    Contradiction {
        /// What is wrong.
        what: &'static str,
    },
}

impl Sessions {
    /// Writes the table as a snapshot holds it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&[VERSION])?;
        out.write_all(&count(self.sessions.len()).to_le_bytes())?;
        for (id, session) in &self.sessions {
            let Session {
                time_to_live_ms,
                used_at,
                used_by,
                highest,
                kept,
                queued: _,
                queued_to_give: _,
                kept_bytes: _,
            } = session;
            for number in [id.0, *time_to_live_ms, used_at.0, used_by.0, *highest] {
                out.write_all(&number.to_le_bytes())?;
            }
            out.write_all(&count(kept.len()).to_le_bytes())?;
            for (sequence, response) in kept.iter() {
                out.write_all(&sequence.to_le_bytes())?;
                out.write_all(&[u8::from(response.is_some())])?;
                let response = response.map_or(&[][..], |response| &response[..]);
                out.write_all(&count(response.len()).to_le_bytes())?;
                out.write_all(response)?;
            }
        }
        Ok(())
    }

    /// Takes a table off the front of a snapshot's bytes, and no byte behind it.
    ///
    /// # Errors
    /// [`SessionsError`]: nothing that [`Sessions::write`] writes begins like this, or it cannot be read.
    pub fn read(bytes: &mut dyn Read, limits: SessionLimits) -> Result<Self, SessionsError> {
        let mut sessions = Self::new(limits);
        let [version] = take::<1>(bytes)?;
        if version != VERSION {
            return Err(SessionsError::UnknownVersion { version });
        }
        for _ in 0..take_u32(bytes)? {
            let id = SessionId(take_u64(bytes)?);
            if sessions.sessions.last_key_value().is_some_and(|(before, _)| *before >= id) {
                return Err(SessionsError::Contradiction { what: "ids must increase" });
            }
            let session = take_session(bytes, limits.window)?;
            sessions.add(id, session);
        }
        mutate!(session_snapshot_without_table, return Ok(Self::new(limits)));
        Ok(sessions)
    }
}

fn take_session(bytes: &mut dyn Read, window: u64) -> Result<Session, SessionsError> {
    let [time_to_live_ms, used_at, used_by, highest] =
        [take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?];
    let mut kept = Responses::default();
    for _ in 0..take_u32(bytes)? {
        let (sequence, [form], length) = (take_u64(bytes)?, take::<1>(bytes)?, take_u32(bytes)?);
        if kept.last().is_some_and(|before| before >= sequence) {
            return Err(SessionsError::Contradiction { what: "numbers must increase" });
        }
        if sequence > highest || highest - sequence >= window {
            return Err(SessionsError::Contradiction { what: "a number outside of the window" });
        }
        let response = take_bytes(bytes, length)?;
        let response = match form {
            0 if response.is_empty() => None,
            1 => Some(Bytes::from(response)),
            _ => return Err(SessionsError::Contradiction { what: "a response that is neither kept nor not" }),
        };
        kept.insert(sequence, response);
    }
    let (used_at, used_by) = (LogTime(used_at), LogIndex(used_by));
    mutate!(session_snapshot_renews, used_at = LogTime(u64::MAX / 2));
    let kept_bytes = kept.iter().filter_map(|(_, response)| response).map(Bytes::len).sum();
    let (queued, queued_to_give) = ((used_at, used_by), None);
    Ok(Session { time_to_live_ms, used_at, used_by, highest, queued, queued_to_give, kept, kept_bytes })
}

/// # Panics
/// Beyond four billions: the limits lie far below.
fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a table within its limits")
}

fn take<const N: usize>(bytes: &mut dyn Read) -> Result<[u8; N], SessionsError> {
    let mut taken = [0; N];
    let mut found = 0;
    while found < N {
        match bytes.read(&mut taken[found..]) {
            Ok(0) => return Err(SessionsError::Short { needed: N, found }),
            Ok(read) => found += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SessionsError::Unreadable { reason: error.to_string() }),
        }
    }
    Ok(taken)
}

/// Allocates no more than about twice what is there.
fn take_bytes(bytes: &mut dyn Read, length: u32) -> Result<Vec<u8>, SessionsError> {
    let mut taken = Vec::new();
    let read = bytes.take(u64::from(length)).read_to_end(&mut taken);
    read.map_err(|error| SessionsError::Unreadable { reason: error.to_string() })?;
    if taken.len() < length as usize {
        return Err(SessionsError::Short { needed: length as usize, found: taken.len() });
    }
    Ok(taken)
}

fn take_u32(bytes: &mut dyn Read) -> Result<u32, SessionsError> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut dyn Read) -> Result<u64, SessionsError> {
    take(bytes).map(u64::from_le_bytes)
}
