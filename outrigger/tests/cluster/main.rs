//! Nodes in one process: writes, reads, failures and ends, as a program sees them.
//!
//! Every wait is for a condition: an answer, or metrics that say that it holds.

mod counter;
mod divergence;
mod durable;
mod failing;
mod forms;
mod frail;
mod gate;
mod leadership;
mod members;
mod reads;
mod refused;
mod serving;
mod sessions;
mod snapshots;
mod stopping;
mod upgrade;
mod versions;
