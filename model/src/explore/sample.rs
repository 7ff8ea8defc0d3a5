//! Systems to try encodings and symmetry on.

use crate::server_set::ServerSet;
use crate::system::System;
use std::collections::BTreeSet;

/// How many steps the last systems are away from the first.
const STEPS: usize = 16;

/// The initial system of `servers` servers, and some `breadth` of those that each number of steps leads to, spread over
/// all that could follow from the ones before. The same each time.
pub(super) fn systems(servers: usize, breadth: usize) -> Vec<System<u8>> {
    let mut level = vec![System::new(&ServerSet::first(servers))];
    let mut systems = level.clone();
    for step in 0..STEPS {
        let successors = level.iter().flat_map(|system| {
            system.enabled(&[1, 2]).into_iter().map(|action| {
                let mut next = system.clone();
                next.apply(&action).expect("what is enabled can be applied");
                next
            })
        });
        let all: BTreeSet<System<u8>> = successors.collect();
        let stride = (all.len() / breadth).max(1);
        level = all.into_iter().skip(step % stride).step_by(stride).collect();
        systems.extend(level.iter().cloned());
    }
    systems
}
