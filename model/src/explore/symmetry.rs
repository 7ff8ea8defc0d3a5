//! Symmetry: systems that differ only in the names of their servers are one orbit, and one system stands for it.
//!
//! The canonical form of a system is the least of its encodings under all permutations of the servers, so that it is the
//! same for the whole orbit. To try fewer permutations, each server is given a number first that no renaming changes (its
//! term, state, log and so on), and only permutations that sort the servers by it are tried: those are the same encodings
//! whichever system of the orbit they are made from, and often there is only one.
//!
//! The permutations that end in the same least encoding are as many as leave the system as it is, so the orbit's size is
//! n! divided by their number.

use super::encoding::{Relabeling, SERVERS_MAX};
use crate::log::Term;
use crate::server::Server;
use crate::server_set::ServerId;
use crate::system::System;

/// The permutations of the servers under which states are the same.
#[derive(Clone, Debug)]
pub(super) struct Symmetry {
    /// All permutations, the identity first; or the identity alone.
    relabelings: Vec<Relabeling>,
}

impl Symmetry {
    /// Every state is its own.
    pub(super) fn none(servers: usize) -> Self {
        Self { relabelings: vec![Relabeling::identity(servers)] }
    }

    /// States are the same under every permutation of the servers.
    pub(super) fn full(servers: usize) -> Self {
        let mut permutations: Vec<Vec<u8>> = vec![Vec::new()];
        for next in (0..).take(servers) {
            let extend = |shorter: &Vec<u8>| {
                let insert = |place| {
                    let mut longer = shorter.clone();
                    longer.insert(shorter.len() - place, next);
                    longer
                };
                (0..=shorter.len()).map(insert).collect::<Vec<_>>()
            };
            permutations = permutations.iter().flat_map(extend).collect();
        }
        Self { relabelings: permutations.iter().map(|places| Relabeling::new(places)).collect() }
    }

    /// Appends the canonical form to the empty `key`, where `write` appends `system` under the names given to it.
    /// Returns the size of the orbit.
    pub(super) fn write_canonical(
        &self,
        system: &System<u8>,
        key: &mut Vec<u8>,
        write: impl Fn(&Relabeling, &mut Vec<u8>),
    ) -> u64 {
        let [identity] = self.relabelings.as_slice() else {
            return self.write_least(system, key, write);
        };
        write(identity, key);
        1
    }

    /// [`Symmetry::write_canonical`] where there are several permutations.
    fn write_least(&self, system: &System<u8>, key: &mut Vec<u8>, write: impl Fn(&Relabeling, &mut Vec<u8>)) -> u64 {
        let signatures = signatures(system);
        let sorts = |names: &&Relabeling| names.servers().is_sorted_by_key(|id| signatures[id.0 - 1]);
        let mut equal = 0;
        let mut length = 0;
        // The least so far stands at the front of the key, and each candidate behind it for a moment.
        for names in self.relabelings.iter().filter(sorts) {
            write(names, key);
            let (least, candidate) = key.split_at(length);
            if equal == 0 || candidate < least {
                key.drain(..length);
                length = key.len();
                equal = 1;
            } else {
                equal += u64::from(candidate == least);
                key.truncate(length);
            }
        }
        assert!(equal > 0, "some permutation sorts the servers");
        self.relabelings.len() as u64 / equal
    }
}

/// For each server a number that no renaming of servers changes. Servers that differ may share one.
fn signatures(system: &System<u8>) -> [u64; SERVERS_MAX] {
    let mut signatures = [0; SERVERS_MAX];
    for (id, server) in system.servers.iter() {
        signatures[id.0 - 1] = signature(id, server);
    }
    for (message, count) in system.messages.iter() {
        // What overflows is lost for all renamings alike.
        let weight = (message.term.0 * 8 + count) as u64;
        for (id, place) in [(message.source, 48), (message.dest, 56)] {
            let signature = &mut signatures[id.0 - 1];
            *signature = signature.wrapping_add(weight << place);
        }
    }
    signatures
}

/// The part of a signature that the server's own variables make.
fn signature(id: ServerId, server: &Server<u8>) -> u64 {
    let voted_for = match server.voted_for {
        None => 0,
        Some(candidate) if candidate == id => 1,
        Some(_) => 2,
    };
    let responded = server.votes_responded.len() * 2 + usize::from(server.votes_responded.contains(id));
    let indexes: usize = server.next_index.iter().chain(server.match_index.iter()).map(|(_, index)| index.0).sum();
    let mix =
        |mixed: usize, term: Term, value: u8| mixed.wrapping_mul(31).wrapping_add(term.0 * 7 + usize::from(value));
    let log = server.log.iter().fold(0, |mixed, (_, entry)| mix(mixed, entry.term, entry.value));
    let parts =
        [server.state as usize, voted_for, server.current_term.0, server.commit_index.0, responded, indexes, log];
    parts.iter().fold(0, |mixed: u64, part| mixed.wrapping_mul(61).wrapping_add(*part as u64)) & 0xFFFF_FFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::super::encoding;
    use super::super::sample::systems;
    use super::*;
    use crate::server_set::ServerSet;
    use std::collections::BTreeSet;

    fn encoded(system: &System<u8>, names: &Relabeling) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoding::write(system, names, &mut bytes);
        bytes
    }

    fn canonical(symmetry: &Symmetry, system: &System<u8>) -> (Vec<u8>, u64) {
        let mut key = Vec::new();
        let orbit = symmetry.write_canonical(system, &mut key, |names, bytes| encoding::write(system, names, bytes));
        (key, orbit)
    }

    #[test]
    fn there_is_each_permutation_once() {
        for (servers, count) in [(1, 1), (2, 2), (3, 6), (4, 24), (5, 120)] {
            let names = |names: &Relabeling| names.servers().collect::<Vec<_>>();
            let relabelings = Symmetry::full(servers).relabelings;
            assert_eq!(relabelings.iter().map(names).collect::<BTreeSet<_>>().len(), count);
        }
    }

    #[test]
    fn an_orbit_has_one_form_and_as_many_states_as_encodings() {
        let mut sizes = BTreeSet::new();
        for servers in [2, 3, 4] {
            let symmetry = Symmetry::full(servers);
            let mut renamed = System::new(&ServerSet::first(servers));
            for system in systems(servers, 60) {
                let (form, size) = canonical(&symmetry, &system);
                let orbit: BTreeSet<Vec<u8>> =
                    symmetry.relabelings.iter().map(|names| encoded(&system, names)).collect();
                assert_eq!(size, orbit.len() as u64);
                assert!(orbit.contains(&form), "the form is one of the orbit");
                for bytes in &orbit {
                    encoding::read(bytes, &mut renamed);
                    assert_eq!(canonical(&symmetry, &renamed).0, form);
                }
                sizes.insert(size);
            }
        }
        assert!(sizes.is_superset(&[1, 2, 3, 4, 6, 12, 24].into()), "{sizes:?}");
    }

    #[test]
    fn without_symmetry_a_system_is_its_own_form() {
        for system in systems(3, 60) {
            let (form, size) = canonical(&Symmetry::none(3), &system);
            assert_eq!((form, size), (encoded(&system, &Relabeling::identity(3)), 1));
        }
    }
}
