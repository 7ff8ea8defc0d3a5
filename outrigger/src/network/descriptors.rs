//! How many files this process may have open, and how many of them connections leave to the log.
//!
//! ```text
//!   0                                                      clients end   peers end         limit
//!   ├── what was opened first ── connections, as they come ──────┤─ peers alone ─┤─ the log, snapshots ─┤
//! ```
//!
//! A new descriptor gets the least number that is free. So a connection whose number is low enough may stay, whoever else in
//! this process has how many files open: the numbers beyond are never held by one that was accepted, and whoever opens a file
//! of the log finds one of them free. Nothing needs to be counted.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::log_limit::LogLimit;

/// So many descriptors no connection that was accepted gets: they are for the log, for snapshots, and for the connections that this
/// node makes itself. If few may be open at all, it is a quarter of them.
const RESERVE: u64 = 128;

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// They leave half as many again as the reserve, so that they cannot shut the other nodes out.
    Client,
    Peer,
}

impl Caller {
    /// Descriptors from this number on are for others, if so many may be open.
    fn end(self, limit: u64) -> u64 {
        let reserve = RESERVE.min(limit / 4);
        match self {
            Self::Client => limit - reserve - reserve / 2,
            Self::Peer => limit - reserve,
        }
    }
}

/// Whether so many connections of clients and of peers, all at once, leave enough to the log. Else how many files may be open, and
/// how many of them it would take.
pub(crate) fn shortage(clients: usize, peers: usize) -> Option<(u64, u64)> {
    let limit = limit()?;
    let needed = u64::try_from(clients + peers).unwrap_or(u64::MAX).saturating_add(RESERVE + RESERVE / 2);
    (limit < needed).then_some((limit, needed))
}

/// Whether a connection may stay. If not, it is to be closed, and the log is told, at most once in a while.
pub(crate) fn admits(stream: &TcpStream, from: SocketAddr, caller: Caller, node: u64, log: &LogLimit) -> bool {
    let Some(limit) = limit().filter(|limit| number(stream) >= caller.end(*limit)) else { return true };
    if let Some(suppressed) = log.admit(&from.ip().to_string(), "descriptors", std::time::Instant::now()) {
        let suppressed = (suppressed > 0).then_some(suppressed);
        tracing::warn!(
            node,
            suppressed,
            "a connection from {from} was closed: this process may have {limit} files open, and what is left of them is for the \
             log and for other nodes; raise the limit (`ulimit -n`, LimitNOFILE), or have fewer connections"
        );
    }
    false
}

/// How many files this process may have open now; `None` for as many as it likes.
#[cfg(unix)]
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(unix)]
fn number(stream: &TcpStream) -> u64 {
    use std::os::fd::AsRawFd;
    u64::try_from(stream.as_raw_fd()).unwrap_or(0)
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn number(_: &TcpStream) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_more_than_peers_and_peers_enough() {
        for (limit, clients, peers) in
            [(1 << 20, (1 << 20) - 192, (1 << 20) - 128), (1024, 832, 896), (256, 160, 192), (64, 40, 48)]
        {
            assert_eq!((Caller::Client.end(limit), Caller::Peer.end(limit)), (clients, peers), "{limit}");
        }
        for limit in 0..2000 {
            let (clients, peers) = (Caller::Client.end(limit), Caller::Peer.end(limit));
            assert!(clients <= peers && peers <= limit, "{limit}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_limit_that_is_too_low_is_told_with_what_it_would_take() {
        let Some(limit) = limit() else { return };
        assert_eq!(shortage(0, 0), None, "{limit} is too low for any test");
        let many = usize::try_from(limit).unwrap();
        assert_eq!(shortage(many, 0), Some((limit, limit + 192)));
    }
}
