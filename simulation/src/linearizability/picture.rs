//! Operations drawn as intervals, for people.
//!
//! ```text
//!     1st  #0  client 1  put 1 into 'x': done   ├─┤
//!     2nd  #2  client 3  get 'x': 1                 ├─┤
//!   stuck  #3  client 3  get 'x': 2                     ├─┤
//!    left  #1  client 2  put 3 into 'x': ?        ├──────────
//! ```
//!
//! The columns are the times at which anything shown happens, not to scale.

use std::fmt;

use super::OperationId;

/// The most columns that an operation and its answer may take.
const SAYS_MAX: usize = 72;

/// What the search made of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// It has this place in the longest order, counted from 1.
    Placed(usize),
    /// It ended that order.
    Stuck,
    /// It was not needed, or not possible.
    Left,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) rank: Rank,
    pub(super) id: OperationId,
    pub(super) client: u64,
    /// What it is and how it was answered.
    pub(super) says: String,
    pub(super) called: u64,
    /// `None` if it never was.
    pub(super) returned: Option<u64>,
}

/// Some operations of a history.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) rows: Vec<Row>,
    /// How many operations come before those that are shown.
    pub(super) earlier: usize,
    /// How many operations were under way and are not shown.
    pub(super) more: usize,
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: Vec<u64> = self.rows.iter().flat_map(|row| [Some(row.called), row.returned]).flatten().collect();
        times.sort_unstable();
        times.dedup();
        let column = |time: u64| 2 * times.partition_point(|shown| *shown < time);
        let says: Vec<String> = self.rows.iter().map(|row| shorten(&row.says)).collect();
        let wide = says.iter().map(|says| says.chars().count()).max().unwrap_or(0);
        if self.earlier > 0 {
            writeln!(f, "  ... after {} more", self.earlier)?;
        }
        for (row, says) in self.rows.iter().zip(says) {
            let rank = match row.rank {
                Rank::Placed(place) => ordinal(place),
                Rank::Stuck => "stuck".to_owned(),
                Rank::Left => "left".to_owned(),
            };
            let (id, client) = (row.id.to_string(), row.client);
            write!(f, "{rank:>8}  {id:<7} client {client:<3} {says:<wide$}  {:1$}", "", column(row.called))?;
            match row.returned.map(|returned| column(returned) - column(row.called)) {
                Some(0) => writeln!(f, "│")?,
                Some(length) => writeln!(f, "├{:─<1$}┤", "", length - 1)?,
                None => writeln!(f, "├{:─<1$}", "", 2 * times.len() - column(row.called))?,
            }
        }
        if self.more > 0 {
            writeln!(f, "  ... and {} more that were under way", self.more)?;
        }
        Ok(())
    }
}

fn ordinal(place: usize) -> String {
    let suffix = match (place % 10, place % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{place}{suffix}")
}

fn shorten(says: &str) -> String {
    if says.chars().count() <= SAYS_MAX {
        return says.to_owned();
    }
    // Both ends matter: what was asked, and what was answered.
    let chars: Vec<char> = says.chars().collect();
    let half = (SAYS_MAX - 3) / 2;
    chars[..half].iter().chain(&['.'; 3]).chain(&chars[chars.len() - half..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_people_say_them() {
        let said: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102, 113].map(ordinal).into();
        assert_eq!(said, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "113th"]);
    }

    #[test]
    fn long_texts_keep_both_ends() {
        let short = shorten(&format!("Put {} = Written", "é".repeat(500)));
        assert!(short.chars().count() <= SAYS_MAX, "{short}");
        assert!(short.starts_with("Put é") && short.ends_with("é = Written"), "{short}");
    }
}
