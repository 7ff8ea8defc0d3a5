//! Arguments that several subcommands read alike.

use std::time::Duration;

/// Reads the length of a sample in seconds, such as `0.5`.
///
/// # Errors
/// A sentence for the user when the text is no number, or not from 0.01 to 3600.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let refusal = || format!("`{text}` is no length of a sample; give seconds from 0.01 to 3600, such as 0.5");
    let seconds: f64 = text.parse().map_err(|_| refusal())?;
    if (0.01..=3_600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(refusal()) }
}

#[cfg(test)]
mod tests {
    use super::seconds;
    use std::time::Duration;

    #[test]
    fn lengths_are_read_and_nonsense_is_refused() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for nonsense in ["", "half", "0", "-1", "NaN", "inf", "3601"] {
            let refusal = seconds(nonsense).unwrap_err();
            assert!(refusal.contains("such as 0.5"), "{refusal}");
        }
    }
}
