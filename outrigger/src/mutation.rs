//! Mutants: named faults, sown into a build of its own, to see that the simulator finds each of them.
//!
//! ```text
//!   rustc                            mutate!(..)  is nothing at all
//!   rustc --cfg outrigger_mutants    mutate!(..)  is the named fault, while its name is the chosen one
//! ```
//!
//! As `mutation.rs` of the engine, which tells how to read a site, and whose choice holds here too.

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
            if outrigger_engine::is_mutant(const { outrigger_engine::mutant_id(stringify!($name)) }) { $other } else { $value };
    };
    ($name:ident if $condition:expr, $($statement:tt)+) => {
        if outrigger_engine::is_mutant(const { outrigger_engine::mutant_id(stringify!($name)) }) && $condition {
            $($statement)+;
        }
    };
    ($name:ident, $($statement:tt)+) => {
        mutate!($name if true, $($statement)+)
    };
}
