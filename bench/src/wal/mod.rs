//! `wal`: the durable log. Writers append batches of incompressible payloads and wait until they are durable.
//!
//! ```text
//!   writers ──▶ group commit ──▶ bare file        peer: one write and one fdatasync, the limit
//!           ──▶ group commit ──▶ outrigger-log    ours
//!           ──▶ raft-engine, raft-log             with the feature `log-peers`, each with its own group commit
//! ```
//!
//! Each sample opens a fresh log in a directory of its own, prepares its files, warms up, measures, and
//! removes the directory. A sample of ours normally stays within one segment, made before the clock runs,
//! as the bare file is: what is compared is the way of an append to the disk. With `--segment-mib` the log
//! changes segments while the clock runs, and a thread zeroes the next one in the background, as in a process.

mod bare;
mod group_commit;
mod ours;
mod payload;
#[cfg(feature = "log-peers")]
mod peers;
mod writers;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use self::group_commit::{Appender, Direct, DurableLog, GroupCommit};
use self::payload::Pool;
use self::writers::{Quota, write};
use crate::alternate::{Contestant, Spread, alternate};
use crate::arguments::seconds;
use crate::report::{Report, ReportError};

/// A warm-up is this part of a sample.
const WARM_UP_PART: u32 = 5;
/// More flushes a second than any disk makes that this is run on: bounds the files that are made for a sample.
const FLUSHES_PER_SECOND_MAX: u64 = 20_000;
/// A generous guess of what a log adds to an entry, in bytes, likewise for a bound.
const ENTRY_OVERHEAD_MAX: u64 = 64;
/// The same for a flush.
const FLUSH_OVERHEAD_MAX: u64 = 256;
/// A bare loop above this rate of syncs a second does not reach a disk.
const SYNCS_PLAUSIBLE_MAX: f64 = 100_000.0;

/// The most bytes of payload in one append, in MiB: a pool holds a few of them.
const APPEND_MIB_MAX: u64 = 64;
/// The most bytes of payload that all writers together wait for, in MiB: one group of them is one write.
const GROUP_MIB_MAX: u64 = 1_024;

/// What `wal` takes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Bytes of an entry; every combination with --batch and --writers is measured
    #[arg(long, value_delimiter = ',', default_value = "128,1024", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    payload: Vec<u32>,
    /// Entries of one append
    #[arg(long, value_delimiter = ',', default_value = "1,16,256", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Vec<u32>,
    /// Threads that each wait for their own append; above 1, a host thread syncs once for all that wait
    #[arg(long, value_delimiter = ',', default_value = "1,64", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    writers: Vec<u16>,
    /// A directory on the disk to measure; directories made in it are removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Length of a sample; a fifth of it is added to warm up
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    seconds: Duration,
    /// A sample ends early when its payloads amount to this many MiB
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// Length of our segments in MiB, zeroed in the background while the clock runs [default: longer than a sample]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=4_096))]
    segment_mib: Option<u64>,
    /// Samples of each contestant, taken in turns; fewer than 9 are for a quick look
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    alternations: u16,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// A setting is larger than a log is measured with.
    #[error(
        "{payload} bytes x batch {batch} x {writers} writer(s) is too much: an append may hold {APPEND_MIB_MAX} MiB, the \
         appends of all writers {GROUP_MIB_MAX} MiB; lower --payload, --batch or --writers"
    )]
    TooLarge {
        /// Bytes of an entry.
        payload: u64,
        /// Entries of an append.
        batch: u64,
        /// Threads.
        writers: u64,
    },
    /// No directory for a sample could be made, or it could not be removed.
    #[error("cannot use {}: {cause}; name a directory that you may write to with --dir", dir.display())]
    Directory {
        /// The directory that `--dir` names.
        dir: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A log could not be opened.
    #[error("{contestant}: cannot open a log in {}: {cause}; there must be room for {mib} MiB", dir.display())]
    Open {
        /// Whose log.
        contestant: &'static str,
        /// Where.
        dir: PathBuf,
        /// What it said.
        cause: io::Error,
        /// What its files may take.
        mib: u64,
    },
    /// An append failed.
    #[error("{contestant}: an append failed: {cause}; nothing measured so far is wrong, this setting is not measured")]
    Append {
        /// Whose log.
        contestant: &'static str,
        /// What it said.
        cause: io::Error,
    },
    /// The figures could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// One row of the table: what is appended, by how many, for how long.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Bytes of an entry, at least 1.
    payload: u64,
    /// Entries of an append, at least 1.
    batch: u64,
    /// Threads, at least 1.
    writers: u64,
    /// When a measured run stops.
    quota: Quota,
    /// Length of our segments, when it was asked for.
    segment_bytes: Option<u64>,
}

impl Setting {
    fn new(arguments: &Arguments, payload: u32, batch: u32, writers: u16) -> Result<Self, Failure> {
        let (payload, batch, writers) = (u64::from(payload), u64::from(batch), u64::from(writers));
        let group = payload * batch * writers;
        if payload * batch > APPEND_MIB_MAX << 20 || group > GROUP_MIB_MAX << 20 {
            return Err(Failure::TooLarge { payload, batch, writers });
        }
        let appends = ((arguments.mib << 20) / group).max(1);
        let quota = Quota { time: arguments.seconds, appends };
        let segment_bytes = arguments.segment_mib.map(|mib| mib << 20);
        Ok(Self { payload, batch, writers, quota, segment_bytes })
    }

    /// The warm-up before a measured run.
    fn warm_up(&self) -> Quota {
        Quota { time: self.quota.time / WARM_UP_PART, appends: self.quota.appends.div_ceil(u64::from(WARM_UP_PART)) }
    }

    /// More bytes than a warm-up and a run bring to the file, overhead included.
    fn bytes_max(&self) -> u64 {
        let warm_up = self.warm_up();
        let seconds = (self.quota.time + warm_up.time).as_secs() + 1;
        // One more of each writer: it looks at the clock after an append.
        let appends = (self.quota.appends + warm_up.appends + 1).min(seconds * FLUSHES_PER_SECOND_MAX);
        let append_bytes = self.batch * (self.payload + ENTRY_OVERHEAD_MAX) + FLUSH_OVERHEAD_MAX;
        appends * self.writers * append_bytes
    }
}

/// Opens a fresh log in an empty directory, its files ready, for the batches of the pool.
type Open = fn(&Path, &Setting, &Pool) -> io::Result<Box<dyn DurableLog>>;

/// A log to measure.
struct Entrant {
    /// Its column.
    name: &'static str,
    open: Open,
}

/// The limit, ours, and the peers that were built in; every ratio is ours to the first.
const ENTRANTS: &[Entrant] = &[
    Entrant { name: "peer", open: open_bare },
    Entrant { name: "ours", open: ours::open },
    #[cfg(feature = "log-peers")]
    Entrant { name: "raft-engine", open: peers::engine::open },
    #[cfg(feature = "log-peers")]
    Entrant { name: "raft-log", open: peers::raft_log::open },
];

/// What the samples of one entrant said, in the order of the rounds.
struct Sampled {
    /// Entries a second.
    rates: Vec<f64>,
    /// Syncs per append, where the log tells.
    syncs: Vec<f64>,
}

/// Measures all settings and reports them.
///
/// # Errors
/// The first failure of a log, of the directory, or of the report.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut columns = vec!["payload", "batch", "writers"];
    columns.extend(ENTRANTS.iter().map(|entrant| entrant.name));
    columns.extend(["ratio", "ratio_q1", "ratio_min", "ratio_max", "peer_syncs", "ours_syncs"]);
    let caption = format!(
        "peer = one write and one fdatasync (the limit), ours = outrigger-log, ratio = ours / peer; entries a second, \
         syncs per append, medians of {} alternation(s)",
        arguments.alternations
    );
    let settings = settings(arguments)?;
    let mut report = Report::new(io::stdout(), arguments.json.as_deref(), &caption, columns)?;
    for setting in settings {
        let sampled = measure(arguments, &setting)?;
        report.row(&row(&setting, &sampled))?;
    }
    Ok(())
}

/// Every combination that was asked for; all of them are checked before the first is measured.
fn settings(arguments: &Arguments) -> Result<Vec<Setting>, Failure> {
    let mut settings = Vec::new();
    for &payload in &arguments.payload {
        for &batch in &arguments.batch {
            for &writers in &arguments.writers {
                settings.push(Setting::new(arguments, payload, batch, writers)?);
            }
        }
    }
    Ok(settings)
}

/// Takes the samples of one setting, in turns; one answer per entrant.
fn measure(arguments: &Arguments, setting: &Setting) -> Result<Vec<Sampled>, Failure> {
    let entries = usize::try_from(setting.batch).unwrap_or(usize::MAX);
    let pool = Pool::new(usize::try_from(setting.payload).unwrap_or(usize::MAX), entries);
    let syncs: Vec<RefCell<Vec<f64>>> = ENTRANTS.iter().map(|_| RefCell::default()).collect();
    let mut contestants: Vec<_> = ENTRANTS
        .iter()
        .zip(&syncs)
        .map(|(entrant, syncs)| Contestant {
            name: entrant.name,
            sample: Box::new(|| sample(arguments, setting, &pool, entrant, syncs)),
        })
        .collect();
    let rounds = arguments.alternations;
    let rates = alternate(&mut contestants, usize::from(rounds), |round, name, rate| {
        let Setting { payload, batch, writers, .. } = setting;
        eprintln!("{payload} bytes, batch {batch}, {writers} writer(s), round {round} of {rounds}: {name} {rate:.0}/s");
    })?;
    drop(contestants);
    let sampled = rates.into_iter().zip(syncs);
    Ok(sampled.map(|(rates, syncs)| Sampled { rates, syncs: syncs.into_inner() }).collect())
}

/// One sample: a fresh log, a warm-up, the measured run, the end of the log and its directory.
fn sample(
    arguments: &Arguments,
    setting: &Setting,
    pool: &Pool,
    entrant: &Entrant,
    syncs: &RefCell<Vec<f64>>,
) -> Result<f64, Failure> {
    let unusable = |cause| Failure::Directory { dir: arguments.dir.clone(), cause };
    let directory = tempfile::Builder::new().prefix("outrigger-bench-").tempdir_in(&arguments.dir).map_err(unusable)?;
    let dir = directory.path();
    let log = (entrant.open)(dir, setting, pool).map_err(|cause| Failure::Open {
        contestant: entrant.name,
        dir: dir.to_path_buf(),
        cause,
        mib: setting.bytes_max().div_ceil(1 << 20),
    })?;
    let failed = |cause| Failure::Append { contestant: entrant.name, cause };
    let writers = usize::try_from(setting.writers).unwrap_or(usize::MAX);
    write(&*log, pool, writers, setting.warm_up()).map_err(failed)?;
    let written = write(&*log, pool, writers, setting.quota).map_err(failed)?;
    drop(log);
    directory.close().map_err(unusable)?;
    let seconds = written.elapsed.as_secs_f64();
    if let Some(flushes) = written.flushes {
        if real(flushes) / seconds > SYNCS_PLAUSIBLE_MAX {
            eprintln!("warning: {flushes} syncs in {seconds:.2} s reach no disk; name a directory on one with --dir");
        }
        syncs.borrow_mut().push(real(flushes) / real(written.appends));
    }
    Ok(real(written.appends * setting.batch) / seconds)
}

/// The row of one setting, in the order of the columns.
fn row(setting: &Setting, sampled: &[Sampled]) -> Vec<Option<f64>> {
    let median = |values: &[f64]| Spread::of(values).map(|spread| spread.median);
    let mut row = vec![Some(real(setting.payload)), Some(real(setting.batch)), Some(real(setting.writers))];
    row.extend(sampled.iter().map(|entrant| median(&entrant.rates).map(f64::round)));
    let (peer, ours) = (sampled.first(), sampled.get(1));
    let ratio = peer.zip(ours).and_then(|(peer, ours)| Spread::of_ratios(&ours.rates, &peer.rates));
    row.extend([ratio.map(|ratio| ratio.median), ratio.map(|ratio| ratio.lower)]);
    row.extend([ratio.map(|ratio| ratio.min), ratio.map(|ratio| ratio.max)]);
    row.extend([peer, ours].map(|entrant| entrant.and_then(|entrant| median(&entrant.syncs))));
    row
}

/// Opens the bare file.
fn open_bare(dir: &Path, setting: &Setting, _pool: &Pool) -> io::Result<Box<dyn DurableLog>> {
    host(bare::Bare::create(&dir.join("bare"), setting.bytes_max())?, setting)
}

/// Puts a log that syncs by itself behind the host that many writers need, or behind none for one.
fn host<A: Appender + 'static>(log: A, setting: &Setting) -> io::Result<Box<dyn DurableLog>> {
    if setting.writers == 1 { Ok(Box::new(Direct::new(log))) } else { Ok(Box::new(GroupCommit::start(log)?)) }
}

/// A count as a number to divide by.
fn real(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
    let real = count as f64;
    real
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Failure, Quota, Sampled, Setting, row, settings};
    use clap::{Args, FromArgMatches};
    use std::time::Duration;

    fn setting(payload: u64, batch: u64, writers: u64, appends: u64) -> Setting {
        let quota = Quota { time: Duration::from_millis(500), appends };
        Setting { payload, batch, writers, quota, segment_bytes: None }
    }

    #[test]
    fn a_row_holds_the_medians_and_the_ratio_of_ours_to_the_limit() {
        let peer = Sampled { rates: vec![100.0, 200.0, 400.0], syncs: vec![1.0; 3] };
        let ours = Sampled { rates: vec![90.0, 190.0, 300.0], syncs: vec![0.5; 3] };
        let row = row(&setting(128, 16, 64, 1), &[peer, ours]);
        let expected = [128.0, 16.0, 64.0, 200.0, 190.0, 0.9, 0.825, 0.75, 0.95, 1.0, 0.5];
        assert_eq!(row, expected.map(Some));
    }

    #[test]
    fn settings_that_no_memory_holds_are_refused_before_anything_is_measured() {
        let parse = |arguments: &[&str]| {
            let command = Arguments::augment_args(clap::Command::new("wal"));
            Arguments::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
        };
        let refusal = settings(&parse(&["wal", "--payload", "128,16777216", "--batch", "65536"])).unwrap_err();
        assert!(matches!(refusal, Failure::TooLarge { payload: 16_777_216, batch: 65_536, .. }), "{refusal}");
        let measured: Vec<_> = settings(&parse(&["wal"])).unwrap();
        let keys: Vec<_> = measured.iter().map(|setting| (setting.payload, setting.batch, setting.writers)).collect();
        assert_eq!(keys.len(), 12);
        assert_eq!(keys.first(), Some(&(128, 1, 1)));
        assert_eq!(keys.last(), Some(&(1_024, 256, 64)));
    }

    #[test]
    fn files_are_made_for_a_whole_sample_but_not_for_more_than_a_disk_can_sync() {
        let few = setting(1_024, 256, 1, 500);
        assert!(few.bytes_max() >= 601 * 256 * 1_024, "{} bytes are less than a sample writes", few.bytes_max());
        let many = setting(128, 1, 1, 1 << 20);
        assert!(many.bytes_max() < 32 << 20, "{} bytes for half a second of single appends", many.bytes_max());
    }
}
