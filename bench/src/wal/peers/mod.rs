//! Published logs beside ours, each used as its documentation shows and without what the others lack:
//! no compression, no wait for company before a sync. Each brings its own group commit.

pub(super) mod engine;
pub(super) mod raft_log;
