//! Batches and states on disk: nothing twice and nothing left out, wherever a batch ends and a life begins anew.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_engine::{LogTime, Payload, SessionId};

use super::*;

/// Keeps the commands that were applied; what is in `stored` is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    applied: Vec<u8>,
    stored: Option<LogId>,
    fails_at: Option<u8>,
    takes: Takes,
}

/// How much of a batch is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Takes {
    #[default]
    All,
    Nothing,
    /// A failure is kept quiet about.
    HidesFailures,
}

impl LargeStateMachine for Kept {
    type Command = u8;
    type Response = usize;
    type View = Vec<u8>;

    fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
        if self.takes == Takes::Nothing {
            return Ok(());
        }
        let done = batch.try_each(|command| {
            if self.fails_at == Some(command) {
                return Err(io::Error::other("the disk is gone"));
            }
            self.applied.push(command);
            Ok(self.applied.len())
        });
        self.stored.iter_mut().for_each(|stored| *stored = batch.last());
        if self.takes == Takes::HidesFailures { Ok(()) } else { done }
    }

    fn view(&self) -> io::Result<Vec<u8>> {
        Ok(self.applied.clone())
    }

    fn write_view(view: &Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(view)
    }

    fn restore(&mut self, content: &mut dyn Read, last: LogId) -> io::Result<()> {
        self.applied.clear();
        content.read_to_end(&mut self.applied)?;
        self.stored.iter_mut().for_each(|stored| *stored = last);
        Ok(())
    }

    fn last_applied(&self) -> Option<LogId> {
        self.stored
    }
}

fn on_disk() -> Kept {
    Kept { stored: Some(LogId::ZERO), ..Kept::default() }
}

fn command(command: u8) -> Payload {
    Payload::command(Bytes::from(vec![command]))
}

/// Two batches, in which commands are tried again, at once and later.
fn log() -> [Batch; 2] {
    let once = |number, sequence| command(number).in_session(SessionId(1), sequence);
    let register = Payload::register_session(60_000);
    let first = [register, once(b'a', 1), once(b'a', 1), command(b'b'), once(b'c', 2)];
    let second = [Payload::blank(), once(b'c', 2), command(b'd'), once(b'a', 1), once(b'e', 3)];
    let batch = |index, entries: [Payload; 5]| Batch::new(LogId::new(1, index), LogTime(5), Arc::new(entries));
    [batch(1, first), batch(6, second)]
}

const LAST: u64 = 10;

/// What came of each entry up to `through`, in turns of so many entries.
fn apply(replicated: &mut Replicated<Kept>, from: u64, through: u64, turn: u64) -> Vec<Applied<usize>> {
    let (mut came, mut next) = (Vec::new(), from);
    let batches: Vec<Batch> = log().iter().filter_map(|batch| batch.through(LogIndex(through))).collect();
    while next <= through {
        let (mut left, first) = (turn, LogIndex(next));
        let mut note = |id: LogId, _: LogTime, applied: Applied<usize>| {
            assert_eq!(id.index.0, next, "one after the other");
            came.push(applied);
            (next, left) = (next + 1, left - 1);
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        replicated.apply(first, &batches, &mut note).unwrap();
    }
    came
}

fn lived(through: u64) -> Replicated<Kept> {
    let mut replicated = Replicated::new(on_disk());
    apply(&mut replicated, 1, through, LAST);
    replicated
}

#[test]
fn a_command_that_is_twice_in_a_batch_is_applied_once_wherever_the_batch_is_cut() {
    let all = [
        Applied::Alive(SessionId(1)),
        Applied::Response(1),
        Applied::Response(1),
        Applied::Response(2),
        Applied::Response(3),
        Applied::Nothing,
        Applied::Response(3),
        Applied::Response(4),
        Applied::Response(1),
        Applied::Response(5),
    ];
    for turn in 1..=LAST {
        let mut replicated = Replicated::new(on_disk());
        assert_eq!(apply(&mut replicated, 1, LAST, turn), all, "in turns of {turn}");
        assert_eq!(replicated.state.applied, b"abcde");
        assert_eq!(replicated.state.stored, Some(LogId::new(1, LAST)));
    }
}

/// Whatever a snapshot holds, and however far ahead the state is: what it holds is not applied again, and what was tried before is
/// still known.
#[test]
fn a_state_on_disk_applies_each_command_once_across_a_crash_at_any_entry() {
    for (held, covered) in (0..=LAST).flat_map(|held| (0..=LAST).map(move |covered| (held, covered))) {
        let mut content = Vec::new();
        let last = LogId::new(1, covered);
        lived(covered).view(last.index).unwrap().write(&mut content).unwrap();
        let mut replicated = Replicated::new(lived(held).state);
        if covered > 0 {
            replicated.restore(content.as_slice(), last).unwrap();
        }
        let came = apply(&mut replicated, covered + 1, LAST, 3);
        let what = format!("the state holds {held}, the snapshot {covered}");
        assert_eq!(replicated.state.applied, b"abcde", "{what}");
        for (index, applied) in (covered + 1..).zip(came) {
            let was_known = index > held || !matches!(index, 2 | 4 | 5 | 8 | 10);
            assert!(was_known || applied == Applied::Denied(Denied::NotKept), "{what}: {index} is {applied:?}");
        }
        // Another try of each: the response, or that it is not there.
        for (sequence, response) in [(1, 1), (2, 3), (3, 5)] {
            let again = Batch::new(
                LogId::new(1, LAST + sequence),
                LogTime(6),
                Arc::new([command(b'x').in_session(SessionId(1), sequence)]),
            );
            let mut said = None;
            let mut note = |_: LogId, _: LogTime, applied| {
                said = Some(applied);
                ControlFlow::Continue(())
            };
            replicated.apply(LogIndex(LAST + sequence), &[again], &mut note).unwrap();
            let said = said.unwrap();
            let is_right = said == Applied::Response(response) || said == Applied::Denied(Denied::NotKept);
            assert!(is_right, "{what}: {sequence} is {said:?}");
        }
        assert_eq!(replicated.state.applied, b"abcde", "{what}");
    }
}

#[test]
fn no_snapshot_is_taken_of_a_state_that_is_ahead_of_its_log() {
    let mut replicated = Replicated::new(lived(7).state);
    apply(&mut replicated, 1, 6, LAST);
    let said = replicated.view(LogIndex(6)).unwrap_err().to_string();
    assert_eq!(said, "the state is at 1/7 already, and the log at 6");
    apply(&mut replicated, 7, 7, LAST);
    assert_eq!(replicated.view(LogIndex(7)).unwrap().state, b"abc");
}

#[test]
fn the_state_of_another_log_is_told_when_its_entry_comes() {
    let mut replicated = Replicated::new(Kept { stored: Some(LogId::new(2, 3)), ..Kept::default() });
    let mut note = |_: LogId, _: LogTime, _| ControlFlow::Continue(());
    let error = replicated.apply(LogIndex(1), &log(), &mut note).unwrap_err();
    assert_eq!(error, ApplyError::OtherEntry { applied: LogId::new(2, 3), found: LogId::new(1, 3) });
    let mut content = Vec::new();
    lived(3).view(LogIndex(3)).unwrap().write(&mut content).unwrap();
    let mut replicated = Replicated::new(Kept { stored: Some(LogId::new(2, 3)), ..Kept::default() });
    let said = replicated.restore(content.as_slice(), LogId::new(1, 3)).unwrap_err();
    assert!(said.contains("has applied 2/3 on disk, but the log holds 1/3"), "{said}");
}

/// The error, and how many entries were noted before it.
fn failure(state: Kept, batch: Batch) -> (ApplyError, u64) {
    let mut noted = 0;
    let mut note = |_: LogId, _: LogTime, _| {
        noted += 1;
        ControlFlow::Continue(())
    };
    let error = Replicated::new(state).apply(LogIndex(1), &[batch], &mut note).unwrap_err();
    (error, noted)
}

#[test]
fn what_is_not_applied_stops_the_node_at_its_entry() {
    let batch = |second: &'static [u8]| {
        let second = Payload::command(Bytes::from_static(second));
        Batch::new(LogId::new(1, 1), LogTime(0), Arc::new([command(b'a'), second, command(b'c')]))
    };
    let failing = |takes| Kept { fails_at: Some(b'b'), takes, ..Kept::default() };
    let gone = ApplyError::Failed { reason: "the disk is gone".to_owned() };
    assert_eq!(failure(failing(Takes::All), batch(b"b")), (gone, 1));
    assert_eq!(failure(failing(Takes::HidesFailures), batch(b"b")), (ApplyError::LeftOut, 1));
    assert_eq!(failure(failing(Takes::Nothing), batch(b"b")), (ApplyError::LeftOut, 0));
    let (error, noted) = failure(Kept::default(), batch(b"bb"));
    assert!(matches!(error, ApplyError::Decode(_)) && noted == 1, "{noted}: {error}");
}

/// A state on disk that commits at the end of each batch, as its documents say, told of nothing behind what it holds: it was stored
/// as if nothing were applied, and all of it was applied again by the version that could go on.
#[test]
fn a_batch_whose_first_command_does_not_decode_leaves_the_state_where_it_was() {
    for first_life in [true, false] {
        let mut replicated = lived(4);
        if !first_life {
            replicated = Replicated::new(replicated.state().clone());
        }
        let unknown = Payload::command(Bytes::from_static(b"bb"));
        let batch = Batch::new(LogId::new(1, 5), LogTime(5), Arc::new([unknown, command(b'c')]));
        let failed = replicated.apply(LogIndex(5), &[batch], &mut |_, _, _| ControlFlow::Continue(()));
        assert!(matches!(failed, Err(ApplyError::Decode(_))), "{failed:?}");
        assert_eq!(replicated.state().last_applied(), Some(LogId::new(1, 4)));
    }
}

#[test]
fn a_snapshot_that_is_not_read_to_its_end_is_not_taken_in() {
    #[derive(Debug)]
    struct Hasty;
    impl LargeStateMachine for Hasty {
        type Command = u8;
        type Response = ();
        type View = ();
        fn apply_batch(&mut self, batch: &mut CommandBatch<'_, Self>) -> io::Result<()> {
            batch.each(|_| ());
            Ok(())
        }
        fn view(&self) -> io::Result<()> {
            Ok(())
        }
        fn write_view((): &(), out: &mut dyn Write) -> io::Result<()> {
            out.write_all(&[0; 100_000])
        }
        fn restore(&mut self, content: &mut dyn Read, _: LogId) -> io::Result<()> {
            content.read_exact(&mut [0; 99_999])
        }
    }
    let mut content = Vec::new();
    Replicated::new(Hasty).view(LogIndex(3)).unwrap().write(&mut content).unwrap();
    let said = Replicated::new(Hasty).restore(content.as_slice(), LogId::new(1, 3));
    assert_eq!(said, Err("it was not read to its end".to_owned()));
}
