//! What each action needs and does.

use super::configuration::{Configuration, Value};
use super::server::{Role, Server, Write};
use super::{Action, Read, ReadId, System};
use crate::log::{Entry, LogIndex, Term};
use crate::server_set::ServerId;
use std::fmt;

#[cfg(test)]
mod tests;

/// Why [`System::apply`] did not take a step: what the action needs does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEnabled {
    /// The action, as it prints.
    pub action: String,
    /// What it needs.
    pub needs: &'static str,
}

impl fmt::Display for NotEnabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not allowed: it does not hold that {}", self.action, self.needs)
    }
}

impl std::error::Error for NotEnabled {}

/// The guard of an action: what it needs, if that does not hold.
type Guard = Result<(), &'static str>;

/// Fails with what is needed unless it holds.
fn need(holds: bool, needs: &'static str) -> Guard {
    if holds { Ok(()) } else { Err(needs) }
}

impl<V: Value> System<V> {
    /// Takes one step.
    ///
    /// # Errors
    /// The action is not enabled: nothing has changed, and the error says what it needs.
    pub fn apply(&mut self, action: &Action<V>) -> Result<(), NotEnabled> {
        let taken = match action {
            Action::Initialize(i, value) => self.initialize(*i, value),
            Action::Restart { server, kept, votes, commit } => self.restart(*server, *kept, *votes, *commit),
            Action::Flush(i, count) => self.flush(*i, *count),
            Action::UpdateTerm(i, term) => self.update_term(*i, *term),
            Action::StepDown(i) => self.step_down(*i),
            Action::Timeout(i) => self.timeout(*i),
            Action::GrantVote(i, j) => self.grant_vote(*i, *j),
            Action::CountVote(i, j) => self.count_vote(*i, *j),
            Action::BecomeLeader(i) => self.become_leader(*i),
            Action::ClientRequest(i, values) => self.client_request(*i, values),
            Action::ChangeConfiguration(i, value) => self.change_configuration(*i, value),
            Action::HandleAppendEntries { server, leader, prev, last } => {
                self.handle_append_entries(*server, *leader, *prev, *last)
            }
            Action::HandleAcknowledgement(i, j, index) => self.handle_acknowledgement(*i, *j, *index),
            Action::ForgetMatch(i, j) => self.forget_match(*i, *j),
            Action::AdvanceCommitIndex(i, index) => self.advance_commit_index(*i, *index),
            Action::HandleCommit(i, j, index) => self.handle_commit(*i, *j, *index),
            Action::InstallSnapshot { server, term, last } => self.install_snapshot(*server, *term, *last),
            Action::BeginRound(i) => self.begin_round(*i),
            Action::AnswerRound(i, j, round) => self.answer_round(*i, *j, *round),
            Action::AskRead(read) => self.ask_read(*read),
            Action::BeginRead(i, read) => self.begin_read(*i, *read),
            Action::ConfirmRead(i, read) => self.confirm_read(*i, *read),
            Action::ConfirmReadByLease(i, read) => self.confirm_read_by_lease(*i, *read),
            Action::ConfirmOldRead(i, read) => self.confirm_old_read(*i, *read),
            Action::ServeRead(i, read) => self.serve_read(*i, *read),
        };
        taken.map_err(|needs| NotEnabled { action: action.to_string(), needs })
    }

    fn server(&self, i: ServerId) -> Result<&Server<V>, &'static str> {
        self.servers.at(i).ok_or("it names a server of the system")
    }

    fn server_mut(&mut self, i: ServerId) -> Result<&mut Server<V>, &'static str> {
        self.servers.at_mut(i).ok_or("it names a server of the system")
    }

    /// A server in a role.
    fn in_role(&mut self, i: ServerId, role: Role, needs: &'static str) -> Result<&mut Server<V>, &'static str> {
        let server = self.server_mut(i)?;
        need(server.role == role, needs)?;
        Ok(server)
    }

    // ---- disks and terms ---------------------------------------------------------------------------------------

    fn initialize(&mut self, i: ServerId, value: &V) -> Guard {
        let is_same = self.said.first.as_ref().is_none_or(|first| first == value);
        need(is_same, "every server begins with the same entry")?;
        let server = self.in_role(i, Role::Follower, "it follows")?;
        need(server.log.is_empty(), "the log is empty")?;
        server.append(Entry { term: Term::ZERO, value: value.clone() });
        self.said.first = Some(value.clone());
        Ok(())
    }

    fn restart(&mut self, i: ServerId, kept: usize, votes: usize, commit: LogIndex) -> Guard {
        let server = self.server_mut(i)?;
        need(kept <= server.pending.len(), "no more writes survive than were pending")?;
        need(commit <= server.commit_index, "a commit index that was known survives, or an older one")?;
        let mut disk = server.disk.clone();
        let behind = server.pending.iter().skip(kept).filter(|write| matches!(write, Write::Vote(..)));
        need(votes <= behind.clone().count(), "no more votes survive than were pending")?;
        server.pending.iter().take(kept).chain(behind.take(votes)).for_each(|write| disk.write(write));
        need(commit <= disk.log.len(), "what is committed is in the log")?;
        let server = self.server_mut(i)?;
        server.disk = disk;
        server.restart(commit);
        self.say(i);
        Ok(())
    }

    fn flush(&mut self, i: ServerId, count: usize) -> Guard {
        need(count <= self.server(i)?.pending.len(), "so many writes are pending")?;
        for _ in 0..count {
            self.server_mut(i)?.flush();
            self.say(i);
        }
        Ok(())
    }

    /// What a server may say from now on: the vote on its disk, how much of its leader's log is there in the term of that
    /// vote, and, as a candidate, its question.
    fn say(&mut self, i: ServerId) {
        let Self { servers, said } = self;
        let Some(server) = servers.at(i) else { return };
        let term = server.disk.current_term;
        if let Some(candidate) = server.disk.voted_for {
            said.granted.insert((term, i, candidate));
        }
        let held = if server.has_durable_term() {
            server.verified.min(server.durable_index())
        } else {
            let before = server.verified_before.iter().find(|(before, _)| *before == term);
            let (verified, led) = (before.map(|(_, index)| *index), said.led_in(term));
            verified.zip(led).map_or(LogIndex::ZERO, |(index, led)| index.min(led.common_prefix(&server.disk.log)))
        };
        if held > LogIndex::ZERO {
            let acknowledged = said.acknowledged.entry((term, i)).or_default();
            *acknowledged = held.max(*acknowledged);
        }
        if server.role == Role::Candidate && server.has_durable_term() && server.disk.voted_for == Some(i) {
            said.asked.insert((term, i), (server.log.last_term(), server.log.len()));
        }
    }

    fn update_term(&mut self, i: ServerId, term: Term) -> Guard {
        let is_known = self.servers.iter().any(|(_, server)| server.current_term >= term)
            || self.said.asked.keys().any(|(asked, _)| *asked >= term);
        need(is_known, "somebody was in that term, or in a later one")?;
        let server = self.server_mut(i)?;
        need(term > server.current_term, "the term is later than its own")?;
        server.enter(term, None);
        Ok(())
    }

    fn step_down(&mut self, i: ServerId) -> Guard {
        let server = self.server_mut(i)?;
        need(server.role != Role::Follower, "it is a candidate or a leader")?;
        server.become_follower();
        Ok(())
    }

    // ---- elections ---------------------------------------------------------------------------------------------

    fn timeout(&mut self, i: ServerId) -> Guard {
        let server = self.server(i)?;
        need(server.role != Role::Leader, "it does not lead")?;
        need(self.may_campaign(server), "it has the first configuration")?;
        let server = self.server_mut(i)?;
        let term = server.current_term.next().ok_or("there is a later term")?;
        server.enter(term, Some(i));
        server.role = Role::Candidate;
        Ok(())
    }

    fn grant_vote(&mut self, i: ServerId, candidate: ServerId) -> Guard {
        let term = self.server(i)?.current_term;
        let last = *self.said.asked.get(&(term, candidate)).ok_or("the candidate asked for votes in its term")?;
        let server = self.server_mut(i)?;
        need(server.voted_for.is_none_or(|voted| voted == candidate), "it has voted for nobody else in its term")?;
        need(server.accepts_log(last), "the candidate's log lacks nothing of its own")?;
        if server.voted_for.is_none() {
            server.vote(term, Some(candidate));
        }
        Ok(())
    }

    fn count_vote(&mut self, i: ServerId, voter: ServerId) -> Guard {
        let vote = (self.server(i)?.current_term, voter, i);
        need(self.said.granted.contains(&vote), "that server has voted for it in its term, durably")?;
        self.in_role(i, Role::Candidate, "it is a candidate")?.votes_granted.insert(voter);
        Ok(())
    }

    fn become_leader(&mut self, i: ServerId) -> Guard {
        let server = self.server(i)?;
        let is_won = self.is_quorum(server, |voter| server.votes_granted.contains(voter));
        need(is_won, "a quorum has voted for it")?;
        let server = self.in_role(i, Role::Candidate, "it is a candidate")?;
        server.role = Role::Leader;
        server.match_index.fill(LogIndex::ZERO);
        server.term_start = server.log.len().next();
        let (place, log) = ((server.current_term, i), server.log.clone());
        self.said.led.insert(place, log);
        self.said.told.insert(place, LogIndex::ZERO);
        self.tell(i);
        Ok(())
    }

    // ---- replication -------------------------------------------------------------------------------------------

    fn client_request(&mut self, i: ServerId, values: &[V]) -> Guard {
        need(values.iter().all(|value| value.configuration().is_none()), "clients change no configuration")?;
        self.in_role(i, Role::Leader, "it leads")?;
        self.lead(i, values)
    }

    /// A leader appends entries, and may say them.
    fn lead(&mut self, i: ServerId, values: &[V]) -> Guard {
        let server = self.server_mut(i)?;
        let term = server.current_term;
        for value in values {
            server.append(Entry { term, value: value.clone() });
        }
        if let Some(led) = self.said.led.get_mut(&(term, i)) {
            values.iter().for_each(|value| led.push(Entry { term, value: value.clone() }));
        }
        Ok(())
    }

    /// One change at a time, by a leader that has committed an entry of its own term (thesis, section 4.1), and each step once
    /// the one before is committed (section 4.3).
    fn change_configuration(&mut self, i: ServerId, value: &V) -> Guard {
        let next = value.configuration().ok_or("it is a configuration")?;
        let server = self.server(i)?;
        need(server.role == Role::Leader, "it leads")?;
        need(server.commit_index >= server.term_start, "it has committed an entry of its own term")?;
        need(server.commit_index >= server.configured_at(), "the last configuration is committed")?;
        let leads_there = match server.configuration() {
            Some(last) => last.leads_to(next),
            None => Configuration::stable(self.servers.ids().collect()).leads_to(next),
        };
        need(leads_there, "the last configuration leads there in one step")?;
        self.lead(i, std::slice::from_ref(value))
    }

    fn handle_append_entries(&mut self, i: ServerId, leader: ServerId, prev: LogIndex, last: LogIndex) -> Guard {
        need(prev <= last && leader != i, "entries of another server, in order")?;
        let Self { servers, said } = self;
        let server = servers.at_mut(i).ok_or("it names a server of the system")?;
        let led = said.led.get(&(server.current_term, leader)).ok_or("that server leads in its term")?;
        need(server.role == Role::Follower, "it follows")?;
        need(last <= led.len(), "the leader has these entries")?;
        let has_prev = prev <= server.log.len() && server.log.term_at(prev) == led.term_at(prev);
        need(has_prev, "it has the entry before them")?;
        let run = || led.iter().skip(prev.0).take(last.0 - prev.0);
        let holds = |index: LogIndex, term: Term| server.log.entry(index).is_some_and(|held| held.term == term);
        let different = run().find(|(index, entry)| !holds(*index, entry.term));
        if let Some((index, _)) = different {
            if index <= server.log.len() {
                server.truncate(index.previous());
            }
            run().filter(|(other, _)| *other >= index).for_each(|(_, entry)| server.append(entry.clone()));
        }
        server.verified = server.verified.max(last);
        self.say(i);
        Ok(())
    }

    fn handle_acknowledgement(&mut self, i: ServerId, follower: ServerId, index: LogIndex) -> Guard {
        let term = self.server(i)?.current_term;
        let said = self.said.acknowledged.get(&(term, follower)).copied().unwrap_or_default();
        need(index <= said, "that server holds so much of the leader's log durably")?;
        let server = self.in_role(i, Role::Leader, "it leads")?;
        let matched = server.match_index.at_mut(follower).ok_or("it names a server of the system")?;
        *matched = index.max(*matched);
        Ok(())
    }

    /// A leader forgets how much a server holds, as one that left the cluster and came back may have lost it.
    fn forget_match(&mut self, i: ServerId, other: ServerId) -> Guard {
        let server = self.in_role(i, Role::Leader, "it leads")?;
        *server.match_index.at_mut(other).ok_or("it names a server of the system")? = LogIndex::ZERO;
        Ok(())
    }

    /// Whether a leader may commit up to an index now; not when it did already.
    #[must_use]
    pub fn can_advance_commit_index(&self, i: ServerId, index: LogIndex) -> bool {
        self.commitment(i, index).is_ok()
    }

    fn commitment(&self, i: ServerId, index: LogIndex) -> Guard {
        let server = self.server(i)?;
        let own = server.durable_index();
        let held = |j: ServerId| if j == i { Some(&own) } else { server.match_index.at(j) };
        let is_held = self.is_quorum(server, |j| held(j).is_some_and(|held| *held >= index));
        need(is_held, "a quorum holds it durably")?;
        need(server.role == Role::Leader, "it leads")?;
        need(server.log.term_at(index) == server.current_term, "the entry is of the leader's own term")?;
        need(index > server.commit_index, "it is not committed yet")
    }

    fn advance_commit_index(&mut self, i: ServerId, index: LogIndex) -> Guard {
        self.commitment(i, index)?;
        self.commit(i, index)?;
        self.tell(i);
        Ok(())
    }

    /// What a leader has committed may be told.
    fn tell(&mut self, i: ServerId) {
        let Some(server) = self.servers.at(i) else { return };
        if let Some(told) = self.said.told.get_mut(&(server.current_term, i)) {
            *told = server.commit_index.max(*told);
        }
    }

    fn handle_commit(&mut self, i: ServerId, leader: ServerId, index: LogIndex) -> Guard {
        let server = self.server(i)?;
        let told = self.said.told.get(&(server.current_term, leader)).copied();
        need(told.is_some_and(|told| index <= told), "the leader of its term has committed so much")?;
        need(index <= server.verified, "so much of its log is known to be the leader's")?;
        need(index > server.commit_index, "it is not committed there yet")?;
        self.commit(i, index)
    }

    fn commit(&mut self, i: ServerId, index: LogIndex) -> Guard {
        let Self { servers, said } = self;
        let server = servers.at_mut(i).ok_or("it names a server of the system")?;
        need(index <= server.log.len(), "it is in the log")?;
        let by = (server.current_term, server.configured_at());
        for (at, entry) in server.log.iter().skip(server.commit_index.0).take(index.0 - server.commit_index.0) {
            let first = said.committed.entry((at, entry.clone())).or_insert(by);
            if by.0 < first.0 {
                *first = by;
            }
        }
        server.commit_index = index;
        Ok(())
    }

    // ---- snapshots (Raft paper, section 7) ---------------------------------------------------------------------

    /// What the snapshot covers is committed. A log that holds its last entry stays; any other becomes the prefix that it covers,
    /// in one write: what was committed here is in that, and what was not goes.
    fn install_snapshot(&mut self, i: ServerId, term: Term, last: LogIndex) -> Guard {
        let Self { servers, said } = self;
        need(said.told_in(term).is_some_and(|told| last <= told), "the leader of that term has committed so much")?;
        let led = said.led_in(term).ok_or("somebody leads in that term")?;
        let server = servers.at_mut(i).ok_or("it names a server of the system")?;
        need(term <= server.current_term, "that term is not later than its own")?;
        let holds = last <= server.log.len() && server.log.term_at(last) == led.term_at(last);
        if !holds {
            need(server.role != Role::Leader, "a leader's log holds all that was committed before its term")?;
            need(last > server.commit_index, "what is committed stays")?;
            // What is the same stays where it is, and may be acknowledged as before.
            let after = led.common_prefix(&server.log);
            let entries = led.iter().skip(after.0).take(last.0 - after.0);
            let entries = entries.map(|(_, entry)| entry.clone()).collect();
            server.install(after, entries);
        }
        // The leader of its term holds all that was committed in that term or before.
        if server.role == Role::Follower && said.led_in(server.current_term).is_some() {
            server.verified = server.verified.max(last);
        }
        if last > server.commit_index {
            self.commit(i, last)?;
        }
        self.tell(i);
        self.say(i);
        Ok(())
    }

    // ---- reads (thesis, section 6.4) ---------------------------------------------------------------------------

    fn begin_round(&mut self, i: ServerId) -> Guard {
        let term = self.in_role(i, Role::Leader, "it leads")?.current_term;
        *self.said.begun.entry((term, i)).or_default() += 1;
        Ok(())
    }

    fn answer_round(&mut self, i: ServerId, leader: ServerId, round: usize) -> Guard {
        let server = self.server(i)?;
        let place = (server.current_term, leader);
        let begun = self.said.begun.get(&place).copied().unwrap_or_default();
        need(round <= begun, "the leader of its term has begun that round")?;
        need(server.role == Role::Follower && i != leader, "it follows")?;
        let answered = self.said.answered.entry((place.0, leader, i)).or_default();
        *answered = round.max(*answered);
        Ok(())
    }

    fn ask_read(&mut self, read: ReadId) -> Guard {
        need(!self.said.reads.contains_key(&read), "it was not asked before")?;
        let floor = self.said.last_committed();
        self.said.reads.insert(read, Read { floor, ..Read::default() });
        Ok(())
    }

    fn begin_read(&mut self, i: ServerId, read: ReadId) -> Guard {
        let server = self.in_role(i, Role::Leader, "it leads")?;
        let (term, index) = (server.current_term, server.commit_index.max(server.term_start));
        let round = self.said.begun.get(&(term, i)).copied().unwrap_or_default() + 1;
        let read = self.said.reads.get_mut(&read).ok_or("a client asked for it")?;
        need(read.confirmed.is_none(), "it is not confirmed yet")?;
        read.begun = Some((i, term, index, round));
        Ok(())
    }

    /// Whether a leader may confirm a read now; not when it did already.
    #[must_use]
    pub fn can_confirm_read(&self, i: ServerId, read: ReadId) -> bool {
        self.said.reads.get(&read).is_some_and(|read| read.confirmed.is_none()) && self.confirmation(i, read).is_ok()
    }

    /// What a read must see that `i` has begun in its present term: where it leads, and the round that would prove it.
    fn begun_here(&self, i: ServerId, read: ReadId) -> Result<(&Server<V>, LogIndex, usize), &'static str> {
        let begun = self.said.reads.get(&read).and_then(|read| read.begun);
        let (leader, term, index, round) = begun.ok_or("a leader has begun it")?;
        need(leader == i, "the leader that began it confirms it")?;
        let server = self.server(i)?;
        need(server.role == Role::Leader && server.current_term == term, "it leads in that term")?;
        Ok((server, index, round))
    }

    /// What a read that `i` may confirm must see.
    fn confirmation(&self, i: ServerId, read: ReadId) -> Result<LogIndex, &'static str> {
        let (server, index, round) = self.begun_here(i, read)?;
        let term = server.current_term;
        let answered = |j: ServerId| {
            let own = (j == i).then(|| self.said.begun.get(&(term, i))).flatten();
            own.or_else(|| self.said.answered.get(&(term, i, j))).is_some_and(|answered| *answered >= round)
        };
        need(self.is_quorum(server, answered), "a quorum has answered its round")?;
        Ok(index)
    }

    fn confirm_read(&mut self, i: ServerId, read: ReadId) -> Guard {
        let index = self.confirmation(i, read)?;
        if let Some(read) = self.said.reads.get_mut(&read) {
            read.confirmed = Some(index);
        }
        Ok(())
    }

    /// What a read must see that `i` has begun in its present term, in which a quorum has followed it.
    fn followed_confirmation(&self, i: ServerId, read: ReadId) -> Result<LogIndex, &'static str> {
        let (server, index, _) = self.begun_here(i, read)?;
        let follows = |j: ServerId| j == i || self.said.answered.contains_key(&(server.current_term, i, j));
        need(self.is_quorum(server, follows), "a quorum has answered a round in its term")?;
        Ok(index)
    }

    fn confirm_read_by_lease(&mut self, i: ServerId, read: ReadId) -> Guard {
        let index = self.followed_confirmation(i, read)?;
        let term = self.server(i)?.current_term;
        let latest = self.said.led.last_key_value().map(|((latest, _), _)| *latest);
        need(latest.is_none_or(|latest| latest <= term), "nobody has led in a later term")?;
        let read = self.said.reads.get_mut(&read).ok_or("a client asked for it")?;
        need(read.confirmed.is_none(), "it is not confirmed yet")?;
        read.confirmed = Some(index);
        Ok(())
    }

    fn confirm_old_read(&mut self, i: ServerId, read: ReadId) -> Guard {
        let index = self.followed_confirmation(i, read)?;
        let read = self.said.reads.get_mut(&read).ok_or("a client asked for it")?;
        need(read.confirmed.is_none(), "it is not confirmed yet")?;
        // How old it may be is a matter of clocks: whoever has some holds it against them.
        (read.confirmed, read.floor) = (Some(index), LogIndex::ZERO);
        Ok(())
    }

    fn serve_read(&mut self, i: ServerId, read: ReadId) -> Guard {
        let commit = self.server(i)?.commit_index;
        let read = self.said.reads.get_mut(&read).ok_or("a client asked for it")?;
        let index = read.confirmed.ok_or("a leader has confirmed it")?;
        need(commit >= index, "what it must see is committed there")?;
        need(read.served.is_none(), "it was not served yet")?;
        read.served = Some(commit);
        Ok(())
    }
}
