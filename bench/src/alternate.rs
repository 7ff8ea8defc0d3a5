//! The method: contestants in turns, and what their samples say.
//!
//! ```text
//!   round     1     2     3   ...   9
//!   A        a1    a2    a3        a9        median of a
//!   B           b1    b2    b3        b9     median of b
//!   B / A    r1    r2    r3        r9        median, quartiles and range of r
//! ```
//!
//! Noise that lasts longer than a sample (another tenant, a warm processor) hits both samples of a round
//! and leaves their quotient alone; noise that is shorter makes single quotients wrong, which quartiles
//! over the rounds shrug off. A goal is met when the **lower quartile** of the ratio meets it.

/// One side of a comparison.
pub(crate) struct Contestant<'a, E> {
    /// What progress and tables call it.
    pub(crate) name: &'static str,
    /// Takes one sample: a rate a second, above zero.
    pub(crate) sample: Box<dyn FnMut() -> Result<f64, E> + 'a>,
}

/// Takes `rounds` samples of each contestant, in turns; `progress` hears of every one.
///
/// Answers the rates of each contestant, in the order of the rounds.
///
/// # Errors
/// The first sample that fails ends the comparison with its error.
pub(crate) fn alternate<E>(
    contestants: &mut [Contestant<'_, E>],
    rounds: usize,
    mut progress: impl FnMut(usize, &'static str, f64),
) -> Result<Vec<Vec<f64>>, E> {
    assert!(rounds > 0, "a comparison needs at least one round");
    let mut rates = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 1..=rounds {
        for (contestant, rates) in contestants.iter_mut().zip(&mut rates) {
            let rate = (contestant.sample)()?;
            assert!(rate.is_finite() && rate > 0.0, "{} measured an impossible rate of {rate}/s", contestant.name);
            progress(round, contestant.name, rate);
            rates.push(rate);
        }
    }
    Ok(rates)
}

/// Where the values of several rounds lie. Always `min <= lower <= median <= upper <= max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The least value.
    pub(crate) min: f64,
    /// The lower quartile: a quarter of the values lies at or below it.
    pub(crate) lower: f64,
    /// The middle value, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The upper quartile.
    pub(crate) upper: f64,
    /// The greatest value.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`, in any order; `None` of none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let spread = Self {
            min: quantile(&sorted, 0, 4)?,
            lower: quantile(&sorted, 1, 4)?,
            median: quantile(&sorted, 2, 4)?,
            upper: quantile(&sorted, 3, 4)?,
            max: quantile(&sorted, 4, 4)?,
        };
        assert!(spread.lower <= spread.median && spread.median <= spread.upper, "quartiles out of order: {spread:?}");
        Some(spread)
    }

    /// The spread of the quotients `of[n] / to[n]`: one per round, from samples that were taken one after the other.
    pub(crate) fn of_ratios(of: &[f64], to: &[f64]) -> Option<Self> {
        assert_eq!(of.len(), to.len(), "rounds must be complete before they are compared");
        let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        Self::of(&ratios)
    }
}

/// What [`figures`] are called, behind the names of the two.
pub(crate) const RATIOS: [&str; 4] = ["ratio", "ratio_q1", "ratio_min", "ratio_max"];

/// Of two contestants' rates: the medians, and what the other makes of the one's, as far as both were measured.
pub(crate) fn figures(one: Option<&[f64]>, other: Option<&[f64]>) -> [Option<f64>; 6] {
    let median = |rates: Option<&[f64]>| rates.and_then(Spread::of).map(|spread| spread.median.round());
    let ratio = one.zip(other).and_then(|(one, other)| Spread::of_ratios(other, one));
    let of_ratio = |part: fn(Spread) -> f64| ratio.map(part);
    [
        median(one),
        median(other),
        of_ratio(|it| it.median),
        of_ratio(|it| it.lower),
        of_ratio(|it| it.min),
        of_ratio(|it| it.max),
    ]
}

/// The value that `part / parts` of the sorted values lie below, linear between neighbours; the first and
/// the last value for the parts at the ends.
fn quantile(sorted: &[f64], part: usize, parts: usize) -> Option<f64> {
    assert!(part <= parts && parts > 0, "quantile {part} of {parts} does not exist");
    let steps = sorted.len().checked_sub(1)? * part;
    let below = *sorted.get(steps / parts)?;
    let above = sorted.get(steps / parts + 1).copied().unwrap_or(below);
    #[expect(clippy::cast_precision_loss, reason = "a remainder below four is exact in a double")]
    let share = (steps % parts) as f64 / parts as f64;
    Some(below + (above - below) * share)
}

#[cfg(test)]
mod tests {
    use super::{Contestant, Spread, alternate};
    use std::cell::RefCell;

    #[test]
    fn contestants_take_turns() {
        let order = RefCell::new(String::new());
        let contestant = |name: &'static str, rate: f64| Contestant::<String> {
            name,
            sample: Box::new({
                let order = &order;
                move || {
                    order.borrow_mut().push_str(name);
                    Ok(rate)
                }
            }),
        };
        let mut seen = Vec::new();
        let rates = alternate(&mut [contestant("A", 2.0), contestant("B", 3.0)], 3, |round, name, rate| {
            seen.push((round, name, rate));
        });
        assert_eq!(rates, Ok(vec![vec![2.0; 3], vec![3.0; 3]]));
        assert_eq!(*order.borrow(), "ABABAB");
        assert_eq!(seen.first(), Some(&(1, "A", 2.0)));
        assert_eq!(seen.last(), Some(&(3, "B", 3.0)));
    }

    #[test]
    fn a_failed_sample_ends_the_comparison() {
        let mut left = 2;
        let sample = || {
            left -= 1;
            if left == 0 { Err("disk full") } else { Ok(1.0) }
        };
        let failing = Contestant { name: "A", sample: Box::new(sample) };
        assert_eq!(alternate(&mut [failing], 9, |_, _, _| {}), Err("disk full"));
        assert_eq!(left, 0, "no sample may follow a failed one");
    }

    #[test]
    fn quartiles_of_nine_are_the_third_fifth_and_seventh() {
        let values = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
        let expected = Spread { min: 1.0, lower: 3.0, median: 5.0, upper: 7.0, max: 9.0 };
        assert_eq!(Spread::of(&values), Some(expected));
    }

    #[test]
    fn quartiles_lie_between_neighbours_when_no_value_stands_there() {
        let expected = Spread { min: 1.0, lower: 1.75, median: 2.5, upper: 3.25, max: 4.0 };
        assert_eq!(Spread::of(&[4.0, 3.0, 2.0, 1.0]), Some(expected));
    }

    #[test]
    fn one_value_is_its_own_spread_and_none_has_no_spread() {
        let expected = Spread { min: 6.0, lower: 6.0, median: 6.0, upper: 6.0, max: 6.0 };
        assert_eq!(Spread::of(&[6.0]), Some(expected));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_ratio_pairs_the_samples_of_one_round() {
        // Both slow down by half in the second round: their quotient does not move, the quotient of medians would.
        let spread = Spread::of_ratios(&[200.0, 100.0, 220.0], &[100.0, 50.0, 110.0]);
        let expected = Spread { min: 2.0, lower: 2.0, median: 2.0, upper: 2.0, max: 2.0 };
        assert_eq!(spread, Some(expected));
    }
}
