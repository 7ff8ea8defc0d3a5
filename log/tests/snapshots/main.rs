//! What the files of snapshots promise, on a disk that forgets, tears, fills up, rots and fails.
//!
//! ```text
//!   promises   building, receiving, reading and replacing, as long as nothing fails
//!   damage     rot, cut files, files of others
//!   failures   full disks, failed writes and syncs
//!   crashes    every crash of short workloads, one by one
//! ```

#[path = "../crash_enumeration/image.rs"]
mod image;
#[path = "../crash_enumeration/watched.rs"]
mod watched;

mod crashes;
mod damage;
mod failures;
mod promises;
mod saved;
mod scene;
