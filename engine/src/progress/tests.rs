//! What a leader believes of a follower, step by step.

use super::*;
use crate::types::LogId;

/// A follower that agrees with the leader up to index 5; the leader's log ends there too.
fn following() -> Progress {
    let mut progress = Progress::new(Epoch(1), LogIndex(5), Instant(0));
    progress.issue(RequestId(1), LogIndex(0));
    progress.sent(RequestId(1), LogIndex(5), 0, Round(1));
    progress.matched(LogIndex(5));
    assert_eq!((progress.mode, progress.next_index), (Mode::Pipeline, LogIndex(6)));
    progress
}

fn send(progress: &mut Progress, request: u64, last: u64) {
    progress.issue(RequestId(request), LogIndex(0));
    progress.sent(RequestId(request), LogIndex(last), 100, Round(1));
}

#[test]
fn a_pipeline_stops_at_its_window() {
    let limits = Limits { inflight_requests_max: 2, ..Limits::default() };
    let mut progress = following();
    send(&mut progress, 2, 6);
    assert!(progress.has_room(&limits));
    send(&mut progress, 3, 7);
    assert!(!progress.has_room(&limits));
    progress.matched(LogIndex(6));
    assert!(progress.has_room(&limits));
    let bytes = Limits { inflight_bytes_max: 100, ..Limits::default() };
    assert!(!progress.has_room(&bytes));
}

#[test]
fn a_stale_conflict_does_not_rewind_what_has_matched() {
    let mut progress = following();
    send(&mut progress, 2, 8);
    progress.matched(LogIndex(8));
    assert!(!progress.conflicted(RequestId(2), LogIndex(3)));
    assert_eq!((progress.mode, progress.next_index), (Mode::Pipeline, LogIndex(9)));
}

#[test]
fn a_request_that_a_later_heartbeat_overtook_without_a_trace_is_sent_again() {
    let mut progress = following();
    send(&mut progress, 2, 8);
    progress.heartbeat_answered(Round(1), LogIndex(5));
    assert_eq!(progress.mode, Mode::Pipeline, "that heartbeat was sent before the request");
    progress.heartbeat_answered(Round(2), LogIndex(8));
    assert_eq!(progress.mode, Mode::Pipeline, "it arrived and is being written");
    progress.heartbeat_answered(Round(2), LogIndex(6));
    assert_eq!((progress.mode, progress.next_index), (Mode::Probe, LogIndex(7)));
}

#[test]
fn the_commit_index_is_told_once_and_only_to_those_who_can_use_it() {
    let mut progress = following();
    assert_eq!(progress.commit_to_send(LogIndex(5)), Some(LogIndex(5)));
    assert_eq!(progress.commit_to_send(LogIndex(5)), None);
    assert_eq!(progress.commit_to_send(LogIndex(9)), None, "it has acknowledged no more than 5");
}

#[test]
fn an_answer_that_overtakes_the_report_of_its_sending_counts() {
    let mut progress = Progress::new(Epoch(1), LogIndex(5), Instant(0));
    progress.issue(RequestId(1), LogIndex(0));
    assert!(!progress.conflicted(RequestId(1), LogIndex(2)), "it had acknowledged nothing");
    progress.sent(RequestId(1), LogIndex(5), 0, Round(1));
    assert!(progress.window.is_empty() && progress.next_index == LogIndex(3));
    progress.issue(RequestId(2), LogIndex(0));
    progress.matched(LogIndex(5));
    progress.sent(RequestId(2), LogIndex(5), 9, Round(1));
    assert!(progress.window.is_empty() && progress.has_room(&Limits::default()));
}

const PIECE: u64 = 100;
const WHOLE: SnapshotId = SnapshotId { last: LogId::ZERO, bytes: 10 * PIECE, checksum: 0 };

/// A follower that is brought a snapshot of ten pieces, in heartbeats' rounds.
struct Transfer {
    progress: Progress,
    round: u64,
    requests: u64,
}

impl Transfer {
    fn new() -> Self {
        Self { progress: Progress::new(Epoch(1), LogIndex(5), Instant(0)), round: 0, requests: 0 }
    }

    /// Sends a piece if there is room for one; answers with its request.
    fn send(&mut self) -> Option<RequestId> {
        if !self.progress.has_room(&Limits::default()) {
            return None;
        }
        self.requests += 1;
        let request = RequestId(self.requests);
        self.progress.issue_piece(None, Some(WHOLE), request);
        self.progress.piece_sent(request, Round(self.round));
        Some(request)
    }

    fn beat(&mut self) {
        self.round += 1;
        self.progress.heartbeat_answered(Round(self.round), LogIndex::ZERO);
    }

    /// For how many rounds nothing is sent.
    fn rests(&mut self) -> u64 {
        let begins = self.round;
        while self.send().is_none() {
            self.beat();
        }
        self.round - begins
    }
}

#[test]
fn on_a_slow_link_a_piece_is_not_sent_again_once_it_is_known_how_slow_it_is() {
    let mut transfer = Transfer::new();
    // Each message takes five heartbeats to be answered.
    let mut under_way: VecDeque<(u64, RequestId)> = VecDeque::new();
    let mut held = 0;
    while held < 10 * PIECE {
        under_way.extend(transfer.send().map(|request| (transfer.round + 5, request)));
        transfer.beat();
        while let Some((_, request)) = under_way.pop_front_if(|(due, _)| *due <= transfer.round) {
            let is_question = request == RequestId(1);
            held = if is_question { 0 } else { held.max(transfer.progress.brought().1) + PIECE };
            transfer.progress.piece_held(request, WHOLE, held.min(10 * PIECE));
        }
    }
    assert!(transfer.requests <= 11 + 4, "{} messages for a question and ten pieces", transfer.requests);
}

/// What is only a little slower than the last time is not lost.
#[test]
fn a_piece_is_waited_for_twice_as_long_as_the_last_one_took() {
    let mut transfer = Transfer::new();
    transfer.send().expect("room");
    transfer.rests();
    for (took, pieces) in [(1, 0), (2, 1), (4, 2)] {
        (0..took).for_each(|_| transfer.beat());
        transfer.progress.piece_held(RequestId(transfer.requests), WHOLE, pieces * PIECE);
        transfer.send().expect("it is answered");
        assert_eq!(transfer.rests(), 2 * took + 1, "the last one took {took} rounds");
    }
}

#[test]
fn the_answer_to_a_piece_that_was_given_up_counts_if_it_tells_of_more() {
    let mut transfer = Transfer::new();
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, 0);
    let late = transfer.send().expect("room");
    transfer.beat();
    let again = transfer.send().expect("the first counts as lost");
    transfer.progress.piece_held(late, WHOLE, PIECE);
    assert_eq!(transfer.progress.brought().1, PIECE);
    transfer.progress.piece_held(again, WHOLE, 2 * PIECE);
    transfer.progress.piece_held(late, WHOLE, PIECE);
    assert_eq!(transfer.progress.brought().1, 2 * PIECE, "late once more, it tells of nothing new");
}

#[test]
fn what_is_known_of_one_snapshot_is_not_known_of_the_next() {
    let mut transfer = Transfer::new();
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, 0);
    let late = transfer.send().expect("room");
    transfer.progress.piece_held(late, WHOLE, 5 * PIECE);
    let newer = SnapshotId { bytes: 20 * PIECE, checksum: 1, ..SnapshotId::default() };
    assert_eq!(
        transfer.progress.issue_piece(None, Some(newer), RequestId(10)),
        None,
        "how much of it is there is not known"
    );
    transfer.progress.piece_sent(RequestId(10), Round(0));
    transfer.progress.piece_held(late, WHOLE, 6 * PIECE);
    assert_eq!(transfer.progress.brought().1, 0, "that was the last snapshot");
}

#[test]
fn a_delegate_may_be_asked_again_once_the_follower_has_come_so_far_by_its_leader() {
    let mut transfer = Transfer::new();
    for request in 1..=u64::from(UNANSWERED_QUESTIONS_MAX) {
        transfer.progress.issue_piece(Some(NodeId(2)), None, RequestId(request));
        transfer.progress.piece_sent(RequestId(request), Round(transfer.round));
        while !transfer.progress.has_room(&Limits::default()) {
            transfer.beat();
        }
    }
    assert!(!transfer.progress.may_delegate(), "nobody has answered");
    transfer.requests = 10;
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, 10 * PIECE);
    assert!(!transfer.progress.may_delegate());
    transfer.progress.matched(LogIndex(5));
    assert!(transfer.progress.may_delegate(), "the next time may be long after");
}

#[test]
fn a_late_answer_tells_nothing_of_a_transfer_that_began_since() {
    let mut transfer = Transfer::new();
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, 0);
    let late = transfer.send().expect("room");
    for request in 10..10 + u64::from(UNANSWERED_QUESTIONS_MAX) {
        transfer.progress.issue_piece(Some(NodeId(2)), None, RequestId(request));
        transfer.progress.piece_sent(RequestId(request), Round(transfer.round));
        transfer.progress.piece_held(late, WHOLE, PIECE);
        assert_eq!(transfer.progress.brought().1, 0, "what its delegate has is not known yet");
        while !transfer.progress.has_room(&Limits::default()) {
            transfer.beat();
            transfer.progress.piece_arrived(late);
        }
    }
    assert!(!transfer.progress.may_delegate(), "nothing of the delegate's has arrived");
}

#[test]
fn who_is_brought_a_snapshot_is_told_of_no_commit_beside_it() {
    let mut progress = following();
    progress.issue_piece(None, Some(WHOLE), RequestId(9));
    progress.piece_sent(RequestId(9), Round(1));
    assert_eq!(progress.commit_to_send(LogIndex(5)), None);
}

#[test]
fn only_who_has_what_was_purged_and_was_heard_lately_may_send_a_snapshot() {
    let mut progress = following();
    progress.heartbeat_answered(Round(4), LogIndex(5));
    assert!(progress.follows(Round(6), LogIndex(5)));
    assert!(!progress.follows(Round(6), LogIndex(6)), "its snapshot does not cover that");
    assert!(!progress.follows(Round(7), LogIndex(5)), "it is silent");
    assert!(!Transfer::new().progress.follows(Round(0), LogIndex::ZERO), "it is no follower yet");
}

#[test]
fn who_has_all_of_it_is_asked_with_the_next_heartbeat_whether_it_is_installed() {
    let mut transfer = Transfer::new();
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, 10 * PIECE);
    assert_eq!(transfer.send(), None, "at once it would be asked again and again");
    transfer.beat();
    assert!(transfer.send().is_some());
}

#[test]
fn a_follower_that_loses_what_it_had_is_left_alone_for_longer_each_time() {
    let mut transfer = Transfer::new();
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, 0);
    let mut rests = Vec::new();
    for _ in 0..12 {
        // Its disk has room for two pieces, and none for the third.
        let sent = transfer.requests;
        for held in [PIECE, 2 * PIECE, 0] {
            transfer.rests();
            transfer.progress.piece_held(RequestId(transfer.requests), WHOLE, held);
        }
        assert_eq!(transfer.requests, sent + 3);
        rests.push(transfer.rests());
        transfer.progress.piece_held(RequestId(transfer.requests), WHOLE, 0);
    }
    assert!(rests.windows(2).all(|two| two[0] < two[1] || two[1] >= 1 << SETBACKS_MAX), "{rests:?}");
    assert_eq!((rests[0], rests.last()), (2, Some(&(1 << SETBACKS_MAX))), "{rests:?}");
}

#[test]
fn what_answers_the_last_round_before_a_directory_came_is_not_of_it() {
    let progress = Progress::anew(Epoch(1), LogIndex(5), Round(7), None, Instant(0));
    assert_eq!([7, 8].map(|round| progress.answers_since(Round(round))), [false, true]);
}

#[test]
fn what_was_acknowledged_before_the_logs_agree_ends_no_probe() {
    let mut progress = Progress::new(Epoch(1), LogIndex(5), Instant(0));
    progress.matched(LogIndex(2));
    assert_eq!((progress.mode, progress.next_index), (Mode::Probe, LogIndex(6)));
}

#[test]
fn a_request_to_who_is_brought_a_snapshot_ends_that() {
    let mut progress = following();
    progress.issue_piece(None, Some(SnapshotId { last: LogId::new(1, 9), bytes: 4, checksum: 1 }), RequestId(9));
    progress.piece_sent(RequestId(9), Round(1));
    progress.matched(LogIndex(7));
    progress.piece_held(RequestId(9), SnapshotId { last: LogId::new(1, 9), bytes: 4, checksum: 1 }, 0);
    progress.issue(RequestId(10), LogIndex(0));
    assert_eq!((progress.mode, progress.next_index), (Mode::Probe, LogIndex(8)));
}

#[test]
fn nobody_holds_more_of_a_snapshot_than_there_is_nor_of_another() {
    let mut transfer = Transfer::new();
    let question = transfer.send().expect("room");
    transfer.progress.piece_held(question, WHOLE, WHOLE.bytes + 1);
    assert_eq!(transfer.progress.brought().1, 0);
    transfer.progress.piece_held(question, SnapshotId { checksum: WHOLE.checksum + 1, ..WHOLE }, 1);
    assert_eq!(transfer.progress.brought().1, 0);
}

#[test]
fn a_delegate_that_loses_a_piece_now_and_then_is_not_gone() {
    let mut transfer = Transfer::new();
    let send = |progress: &mut Progress, request: u64| {
        progress.issue_piece(Some(NodeId(2)), None, RequestId(request));
        progress.piece_sent(RequestId(request), Round(request * 100));
    };
    for request in 1..=u64::from(2 * UNANSWERED_MAX) {
        send(&mut transfer.progress, 2 * request - 1);
        transfer.progress.piece_held(RequestId(2 * request - 1), WHOLE, request);
        send(&mut transfer.progress, 2 * request);
        transfer.progress.heartbeat_answered(Round(200 * request + 99), LogIndex::ZERO);
    }
    assert!(transfer.progress.may_delegate());
}
