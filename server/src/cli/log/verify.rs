//! `outrigger log verify`: whether a directory is as it was written.

use std::fmt;

use clap::Args;
use outrigger::store::inspect::{Verification, verify};
use serde::Serialize;

use super::Place;
use crate::cli::progress::ProgressLine;
use crate::cli::status::Output;
use crate::cli::{Failure, print};

/// Check every checksum of a data directory, and that its records, entries and snapshots fit together
///
/// A start checks the last file of the log and the ends of the others; entries and snapshots are checked when they are read. This
/// reads all. A torn end, which a crash leaves and the next start cuts, is told and is no damage.
///
/// Exit codes: 0 whole, 1 damaged, or in use, or no data directory (standard error says which; what is printed on standard
/// output was verified), 2 usage, 5 it could not be printed.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger log verify --data-dir n1
  outrigger log verify --data-dir n1 --output json | jq .damage")]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    whole: bool,
    /// Null if it cannot be read.
    node: Option<u64>,
    /// Why a peer has refused it, if one has.
    refused: Option<String>,
    segments: u64,
    records: u64,
    entries: u64,
    snapshots: usize,
    bytes: u64,
    torn: Option<Spot>,
    damage: Vec<Spot>,
}

/// Where, and what.
#[derive(Debug, Serialize)]
struct Spot {
    file: String,
    offset: Option<u64>,
    index: Option<u64>,
    reason: String,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut line = ProgressLine::new();
        let verified = verify(&self.place.data_dir, &mut |done| line.show("verifying", done.bytes, done.total));
        drop(line);
        let report = Report::of(&verified.map_err(|error| self.place.failure(&error))?);
        match self.place.output {
            Output::Table => print(|out| write!(out, "{report}"))?,
            Output::Json => {
                let json = serde_json::to_string(&report).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))?;
            }
        }
        match report.damage.len() {
            0 => Ok(()),
            places => Err(Failure::plain(format_args!(
                "{} is damaged in {places} place{}: keep it to look into, and let the other nodes serve; to have the node back, \
                 `outrigger member remove {}`, start it with --join and an empty directory, and add it again",
                self.place.data_dir.display(),
                if places == 1 { "" } else { "s" },
                report.node.map_or_else(|| "ID".to_owned(), |node| node.to_string())
            ))),
        }
    }
}

impl Report {
    fn of(found: &Verification) -> Self {
        let torn = found.cut.as_ref().map(|cut| Spot {
            file: cut.file.display().to_string(),
            offset: Some(cut.offset),
            index: cut.index,
            reason: cut.what.to_owned(),
        });
        let damage = found.damage.iter().map(|damage| Spot {
            file: damage.path.display().to_string(),
            offset: damage.offset,
            index: damage.index,
            reason: damage.what.clone(),
        });
        Self {
            whole: found.damage.is_empty(),
            node: found.identity.map(|identity| identity.node),
            refused: found.refused.map(|mark| mark.to_string()),
            segments: found.segments,
            records: found.records,
            entries: found.entries(),
            snapshots: found.snapshots.len(),
            bytes: found.bytes,
            torn,
            damage: damage.collect(),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " at offset {offset}"))?;
        self.index.map_or(Ok(()), |index| write!(f, ", index {index}"))?;
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, segments, records, entries, snapshots, bytes, .. } = self;
        let node = node.map_or_else(|| "a node".to_owned(), |node| format!("node {node}"));
        for damage in &self.damage {
            writeln!(f, "damaged  {damage}")?;
        }
        if let Some(torn) = &self.torn {
            writeln!(f, "torn     {torn}; a crash leaves this, the next start cuts it")?;
        }
        if let Some(refused) = &self.refused {
            writeln!(f, "refused  {refused}")?;
        }
        write!(f, "{}", if self.whole { "whole    " } else { "read     " })?;
        write!(f, "{node}: {entries} entries in the log, {records} records in {segments} files, {snapshots} ")?;
        writeln!(f, "snapshot{}, {bytes} bytes", if *snapshots == 1 { "" } else { "s" })
    }
}
