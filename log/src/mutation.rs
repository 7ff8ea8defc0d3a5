//! Mutants: named faults, sown into a build of its own, to see that the simulator finds each of them.
//!
//! ```text
//!   rustc                            mutate!(..)  is nothing at all
//!   rustc --cfg outrigger_mutants    mutate!(..)  is the named fault, while its name is the chosen one
//! ```
//!
//! As `mutation.rs` of the engine, which tells how to read a site. The log is a leaf, so that it has a choice of its own.

/// Nothing: the code is as it reads.
#[cfg(not(outrigger_mutants))]
macro_rules! mutate {
    ($($site:tt)*) => {};
}

/// The named fault, if it is the chosen one.
#[cfg(outrigger_mutants)]
macro_rules! mutate {
    ($name:ident, $value:ident = $other:expr) => {
        let $value =
            if crate::is_mutant(const { crate::mutant_id(stringify!($name)) }) { $other } else { $value };
    };
    ($name:ident if $condition:expr, $($statement:tt)+) => {
        if crate::is_mutant(const { crate::mutant_id(stringify!($name)) }) && $condition {
            $($statement)+;
        }
    };
    ($name:ident, $($statement:tt)+) => {
        mutate!($name if true, $($statement)+)
    };
}

#[cfg(outrigger_mutants)]
pub use self::chosen::{choose_mutant, is_mutant, mutant_id};

#[cfg(outrigger_mutants)]
mod chosen {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The number of the chosen mutant; 0 while there is none.
    static CHOSEN: AtomicU64 = AtomicU64::new(0);

    /// From now on the whole process is this mutant; the empty name is none.
    pub fn choose_mutant(name: &str) {
        let id = if name.is_empty() { 0 } else { mutant_id(name) };
        CHOSEN.store(id, Ordering::Relaxed);
    }

    /// Whether the process is the mutant with this number.
    pub fn is_mutant(id: u64) -> bool {
        CHOSEN.load(Ordering::Relaxed) == id
    }

    /// The number of a mutant: the FNV-1a hash of its name, so that a site costs one comparison of words.
    pub const fn mutant_id(name: &str) -> u64 {
        let (bytes, mut at, mut hash) = (name.as_bytes(), 0, 0xcbf2_9ce4_8422_2325_u64);
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        hash
    }
}
