//! State machines whose state is on disk: what of it is there after a crash, and what their nodes do with that.

mod crash;
mod kept;
mod start;
