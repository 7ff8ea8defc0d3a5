//! Figure 8 of the Raft paper, told by the model: why a leader commits no entry of an older term by counting.
//!
//! What goes wrong if it does is for the explorer to find, in `mutants.rs`.

use outrigger_model::{Action, Entry, LogIndex, Model, Server, ServerId, ServerSet, Term, invariant};

fn server(model: &mut Model<u8>, id: ServerId) -> &mut Server<u8> {
    let server = model.system.servers.at_mut(id);
    server.expect("a server of the system")
}

/// Figure 8 of the Raft paper: an entry of term 2 reaches a majority only while term 4 is led, and is overwritten by a
/// leader of term 5. Commits of older terms by counting are what the figure warns of.
struct Figure8 {
    model: Model<u8>,
}

impl Figure8 {
    fn take(&mut self, action: &Action<u8>) {
        self.model.apply(action).expect("the story is possible");
    }

    /// Receives what is in the network until it is empty.
    fn deliver_all(&mut self) {
        for _ in 0..1_000 {
            let first = self.model.system.messages.iter().next();
            let Some(m) = first.map(|(m, _)| m.clone()) else {
                return;
            };
            self.take(&Action::Receive(m));
        }
        panic!("the servers never fall silent");
    }

    /// `leader` times out until it is in `term`, and wins by the votes of `voters`.
    fn elect(&mut self, leader: usize, term: usize, voters: &[usize]) {
        let i = ServerId(leader);
        while server(&mut self.model, i).current_term < Term(term) {
            self.take(&Action::Timeout(i));
        }
        for voter in voters {
            self.take(&Action::RequestVote(i, ServerId(*voter)));
        }
        self.deliver_all();
        self.take(&Action::BecomeLeader(i));
    }

    /// `leader` replicates to `follower` by `rounds` requests and their answers.
    fn replicate(&mut self, leader: usize, follower: usize, rounds: usize) {
        for _ in 0..rounds {
            self.take(&Action::AppendEntries(ServerId(leader), ServerId(follower)));
            self.deliver_all();
        }
    }

    /// Up to part (c) of the figure: server 1 leads term 4 and has brought its entry of term 2 to servers 2 and 3.
    fn until_c() -> Self {
        let mut story = Self { model: Model::new(&ServerSet::first(5)) };
        let (s1, s5) = (ServerId(1), ServerId(5));
        story.elect(1, 2, &[1, 2, 3]);
        story.take(&Action::ClientRequest(s1, 2));
        story.replicate(1, 2, 1);
        story.take(&Action::Restart(s1));
        story.elect(5, 3, &[3, 4, 5]);
        story.take(&Action::ClientRequest(s5, 3));
        story.take(&Action::Restart(s5));
        story.elect(1, 4, &[1, 2, 3]);
        story.replicate(1, 3, 2);
        // Server 2 has it already, and says so: three of five.
        story.replicate(1, 2, 2);
        for id in [1, 2, 3] {
            let log = &server(&mut story.model, ServerId(id)).log;
            assert_eq!(log.entry(LogIndex(1)), Some(&Entry { term: Term(2), value: 2 }));
        }
        story
    }

    /// Part (d): server 5, whose last entry is of term 3, wins term 5.
    fn elect_server_5(&mut self) {
        self.take(&Action::Restart(ServerId(1)));
        self.elect(5, 5, &[2, 3, 4, 5]);
    }
}

#[test]
fn figure_8_commits_nothing_of_an_older_term() {
    let mut story = Figure8::until_c();
    story.take(&Action::AdvanceCommitIndex(ServerId(1)));
    assert_eq!(server(&mut story.model, ServerId(1)).commit_index, LogIndex::ZERO);
    story.elect_server_5();
    assert_eq!(invariant::check_state(&story.model), Ok(()));
}

#[test]
fn figure_8_e_an_entry_of_its_own_term_commits_the_older_one_too() {
    let mut story = Figure8::until_c();
    let s1 = ServerId(1);
    story.take(&Action::ClientRequest(s1, 4));
    story.replicate(1, 2, 1);
    story.replicate(1, 3, 1);
    story.take(&Action::AdvanceCommitIndex(s1));
    assert_eq!(server(&mut story.model, s1).commit_index, LogIndex(2));
    // Server 5 cannot win any more: two of the three that it needs know better.
    story.take(&Action::Restart(s1));
    let s5 = ServerId(5);
    story.take(&Action::Timeout(s5));
    story.take(&Action::Timeout(s5));
    for voter in [2, 3, 4, 5] {
        story.take(&Action::RequestVote(s5, ServerId(voter)));
    }
    story.deliver_all();
    let votes = server(&mut story.model, s5).votes_granted.to_string();
    assert_eq!(votes, "{s4, s5}");
}
