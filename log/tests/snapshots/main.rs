//! What the files of snapshots promise, on a disk that forgets, tears, fills up, rots and fails.
//!
//! ```text
//!   promises   building, receiving, reading and replacing, as long as nothing fails
//! ```

mod promises;
mod scene;
