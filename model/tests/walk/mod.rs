//! A random walk through the system: at each step any enabled action, some more often than others, under one seed.

use crate::random::Random;
use outrigger_model::invariant::Violation;
use outrigger_model::{Action, LogIndex, Model, ServerSet};
use std::collections::BTreeMap;

/// What checks a step: the model before and after it.
pub(crate) type Check = fn(&Model<u8>, &Model<u8>) -> Result<(), Violation<u8>>;

/// How a step goes: the rules' way, or a broken one.
pub(crate) type Step = fn(&mut Model<u8>, &Action<u8>);

/// The step of the rules.
pub(crate) fn follow_the_rules(model: &mut Model<u8>, action: &Action<u8>) {
    model.apply(action).expect("what is enabled can be applied");
}

/// How often each action and each case of Receive was taken.
pub(crate) type Taken = BTreeMap<&'static str, usize>;

/// A walk that broke an invariant.
pub(crate) struct Failure {
    /// What is wrong.
    pub(crate) violation: Violation<u8>,
    /// The actions that led there.
    pub(crate) path: Vec<Action<u8>>,
}

/// Walks `steps` steps from `model`, all invariants of `check` holding.
///
/// # Errors
/// The first violation, with the actions that led to it.
pub(crate) fn walk(
    mut model: Model<u8>,
    seed: u64,
    steps: usize,
    step: Step,
    check: Check,
) -> Result<(Model<u8>, Taken), Failure> {
    let mut random = Random(seed);
    let mut path = Vec::new();
    let mut taken = Taken::new();
    for _ in 0..steps {
        let actions = model.system.enabled(&[1, 2]);
        let action = choose(&model, &actions, &mut random).clone();
        *taken.entry(action.name()).or_default() += 1;
        if let Action::Receive(m) = &action
            && let Some(server) = model.system.servers.at(m.dest)
            && let Some(case) = server.receive_case(m)
        {
            *taken.entry(case.name()).or_default() += 1;
        }
        let before = model.clone();
        step(&mut model, &action);
        path.push(action);
        if let Err(violation) = check(&before, &model) {
            return Err(Failure { violation, path });
        }
    }
    Ok((model, taken))
}

/// Draws one of `actions` by weight. Restart is always enabled and has weight, so there is always one to draw.
fn choose<'a>(model: &Model<u8>, actions: &'a [Action<u8>], random: &mut Random) -> &'a Action<u8> {
    let weights = actions.iter().map(|action| weight(model, action));
    let mut ticket = random.below(weights.clone().sum());
    for (action, weight) in actions.iter().zip(weights) {
        if ticket < weight {
            return action;
        }
        ticket -= weight;
    }
    unreachable!("the ticket is below the sum of the weights")
}

/// Elections are rare enough for leaders to get something done, and the network and the logs stay small.
fn weight(model: &Model<u8>, action: &Action<u8>) -> usize {
    let crowded = model.system.messages.len() >= 12;
    match action {
        Action::Receive(_) | Action::BecomeLeader(_) => 120,
        Action::RequestVote(..) | Action::AppendEntries(..) if crowded => 0,
        Action::RequestVote(..) | Action::AppendEntries(..) => 60,
        Action::ClientRequest(i, _) => {
            let length = model.system.servers.at(*i).map(|server| server.log.len());
            if length < Some(LogIndex(10)) { 10 } else { 0 }
        }
        Action::AdvanceCommitIndex(_) => 40,
        Action::DuplicateMessage(_) if crowded => 0,
        Action::DuplicateMessage(_) | Action::DropMessage(_) => 10,
        Action::Timeout(_) => 3,
        Action::Restart(_) => 1,
    }
}

/// The model of `count` servers that has taken no step.
pub(crate) fn cluster(count: usize) -> Model<u8> {
    Model::new(&ServerSet::first(count))
}
