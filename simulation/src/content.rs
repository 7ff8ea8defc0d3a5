//! What a snapshot of the simulation holds: the state of the machine, and beside it every entry that led there, as the checks
//! know it, so that whoever starts from it can be held against the one history.
//!
//! ```text
//!   count u64, then for each entry: term, index, log time, digest
//!   count u64, then for each register: key, value            all numbers u64, little endian
//!   length u64, then the sessions of clients                 0 where they have none
//!   length u64, then the state of a user's machine           if there is one
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use outrigger::engine::{LogId, LogIndex, LogTime};

use crate::durable::{Stamp, Stamps};

/// The content of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// All entries that it covers.
    pub(crate) stamps: Stamps,
    /// What they have made of the registers.
    pub(crate) registers: BTreeMap<u64, u64>,
    /// The encoded sessions.
    pub(crate) sessions: Bytes,
    /// What they have made of a user's machine, if there is one.
    pub(crate) user: Option<Bytes>,
}

/// The bytes of a snapshot that covers the entries up to `last`.
pub(crate) fn encode(
    log: &Stamps,
    last: LogIndex,
    registers: &BTreeMap<u64, u64>,
    sessions: &[u8],
    user: Option<&Bytes>,
) -> Vec<u8> {
    let covered = &log.0[..usize::try_from(last.0).expect("a small index")];
    let states = [Some(sessions), user.map(|user| &**user)].into_iter().flatten();
    let state_bytes: usize = states.clone().map(|state| 8 + state.len()).sum();
    let mut out = Vec::with_capacity(16 + 32 * covered.len() + 16 * registers.len() + state_bytes);
    out.put_u64_le(covered.len() as u64);
    for Stamp { id, log_time, digest } in covered {
        [id.term.0, id.index.0, log_time.0, *digest].into_iter().for_each(|number| out.put_u64_le(number));
    }
    out.put_u64_le(registers.len() as u64);
    for (key, value) in registers {
        out.put_u64_le(*key);
        out.put_u64_le(*value);
    }
    for state in states {
        out.put_u64_le(state.len() as u64);
        out.put_slice(state);
    }
    out
}

/// What these bytes hold; `None` if no snapshot does.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Content> {
    let entries = count(&mut bytes, 32)?;
    let mut stamps = Stamps(Vec::with_capacity(entries));
    for _ in 0..entries {
        let (term, index) = (bytes.get_u64_le(), bytes.get_u64_le());
        let (log_time, digest) = (LogTime(bytes.get_u64_le()), bytes.get_u64_le());
        stamps.0.push(Stamp { id: LogId::new(term, index), log_time, digest });
    }
    let registers = count(&mut bytes, 16)?;
    let registers = (0..registers).map(|_| (bytes.get_u64_le(), bytes.get_u64_le())).collect();
    let length = count(&mut bytes, 1)?;
    let sessions = bytes.copy_to_bytes(length);
    let user = if bytes.is_empty() { None } else { Some(count(&mut bytes, 1)?) };
    let user = user.map(|length| bytes.copy_to_bytes(length));
    bytes.is_empty().then_some(Content { stamps, registers, sessions, user })
}

/// How many things of a size follow, if all of them are there.
fn count(bytes: &mut &[u8], size: usize) -> Option<usize> {
    let count = usize::try_from(bytes.try_get_u64_le().ok()?).ok()?;
    (count.checked_mul(size)? <= bytes.len()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_is_what_was_encoded_and_nothing_less() {
        let stamp = |index| Stamp { id: LogId::new(2, index), log_time: LogTime(7 * index), digest: index << 9 };
        let log = Stamps((1..=4).map(stamp).collect());
        let registers: BTreeMap<u64, u64> = [(3, 30), (9, 90)].into();
        let bytes = encode(&log, LogIndex(3), &registers, b"sessions", None);
        let stamps = Stamps(log.0[..3].to_vec());
        let (sessions, registers_as_they_were) = (Bytes::from_static(b"sessions"), registers.clone());
        let whole = Content { stamps, registers: registers_as_they_were, sessions, user: None };
        assert_eq!(decode(&bytes), Some(whole));
        assert!((0..bytes.len()).all(|length| decode(&bytes[..length]).is_none()));
        assert_eq!(decode(&[bytes.as_slice(), &[0]].concat()), None);
        let hosted = |user: &'static [u8]| {
            let user = Bytes::from_static(user);
            let with = encode(&log, LogIndex(3), &registers, b"sessions", Some(&user));
            assert!((bytes.len() + 1..with.len()).all(|length| decode(&with[..length]).is_none()));
            decode(&with).and_then(|content| content.user) == Some(user)
        };
        assert!(hosted(b"state") && hosted(b""), "an empty state is a state");
    }
}
