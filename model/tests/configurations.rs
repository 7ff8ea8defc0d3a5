//! Configurations in the extended model: small clusters that change their voters, every state of them; and what becomes of
//! them when a rule of such changes is broken (thesis, chapter 4).

use outrigger_model::explore::{Script, Search, TransitionSystem, Verdict};
use outrigger_model::extended::{Action, Bounds, Command, Configuration, Explored, System, Value, Violation};
use outrigger_model::{Entry, LogIndex, ServerId, ServerSet};

fn bounds(term_max: usize, log_max: usize) -> Bounds {
    Bounds {
        term_max,
        log_max,
        batch_max: 1,
        reads: 0,
        leases: false,
        restarts: false,
        snapshots: false,
        is_instant: true,
    }
}

fn voters(ids: &[usize]) -> ServerSet {
    ids.iter().copied().map(ServerId).collect()
}

fn path(path: &[&[usize]]) -> Vec<ServerSet> {
    path.iter().map(|ids| voters(ids)).collect()
}

/// Visits every state, finds nothing wrong in any, and counts them.
fn exhaust<S: TransitionSystem>(system: S) -> u64 {
    let report = Search::new(system).run().expect("the initial state is within the bounds");
    match report.verdict {
        Verdict::Exhausted => report.distinct,
        Verdict::Violated(found) => panic!("{found}"),
        Verdict::NotExhausted { waiting } => panic!("{waiting} states wait"),
    }
}

fn changes(servers: usize, steps: &[&[usize]], bounds: Bounds) -> u64 {
    exhaust(Explored::with_configurations(servers, &path(steps), bounds))
}

#[test]
fn a_second_server_joins_the_first() {
    changes(2, &[&[1], &[1, 2]], bounds(2, 4));
}

#[test]
fn a_server_takes_the_place_of_another() {
    changes(2, &[&[1], &[2]], bounds(2, 4));
}

#[test]
fn a_server_leaves_and_comes_back() {
    changes(2, &[&[1, 2], &[1], &[1, 2]], bounds(1, 6));
}

#[test]
fn one_of_two_servers_is_replaced_while_leaders_change() {
    changes(3, &[&[1, 2], &[2, 3]], bounds(2, 3));
}

#[test]
fn one_of_two_servers_is_replaced_to_the_end() {
    changes(3, &[&[1, 2], &[2, 3]], bounds(1, 4));
}

#[test]
fn a_configuration_survives_crashes_or_goes_with_its_entry() {
    let slow = Bounds { restarts: true, is_instant: false, ..bounds(1, 3) };
    changes(2, &[&[1], &[2]], slow);
}

#[test]
fn reads_are_confirmed_by_the_configuration_of_their_leader() {
    let system = Explored::with_configurations(2, &path(&[&[1], &[2]]), Bounds { reads: 1, ..bounds(2, 4) });
    let led = "Timeout(s1); BecomeLeader(s1); ClientRequest(s1, [0]); AdvanceCommitIndex(s1, index 2); \
               ChangeConfiguration(s1, {s2} and {s1}); UpdateTerm(s2, term 1); \
               HandleAppendEntries(s2, from s1, behind 0 up to 3); AdvanceCommitIndex(s1, index 3)";
    let report = Search::new(system).after(Script::parse(led)).run().expect("the script can be taken");
    assert!(matches!(report.verdict, Verdict::Exhausted), "{:?}", report.verdict);
}

/// The model with a rule broken: what is refused is tried again in a state that is bent so that the rule holds, and what was
/// bent is put back.
struct Broken {
    model: Explored<Command>,
    bounds: Bounds,
    configurations: Vec<Command>,
    bend: fn(&Action<Command>, &mut System<Command>),
}

impl Broken {
    fn new(
        servers: usize,
        steps: &[&[usize]],
        bounds: Bounds,
        bend: fn(&Action<Command>, &mut System<Command>),
    ) -> Self {
        let steps = path(steps);
        let stable: Vec<_> = steps.iter().cloned().map(Configuration::stable).collect();
        let joint = stable.windows(2).map(|pair| pair[0].joint(pair[1].voters.clone()));
        let configurations = joint.chain(stable[1..].iter().cloned()).map(Command::Configure).collect();
        Self { model: Explored::with_configurations(servers, &steps, bounds), bounds, configurations, bend }
    }

    fn attempt(&self, from: &System<Command>, action: &Action<Command>) -> Option<System<Command>> {
        let mut next = from.clone();
        if next.take(action, &self.bounds).is_ok() {
            return Some(next);
        }
        (self.bend)(action, &mut next);
        next.apply(action).ok()?;
        mend(from, action, &mut next);
        let nothing = Action::Flush(next.servers.ids().next()?, 0);
        next.take(&nothing, &self.bounds).ok()?;
        Some(next)
    }
}

/// Takes back what was bent for a step; what the step did stays.
fn mend(from: &System<Command>, action: &Action<Command>, next: &mut System<Command>) {
    let Some(i) = acts(action) else { return };
    let (old, new) = (from.servers.at(i).unwrap(), next.servers.at_mut(i).unwrap());
    match action {
        Action::ChangeConfiguration(..) => {
            (new.commit_index, new.term_start) = (old.commit_index, old.term_start);
            let appended = new.log.pop();
            new.log = old.log.clone();
            new.log.push(appended.unwrap());
        }
        Action::AdvanceCommitIndex(..) => new.match_index = old.match_index.clone(),
        _ => new.votes_granted = old.votes_granted.clone(),
    }
}

/// Who takes a step that a broken rule may allow.
fn acts(action: &Action<Command>) -> Option<ServerId> {
    match action {
        Action::ChangeConfiguration(i, _) | Action::AdvanceCommitIndex(i, _) | Action::BecomeLeader(i) => Some(*i),
        _ => None,
    }
}

impl TransitionSystem for Broken {
    type State = System<Command>;
    type Packed = System<Command>;
    type Action = Action<Command>;
    type Violation = Violation;

    fn initial(&self) -> System<Command> {
        self.model.initial()
    }

    fn append_actions(&self, state: &System<Command>, actions: &mut Vec<Action<Command>>) {
        self.model.append_actions(state, actions);
        for (i, server) in state.servers.iter() {
            let commits = (server.commit_index.0 + 1..=server.log.len().0).map(LogIndex);
            let mut more: Vec<_> = commits.map(|index| Action::AdvanceCommitIndex(i, index)).collect();
            more.push(Action::BecomeLeader(i));
            more.extend(self.configurations.iter().map(|value| Action::ChangeConfiguration(i, value.clone())));
            more.retain(|action| {
                !actions.contains(action)
                    && self.attempt(state, action).is_some_and(|next| next.is_within(&self.bounds))
            });
            actions.extend(more);
        }
    }

    fn step(&self, from: &System<Command>, action: &Action<Command>, next: &mut System<Command>) {
        *next = self.attempt(from, action).expect("only enabled actions are taken");
    }

    fn is_within(&self, state: &System<Command>) -> bool {
        self.model.is_within(state)
    }

    fn key(&self, state: &System<Command>, key: &mut Vec<u8>) -> u64 {
        self.model.key(state, key)
    }

    fn check_state(&self, state: &System<Command>) -> Result<(), Violation> {
        self.model.check_state(state)
    }

    fn check_step(&self, from: &System<Command>, next: &System<Command>) -> Result<(), Violation> {
        self.model.check_step(from, next)
    }

    fn pack(&self, state: &System<Command>) -> System<Command> {
        state.clone()
    }

    fn unpack(&self, packed: &System<Command>, state: &mut System<Command>) {
        state.clone_from(packed);
    }
}

/// Which invariant notices.
fn noticed(broken: Broken, script: &str) -> &'static str {
    match Search::new(broken).after(Script::parse(script)).run().expect("the script can be taken").verdict {
        Verdict::Violated(found) => found.violation.invariant,
        _ => panic!("nobody noticed"),
    }
}

/// What server `i` counts by while two majorities decide.
fn joint_of(system: &System<Command>, i: ServerId) -> Option<Configuration> {
    system.servers.at(i)?.configuration().filter(|it| it.is_joint()).cloned()
}

fn new_majority_commits(action: &Action<Command>, system: &mut System<Command>) {
    let Action::AdvanceCommitIndex(i, index) = action else { return };
    let Some(joint) = joint_of(system, *i) else { return };
    for old in joint.outgoing.iter().filter(|old| !joint.voters.contains(*old)) {
        *system.servers.at_mut(*i).unwrap().match_index.at_mut(old).unwrap() = *index;
    }
}

#[test]
fn a_joint_configuration_that_commits_by_the_new_majority_alone_is_noticed() {
    let broken = Broken::new(3, &[&[1, 2], &[3]], bounds(1, 3), new_majority_commits);
    assert_eq!(noticed(broken, ""), "CommittedOnQuorum");
}

fn old_majority_commits(action: &Action<Command>, system: &mut System<Command>) {
    let Action::AdvanceCommitIndex(i, index) = action else { return };
    let Some(joint) = joint_of(system, *i) else { return };
    for new in joint.voters.iter().filter(|new| !joint.outgoing.contains(*new)) {
        *system.servers.at_mut(*i).unwrap().match_index.at_mut(new).unwrap() = *index;
    }
}

#[test]
fn a_joint_configuration_that_commits_by_the_old_majority_alone_is_noticed() {
    let broken = Broken::new(2, &[&[1], &[1, 2]], bounds(1, 3), old_majority_commits);
    assert_eq!(noticed(broken, ""), "CommittedOnQuorum");
}

/// Server 1 leads a cluster of three and has committed an entry of its term.
const SETTLED: &str = "Timeout(s1); UpdateTerm(s2, term 1); GrantVote(s2, s1); BecomeLeader(s1); ClientRequest(s1, [0]); \
                       HandleAppendEntries(s2, from s1, behind 1 up to 2); AdvanceCommitIndex(s1, index 2)";

#[test]
fn a_joint_configuration_that_elects_by_the_new_majority_alone_is_noticed() {
    let broken = Broken::new(3, &[&[1, 2, 3], &[1]], bounds(2, 3), |action, system| {
        let Action::BecomeLeader(i) = action else { return };
        let Some(joint) = joint_of(system, *i) else { return };
        let granted = &mut system.servers.at_mut(*i).unwrap().votes_granted;
        joint.outgoing.iter().filter(|old| !joint.voters.contains(*old)).for_each(|old| granted.insert(old));
    });
    let script = format!("{SETTLED}; ChangeConfiguration(s1, {{s1}} and {{s1, s2, s3}})");
    assert_eq!(noticed(broken, &script), "ElectionSafety");
}

/// Everything in the log counts as committed, if the next configuration is of this kind.
fn everything_is_committed(action: &Action<Command>, system: &mut System<Command>, joint: bool) {
    let Action::ChangeConfiguration(i, next) = action else { return };
    if next.configuration().is_some_and(|next| next.is_joint() == joint) {
        let server = system.servers.at_mut(*i).unwrap();
        server.commit_index = server.log.len();
    }
}

#[test]
fn a_configuration_that_is_settled_before_the_joint_one_is_committed_is_noticed() {
    let broken = Broken::new(3, &[&[1, 2, 3], &[1]], bounds(2, 4), |action, system| {
        everything_is_committed(action, system, false);
    });
    let script = format!("{SETTLED}; ChangeConfiguration(s1, {{s1}} and {{s1, s2, s3}})");
    assert_eq!(noticed(broken, &script), "LeaderCompleteness");
}

/// The last configuration in the log of a leader counts as another one for a step.
fn count_as(system: &mut System<Command>, i: ServerId, voters: &ServerSet) {
    let server = system.servers.at_mut(i).unwrap();
    let (at, counts) = (server.configured_at(), Command::Configure(Configuration::stable(voters.clone())));
    let bent = server.log.iter().map(|(index, entry)| {
        if index == at { Entry { term: entry.term, value: counts.clone() } } else { entry.clone() }
    });
    server.log = bent.collect();
}

#[test]
fn two_changes_at_once_are_noticed() {
    let broken = Broken::new(3, &[&[1, 2, 3], &[1], &[1]], bounds(2, 4), |action, system| {
        let Action::ChangeConfiguration(i, _) = action else { return };
        everything_is_committed(action, system, true);
        if let Some(joint) = joint_of(system, *i) {
            count_as(system, *i, &joint.voters);
        }
    });
    let script = format!("{SETTLED}; ChangeConfiguration(s1, {{s1}} and {{s1, s2, s3}})");
    assert_eq!(noticed(broken, &script), "LeaderCompleteness");
}

/// A change needs no entry of the leader's own term before it.
fn own_entry_is_not_needed(action: &Action<Command>, system: &mut System<Command>) {
    if let Action::ChangeConfiguration(i, _) = action {
        let server = system.servers.at_mut(*i).unwrap();
        server.term_start = LogIndex::ZERO;
        // Every voter has the first entry.
        server.commit_index = server.commit_index.max(LogIndex(1));
    }
}

/// Nor need a change between single configurations pass through a joint one.
fn one_step_will_do(action: &Action<Command>, system: &mut System<Command>) {
    own_entry_is_not_needed(action, system);
    let Action::ChangeConfiguration(i, next) = action else { return };
    if let Some(next) = next.configuration().filter(|next| !next.is_joint()) {
        count_as(system, *i, &next.voters);
    }
}

/// The changes of two leaders that do not know of each other: server 1 adds server 5, server 2 removes server 1, and commits
/// that by two of three; server 1, server 4, which has heard of neither, and server 5 are three of five.
const TWO_LEADERS: [&str; 3] = [
    "Timeout(s1); UpdateTerm(s2, term 1); GrantVote(s2, s1); UpdateTerm(s3, term 1); GrantVote(s3, s1); BecomeLeader(s1)",
    "ChangeConfiguration(s1, {s1, s2, s3, s4, s5}); UpdateTerm(s5, term 1); \
     HandleAppendEntries(s5, from s1, behind 0 up to 2); \
     Timeout(s2); UpdateTerm(s3, term 2); GrantVote(s3, s2); UpdateTerm(s4, term 2); GrantVote(s4, s2); BecomeLeader(s2)",
    "ChangeConfiguration(s2, {s2, s3, s4}); HandleAppendEntries(s3, from s2, behind 1 up to 2); \
     AdvanceCommitIndex(s2, index 2); \
     UpdateTerm(s1, term 2); Timeout(s1); UpdateTerm(s4, term 3); UpdateTerm(s5, term 3); GrantVote(s4, s1)",
];

/// That is the bug that the thesis had at first: majorities of two single-server changes from the same voters need not meet.
#[test]
fn a_single_server_change_before_an_entry_of_the_own_term_is_noticed() {
    let steps: [&[usize]; 3] = [&[1, 2, 3, 4], &[1, 2, 3, 4, 5], &[2, 3, 4]];
    let broken = Broken::new(5, &steps, bounds(3, 2), one_step_will_do);
    assert_eq!(noticed(broken, &TWO_LEADERS.join("; ")), "LeaderCompleteness");
}

/// Joint changes do not need the rule for safety, says the search: whatever two leaders append behind the same committed
/// configuration, both need a majority of its voters, and of two majorities of the same voters one server is in both. The
/// engine and the model keep the rule all the same: the thesis states it for either kind of change.
#[test]
fn a_joint_change_before_an_entry_of_the_own_term_is_harmless() {
    for steps in [[&[1, 2][..], &[1]], [&[1], &[1, 2]], [&[1], &[2]]] {
        let kept = changes(2, &steps, bounds(2, 3));
        let broken = exhaust(Broken::new(2, &steps, bounds(2, 3), own_entry_is_not_needed));
        assert!(broken > kept, "what the rule forbids is tried: {broken} states, {kept} with it");
    }
}

#[test]
fn a_change_that_its_rules_forbid_is_refused_and_changes_nothing() {
    let initial = Command::Configure(Configuration::stable(ServerSet::first(3)));
    let mut system = System::configured(&ServerSet::first(4), &initial);
    let (s1, s2) = (ServerId(1), ServerId(2));
    let all = Configuration::stable(ServerSet::first(3));
    let joint = all.joint(voters(&[4]));
    let step =
        |configuration: &Configuration| Action::ChangeConfiguration(s1, Command::Configure(configuration.clone()));
    let refuse = |system: &mut System<Command>, action: &Action<Command>, why: &str| {
        let before = system.clone();
        let refused = system.apply(action).unwrap_err();
        assert_eq!((refused.needs, &*system), (why, &before), "{action}");
    };
    let take = |system: &mut System<Command>, actions: &[Action<Command>]| {
        actions.iter().for_each(|action| system.take(action, &bounds(9, 9)).unwrap());
    };
    refuse(&mut system, &Action::Timeout(ServerId(4)), "it has the first configuration");
    refuse(&mut system, &step(&joint), "it leads");
    take(&mut system, &[Action::Timeout(s1), Action::UpdateTerm(s2, outrigger_model::Term(1))]);
    refuse(&mut system, &Action::BecomeLeader(s1), "a quorum has voted for it");
    take(&mut system, &[Action::GrantVote(s2, s1), Action::BecomeLeader(s1)]);
    let hidden = Action::ClientRequest(s1, vec![Command::Configure(joint.clone())]);
    refuse(&mut system, &hidden, "clients change no configuration");
    refuse(&mut system, &Action::ChangeConfiguration(s1, Command::Client(0)), "it is a configuration");
    refuse(&mut system, &step(&joint), "it has committed an entry of its own term");
    let append = |prev, last| Action::HandleAppendEntries { server: s2, leader: s1, prev, last };
    take(&mut system, &[Action::ClientRequest(s1, vec![Command::Client(0)]), append(LogIndex(1), LogIndex(2))]);
    take(&mut system, &[Action::AdvanceCommitIndex(s1, LogIndex(2))]);
    let elsewhere = "the last configuration leads there in one step";
    refuse(&mut system, &step(&Configuration::stable(voters(&[4]))), elsewhere);
    refuse(&mut system, &step(&Configuration::stable(voters(&[2])).joint(voters(&[4]))), elsewhere);
    refuse(&mut system, &step(&Configuration::stable(voters(&[]))), elsewhere);
    take(&mut system, &[step(&joint), append(LogIndex(2), LogIndex(3))]);
    refuse(&mut system, &step(&Configuration::stable(voters(&[4]))), "the last configuration is committed");
    refuse(&mut system, &Action::AdvanceCommitIndex(s1, LogIndex(3)), "a quorum holds it durably");
}

/// A server that is no voter by its last configuration may still have to lead: others vote for no shorter log.
#[test]
fn who_is_no_voter_may_campaign_and_counts_no_vote_of_its_own() {
    let initial = Command::Configure(Configuration::stable(ServerSet::first(2)));
    let mut system = System::configured(&ServerSet::first(2), &initial);
    let (s1, s2) = (ServerId(1), ServerId(2));
    let removed = Command::Configure(Configuration::stable(voters(&[2])));
    let server = system.servers.at_mut(s1).unwrap();
    server.log.push(Entry { term: outrigger_model::Term(0), value: removed });
    server.disk.log = server.log.clone();
    system.apply(&Action::Timeout(s1)).unwrap();
    system.take(&Action::Flush(s1, 1), &bounds(9, 9)).unwrap();
    assert!(system.apply(&Action::BecomeLeader(s1)).is_err(), "its own vote counts no more");
    system.apply(&Action::UpdateTerm(s2, outrigger_model::Term(1))).unwrap();
    system.take(&Action::GrantVote(s2, s1), &bounds(9, 9)).unwrap();
    system.apply(&Action::BecomeLeader(s1)).unwrap();
}
