//! `outrigger log dump`: what a directory holds, line by line.

use clap::{Args, ValueEnum};
use outrigger::engine::{Batch, Body, LogIndex, Payload};
use outrigger::store::inspect::{Inspection, Summary};

use super::super::founding;
use super::line::{Entry, Line, Snapshot, members};
use super::{Closed, Lines, Place};
use crate::cli::Failure;
use crate::cli::status::Output;

/// Print what a data directory holds: identity, vote, members, snapshots, entries
///
/// One line for each, or one JSON object. Standard output may end early, as with `| head`.
///
/// Exit codes: 0 printed, 1 it is damaged, in use, or no data directory (standard error says which), 2 usage, 5 it could
/// not be printed.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger log dump --data-dir n1 | head
  outrigger log dump --data-dir n1 --from 100 --to 200 --payloads text
  outrigger log dump --data-dir n1 --output json | jq 'select(.type == \"entry\" and .kind == \"members\")'")]
pub(super) struct Dump {
    #[command(flatten)]
    place: Place,
    /// The first entry to print
    #[arg(long, value_name = "INDEX", default_value_t = 1)]
    from: u64,
    /// The last entry to print [default: the last in the log]
    #[arg(long, value_name = "INDEX")]
    to: Option<u64>,
    /// Print what the entries carry, too
    #[arg(long, value_enum)]
    payloads: Option<Payloads>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Payloads {
    /// Two digits for each byte
    Hex,
    /// As UTF-8, with escapes for what is none
    Text,
}

/// Why the printing ended.
enum Ended {
    Closed(Closed),
    Failed(Failure),
}

impl From<Closed> for Ended {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl Dump {
    pub(super) fn run(self) -> Result<(), Failure> {
        let to = self.to.unwrap_or(u64::MAX);
        if self.from > to {
            return Err(Failure::usage(format_args!(
                "--from {} is behind --to {to}: there is nothing between",
                self.from
            )));
        }
        let inspection = Inspection::open(&self.place.data_dir).map_err(|error| self.place.failure(&error))?;
        let summary = inspection.summary();
        let mut lines = Lines::new();
        match self.print(&summary, &inspection, to, &mut lines) {
            Ok(()) => lines.end().or_else(Closed::outcome),
            Err(Ended::Closed(closed)) => closed.outcome(),
            Err(Ended::Failed(failure)) => {
                // What was read before is of use.
                lines.end().or_else(Closed::outcome)?;
                Err(failure)
            }
        }
    }

    fn print(&self, summary: &Summary, inspection: &Inspection, to: u64, lines: &mut Lines) -> Result<(), Ended> {
        for line in head(summary) {
            self.put(&line, lines)?;
        }
        let unread = summary.memberships.iter().find_map(|(_, members)| members.as_ref().err());
        for batches in inspection.entries(LogIndex(self.from), LogIndex(to)) {
            let batches = batches.map_err(|error| Ended::Failed(Failure::plain(error)))?;
            for line in batches.iter().flat_map(|batch| self.entries(batch)) {
                self.put(&line, lines)?;
            }
        }
        unread.map_or(Ok(()), |error| Err(Ended::Failed(Failure::plain(error))))
    }

    fn put(&self, line: &Line, lines: &mut Lines) -> Result<(), Closed> {
        match self.place.output {
            Output::Table => lines.put(line),
            Output::Json => lines.put(&serde_json::to_string(line).expect("numbers and text")),
        }
    }

    fn entries<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Line> + 'a {
        let (term, log_time_ms) = (batch.term().0, batch.log_time().0);
        (batch.first().index.0..).zip(batch.entries()).map(move |(index, payload)| {
            let id = super::line::Id { term, index };
            let (kind, bytes, text) = self.carried(&payload.body);
            let (session, sequence) = session(payload).unzip();
            Line::Entry(Entry { id, kind, log_time_ms, session, sequence, bytes, payload: text })
        })
    }

    /// What an entry carries: its kind, its bytes, and these as text if that is wanted.
    fn carried(&self, body: &Body) -> (&'static str, usize, Option<String>) {
        let wanted = |text: &dyn Fn() -> String| self.payloads.map(|_| text());
        match body {
            Body::Blank => ("blank", 0, None),
            Body::Command(command) => ("command", command.len(), self.payloads.map(|how| how.text(command))),
            Body::Membership(membership) => {
                let list = || members(membership).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                ("members", membership.bytes(), wanted(&list))
            }
            Body::RegisterSession { time_to_live_ms } => {
                ("session", 8, wanted(&|| format!("kept for {time_to_live_ms} ms")))
            }
        }
    }
}

impl Payloads {
    fn text(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Self::Text => {
                let piece = |chunk: std::str::Utf8Chunk<'_>| {
                    let rotten = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
                    format!("{}{rotten}", chunk.valid().escape_debug())
                };
                bytes.utf8_chunks().map(piece).collect()
            }
        }
    }
}

fn session(payload: &Payload) -> Option<(u64, u64)> {
    (payload.session.0 > 0).then_some((payload.session.0, payload.sequence))
}

/// Everything but the entries.
fn head(summary: &Summary) -> Vec<Line> {
    let Summary { identity, refused, cut, vote, commit, purged, last, peers, memberships, snapshots } = summary;
    let hex = |number: u64| format!("{number:016x}");
    let mut lines = vec![Line::Identity {
        node: identity.node,
        cluster: hex(identity.cluster),
        incarnation: hex(identity.incarnation),
        start: identity.start,
    }];
    lines.extend(refused.map(|mark| Line::Refused { reason: mark.to_string() }));
    lines.push(Line::Vote { term: vote.term.0, voted_for: vote.voted_for.map(|node| node.0) });
    let entries = last.index.0 - purged.index.0;
    lines.push(Line::Log { entries, purged: (*purged).into(), committed: commit.0, last: (*last).into() });
    lines.extend(cut.as_ref().map(|cut| Line::Torn {
        file: cut.file.display().to_string(),
        offset: cut.offset,
        bytes: cut.bytes,
        index: cut.index,
        reason: cut.what.to_owned(),
    }));
    lines.extend(snapshots.iter().map(|(file, snapshot)| match snapshot {
        Err(error) => Line::Unreadable { file: file.display().to_string(), error: error.reason.clone() },
        Ok(snapshot) => Line::Snapshot(Snapshot {
            last: snapshot.last().into(),
            bytes: snapshot.id.bytes,
            checksum: format!("{:08x}", snapshot.id.checksum),
            log_time_ms: snapshot.log_time.0,
            members_at: snapshot.membership_at.into(),
            version: snapshot.membership.version().0,
            founding: founding(&snapshot.membership),
            members: members(&snapshot.membership),
        }),
    }));
    lines.extend(memberships.iter().map(|(at, them)| match them {
        Err(error) => Line::UnreadableMembers { at: (*at).into(), error: error.reason.clone() },
        Ok(them) => {
            let (version, founding, members) = (them.version().0, founding(them), members(them));
            Line::Members { at: (*at).into(), version, founding, members }
        }
    }));
    lines.extend(peers.iter().map(|peer| Line::Peer {
        node: peer.node.0,
        incarnation: hex(peer.incarnation.id),
        start: peer.incarnation.start,
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_escaped_and_a_line_stays_one() {
        assert_eq!(Payloads::Hex.text(b"\x00Oslo\xff"), "004f736c6fff");
        assert_eq!(Payloads::Text.text("Mjøsa\n".as_bytes()), "Mjøsa\\n");
        assert_eq!(Payloads::Text.text(b"a\xff\xc3"), "a\\xff\\xc3");
    }
}
