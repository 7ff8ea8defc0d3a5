//! The table, by what the thesis asks for in section 6.3, and where its limits lie.

use super::*;

const LIMITS: SessionLimits =
    SessionLimits { window: 4, sessions_max: 3, response_bytes_max: 8, kept_bytes_max: 20, time_to_live_max_ms: 1_000 };

/// A table, and where the log is.
struct Log {
    sessions: Sessions,
    index: u64,
    time: u64,
}

impl Log {
    fn new(limits: SessionLimits) -> Self {
        Self { sessions: Sessions::new(limits), index: 0, time: 0 }
    }

    fn admit(&mut self, payload: &Payload) -> Admission {
        self.index += 1;
        self.sessions.admit(LogIndex(self.index), LogTime(self.time), payload)
    }

    fn register(&mut self, time_to_live_ms: u64) -> SessionId {
        match self.admit(&Payload::register_session(time_to_live_ms)) {
            Admission::Alive(session) => session,
            other => panic!("not registered: {other:?}"),
        }
    }

    /// Writes, and keeps the response; answers the response if it was applied now.
    fn write(&mut self, session: SessionId, sequence: u64, response: &str) -> Result<String, Admission> {
        let payload = command(session, sequence);
        match self.admit(&payload) {
            Admission::Apply => {
                self.sessions.keep(&payload, Bytes::copy_from_slice(response.as_bytes()));
                Ok(response.to_owned())
            }
            other => Err(other),
        }
    }

    fn is_alive(&mut self, session: SessionId) -> bool {
        match self.admit(&Payload::blank().in_session(session, 0)) {
            Admission::Alive(alive) => alive == session,
            Admission::Denied(Denied::Expired) => false,
            other => panic!("{other:?}"),
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.sessions.write(&mut bytes).unwrap();
        bytes
    }

    fn restored(&self) -> Self {
        let bytes = self.encoded();
        let mut rest = bytes.as_slice();
        let sessions = Sessions::read(&mut rest, self.sessions.limits).unwrap();
        assert_eq!(rest, [0_u8; 0]);
        Self { sessions, ..*self }
    }
}

fn command(session: SessionId, sequence: u64) -> Payload {
    Payload::command(Bytes::from_static(b"add")).in_session(session, sequence)
}

fn kept(response: &str) -> Admission {
    Admission::Kept(Bytes::copy_from_slice(response.as_bytes()))
}

const EXPIRED: Admission = Admission::Denied(Denied::Expired);
const FORGOTTEN: Admission = Admission::Denied(Denied::Forgotten);

/// A request whose number was executed before gets the response of then, and is not executed again.
#[test]
fn a_number_that_was_executed_is_answered_without_executing_it_again() {
    let mut log = Log::new(LIMITS);
    let session = log.register(100);
    assert_eq!(log.write(session, 1, "one"), Ok("one".into()));
    assert_eq!(log.write(session, 2, "two"), Ok("two".into()));
    assert_eq!(log.write(session, 1, "again"), Err(kept("one")));
    assert_eq!(log.write(session, 2, "again"), Err(kept("two")));
}

/// The id of a session is the log's own word, so that no two nodes or clients can come to different ones.
#[test]
fn the_id_of_a_session_is_the_index_of_its_entry() {
    let mut log = Log::new(LIMITS);
    assert_eq!((log.register(100), log.register(100)), (SessionId(1), SessionId(2)));
    assert_eq!(log.admit(&Payload::command(Bytes::new())), Admission::Apply);
    assert_eq!(log.admit(&Payload::blank()), Admission::Nothing);
    assert_eq!(log.register(100), SessionId(5));
}

/// A client may have several requests under way: numbers and responses are kept in pairs, not the newest alone.
#[test]
fn numbers_that_come_in_another_order_are_each_executed_once() {
    let mut log = Log::new(LIMITS);
    let session = log.register(100);
    for sequence in [4, 2, 1, 3] {
        assert_eq!(log.write(session, sequence, "new"), Ok("new".into()), "{sequence}");
    }
    for sequence in 1..=4 {
        assert_eq!(log.write(session, sequence, "again"), Err(kept("new")), "{sequence}");
    }
}

/// What is older than the window is a late copy: it is never executed, whether it was before or not.
#[test]
fn a_number_older_than_the_window_is_forgotten() {
    let mut log = Log::new(LIMITS);
    let session = log.register(100);
    assert_eq!(log.write(session, 1, "one"), Ok("one".into()));
    assert_eq!(log.write(session, 4, "four"), Ok("four".into()));
    assert_eq!(log.write(session, 1, "again"), Err(kept("one")), "the window holds 1 to 4");
    assert_eq!(log.write(session, 5, "five"), Ok("five".into()));
    assert_eq!(log.write(session, 1, "again"), Err(FORGOTTEN));
    assert_eq!(log.write(session, 2, "late"), Ok("late".into()), "2 is in the window, and was never executed");
    assert_eq!(log.write(session, u64::MAX, "hostile"), Ok("hostile".into()));
    assert_eq!(log.write(session, 5, "again"), Err(FORGOTTEN));
    assert_eq!(log.write(session, 0, "again"), Err(FORGOTTEN));
}

/// All nodes end a session at the same entry: by the time that leaders stamp on entries, and by no clock of their own.
#[test]
fn a_session_expires_when_it_was_unused_for_longer_than_its_time_to_live() {
    let mut log = Log::new(LIMITS);
    let (short, long) = (log.register(100), log.register(300));
    log.time = 100;
    assert_eq!(log.write(short, 1, "used"), Ok("used".into()), "not before its time is over");
    log.time = 200;
    assert!(log.is_alive(short), "it was used at 100");
    log.time = 300;
    assert!(log.is_alive(short) && log.is_alive(long));
    log.time = 401;
    assert_eq!(log.write(short, 2, "late"), Err(EXPIRED));
    assert_eq!(log.write(short, 1, "late"), Err(EXPIRED), "not even what was executed");
    assert!(log.is_alive(long));
    log.time = 701;
    assert!(log.is_alive(long));
    log.time = 1_002;
    assert_eq!(log.admit(&Payload::command(Bytes::new())), Admission::Apply, "any entry's time ends sessions");
    assert!(log.sessions.is_empty());
}

/// A command of a session that has expired is not executed as if it were new: it may have been executed before.
#[test]
fn a_command_without_a_session_that_is_known_is_not_executed() {
    let mut log = Log::new(LIMITS);
    assert_eq!(log.write(SessionId(7), 1, "new"), Err(EXPIRED));
    let session = log.register(100);
    assert!(!log.is_alive(SessionId(session.0 + 1)));
}

/// There is an upper bound on the number of sessions, and whichever was unused for longest goes first.
#[test]
fn the_session_unused_for_longest_makes_room_for_a_new_one() {
    let mut log = Log::new(LIMITS);
    let [first, second, third] = [log.register(900), log.register(900), log.register(900)];
    assert_eq!(log.write(first, 1, "used"), Ok("used".into()));
    let fourth = log.register(900);
    assert_eq!(log.sessions.len(), 3);
    assert_eq!([first, second, third, fourth].map(|session| log.is_alive(session)), [true, false, true, true]);
}

#[test]
fn a_large_response_is_not_kept_but_its_command_is_not_executed_again() {
    let mut log = Log::new(LIMITS);
    let session = log.register(100);
    assert_eq!(log.write(session, 1, "nine byte"), Ok("nine byte".into()));
    assert_eq!(log.write(session, 1, "again"), Err(Admission::Denied(Denied::NotKept)));
    assert_eq!(log.write(session, 2, "8 bytes."), Ok("8 bytes.".into()));
    assert_eq!(log.write(session, 2, "again"), Err(kept("8 bytes.")));
}

#[test]
fn the_responses_of_all_sessions_are_bounded() {
    let mut log = Log::new(LIMITS);
    let (first, second) = (log.register(900), log.register(900));
    assert_eq!(log.write(first, 1, "8 bytes."), Ok("8 bytes.".into()));
    assert_eq!(log.write(second, 1, "8 bytes."), Ok("8 bytes.".into()));
    assert_eq!(log.write(second, 2, "8 bytes."), Ok("8 bytes.".into()), "24 bytes, of which 20 may stay");
    assert_eq!(log.sessions.kept_bytes, 16);
    assert_eq!(
        log.write(first, 1, "again"),
        Err(Admission::Denied(Denied::NotKept)),
        "it is not applied twice all the same"
    );
    assert_eq!((log.is_alive(first), log.is_alive(second)), (true, true));
    for sequence in 3..=6 {
        assert_eq!(log.write(second, sequence, "four"), Ok("four".into()));
    }
    assert_eq!(log.sessions.kept_bytes, 16, "what leaves the window is counted no more");
}

/// What a table lets go of for a response, by definition: the oldest response of the session that was unused for longest, of those
/// that have any, until the rest fits.
fn let_go_by_definition(sessions: &mut Sessions, kept_bytes_max: usize) {
    let bytes =
        |session: &Session| session.kept.iter().filter_map(|(_, response)| response).map(Bytes::len).sum::<usize>();
    while sessions.sessions.values().map(bytes).sum::<usize>() > kept_bytes_max {
        let with_responses = sessions.sessions.values_mut().filter(|session| bytes(session) > 0);
        let unused = with_responses.min_by_key(|session| session.used_by).expect("somebody has one");
        let mut responses = unused.kept.values_mut();
        let oldest = responses.find(|response| response.as_ref().is_some_and(|it| !it.is_empty()));
        oldest.expect("it has one").take();
    }
}

#[test]
fn the_oldest_response_of_the_session_unused_for_longest_goes_first_and_as_many_as_it_takes() {
    let mut log = Log::new(SessionLimits { sessions_max: 6, kept_bytes_max: 20, ..LIMITS });
    let mut random = crate::network::random::Random::new(11);
    let (mut at_once, mut empty) = (0, 0);
    for step in 0..5_000 {
        log.time += random.below(5);
        if step % 500 == 499 {
            log = log.restored();
        }
        let known = log.sessions.sessions.keys().copied();
        let session = known.cycle().nth(usize::try_from(random.below(6)).unwrap()).unwrap_or(SessionId(0));
        let payload = match random.below(20) {
            0 => Payload::register_session(random.below(400)),
            1 => Payload::blank().in_session(session, 0),
            _ => command(session, step / 8 + random.below(4)),
        };
        if log.admit(&payload) != Admission::Apply {
            continue;
        }
        let response = Bytes::from(vec![1; [0, 1, 1, 2, 8][usize::try_from(random.below(5)).unwrap()]]);
        let mut expected = log.restored();
        expected.sessions.limits.kept_bytes_max = usize::MAX;
        expected.sessions.keep(&payload, response.clone());
        let none = |log: &Log| {
            log.sessions.sessions.values().flat_map(|it| it.kept.iter()).filter(|(_, it)| it.is_none()).count()
        };
        let before = none(&expected);
        let_go_by_definition(&mut expected.sessions, 20);
        at_once += usize::from(none(&expected) > before + 1);
        empty += usize::from(response.is_empty());
        log.sessions.keep(&payload, response);
        assert_eq!(log.encoded(), expected.encoded(), "step {step}");
    }
    assert!(at_once > 20 && empty > 20, "{at_once} times more than one had to go, {empty} were empty");
}

/// How long it takes to write so often at the bound, each write into the session that was unused for longest.
fn time_at_the_bound(sessions: u64) -> std::time::Duration {
    const WRITES: u64 = 2_000;
    let limits = SessionLimits {
        sessions_max: 65_536,
        kept_bytes_max: usize::try_from(sessions).unwrap(),
        ..SessionLimits::STANDARD
    };
    let mut log = Log::new(limits);
    let ids: Vec<SessionId> = (0..sessions).map(|_| log.register(1_000_000)).collect();
    let mut write = |number: u64| {
        let session = ids[usize::try_from(number % sessions).unwrap()];
        assert_eq!(log.write(session, number / sessions + 1, "1"), Ok("1".into()));
    };
    (0..sessions).for_each(&mut write);
    let began = std::time::Instant::now();
    (sessions..sessions + WRITES).for_each(write);
    began.elapsed()
}

/// Each node applies entries one after the other: what one costs must not grow with the number of sessions.
#[test]
fn what_a_response_costs_at_the_bound_does_not_grow_with_the_number_of_sessions() {
    let best = |sessions| (0..3).map(|_| time_at_the_bound(sessions)).min().expect("three");
    let (few, many) = (best(16), best(50_000));
    // By a walk through all of them it would be some thousand times as much.
    assert!(many < few * 100, "{few:?} with 16 sessions, {many:?} with 50,000");
}

#[test]
fn nobody_gets_a_longer_time_to_live_than_the_longest() {
    let mut log = Log::new(LIMITS);
    let session = log.register(u64::MAX);
    log.time = 1_000;
    assert!(log.is_alive(session));
    log.time = 2_001;
    assert!(!log.is_alive(session));
}

/// Sessions are part of the state that snapshots hold: a table that was restored goes on as the other does, whatever either
/// of them has put off.
#[test]
fn a_table_that_was_restored_goes_on_as_the_one_that_was_not() {
    let mut log = Log::new(LIMITS);
    let mut restored: Vec<Log> = Vec::new();
    let mut random = crate::network::random::Random::new(7);
    for step in 0..3_000 {
        log.time += random.below(40);
        let session = SessionId(log.index.saturating_sub(random.below(40)));
        let payload = match random.below(8) {
            0 => Payload::register_session(random.below(400)),
            1 => Payload::blank().in_session(session, 0),
            _ => command(session, random.below(9)),
        };
        let admission = log.admit(&payload);
        let response = Bytes::from(vec![1; usize::try_from(random.below(10)).unwrap()]);
        let (index, time) = (LogIndex(log.index), LogTime(log.time));
        for other in &mut restored {
            assert_eq!(other.sessions.admit(index, time, &payload), admission, "step {step}");
            if admission == Admission::Apply {
                other.sessions.keep(&payload, response.clone());
            }
        }
        if admission == Admission::Apply {
            log.sessions.keep(&payload, response);
        }
        for other in &restored {
            assert_eq!(other.encoded(), log.encoded(), "step {step}");
        }
        if step % 100 == 0 {
            restored.truncate(2);
            restored.insert(0, log.restored());
        }
    }
}

#[test]
fn the_layout_is_fixed_byte_by_byte() {
    let mut log = Log::new(LIMITS);
    assert_eq!(log.encoded(), [1, 0, 0, 0, 0]);
    log.time = 5;
    let session = log.register(300);
    log.time = 6;
    assert_eq!(log.write(session, 2, "ok"), Ok("ok".into()));
    assert_eq!(log.write(session, 3, "nine byte"), Ok("nine byte".into()));
    #[rustfmt::skip]
    assert_eq!(log.encoded(), [
        &[1, 1, 0, 0, 0][..],
        &[1, 0, 0, 0, 0, 0, 0, 0,  44, 1, 0, 0, 0, 0, 0, 0,  6, 0, 0, 0, 0, 0, 0, 0,  3, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0,  2, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0,  1,  2, 0, 0, 0], b"ok",
        &[3, 0, 0, 0, 0, 0, 0, 0,  0,  0, 0, 0, 0],
    ].concat());
}

#[test]
fn hostile_bytes_are_refused_and_allocate_nothing() {
    let refused = |bytes: &[u8]| Sessions::read(&mut &*bytes, LIMITS).unwrap_err();
    assert_eq!(refused(&[]), SessionsError::Short { needed: 1, found: 0 });
    assert_eq!(refused(&[2]), SessionsError::UnknownVersion { version: 2 });
    assert_eq!(refused(&[1, 255, 255, 255, 255]), SessionsError::Short { needed: 8, found: 0 });
    let head = |id: u64, highest: u64| [id, 300, 6, 3, highest].map(u64::to_le_bytes).concat();
    let session = |highest: u64, kept: &[(u64, u8, u32)]| {
        let kept = kept
            .iter()
            .map(|(sequence, form, length)| [&sequence.to_le_bytes()[..], &[*form], &length.to_le_bytes()].concat());
        let kept: Vec<Vec<u8>> = kept.collect();
        let count = u32::try_from(kept.len()).unwrap().to_le_bytes();
        [&[1, 1, 0, 0, 0][..], &head(1, highest), &count, &kept.concat()].concat()
    };
    assert_eq!(refused(&session(3, &[(2, 1, u32::MAX)])), SessionsError::Short { needed: u32::MAX as usize, found: 0 });
    let contradiction = |what| SessionsError::Contradiction { what };
    assert_eq!(refused(&session(3, &[(2, 0, 0), (2, 0, 0)])), contradiction("numbers must increase"));
    assert_eq!(refused(&session(3, &[(4, 0, 0)])), contradiction("a number outside of the window"));
    assert_eq!(refused(&session(9, &[(5, 0, 0)])), contradiction("a number outside of the window"));
    assert_eq!(refused(&session(3, &[(3, 2, 0)])), contradiction("a response that is neither kept nor not"));
    let twice = [&[1, 2, 0, 0, 0][..], &head(1, 0), &[0; 4], &head(1, 0), &[0; 4]].concat();
    assert_eq!(refused(&twice), contradiction("ids must increase"));
}
