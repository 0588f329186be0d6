//! About how many tokens a text has, without a tokenizer.

/// Quarters of a token that a character counts.
fn quarters(character: char) -> usize {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '\t' | '\r' | '\n' => 1,
        '\0'..='\u{7F}' => 4,
        '\u{80}'..='\u{7FF}' => 2,
        _ => 4,
    }
}

/// An estimate that is high rather than low for texts of most languages, since what a model does
/// not read is lost, and what it has no room for is refused. Grows with the text.
pub fn estimated_tokens(text: &str) -> usize {
    estimated_quarters(text).div_ceil(QUARTERS)
}

/// The same in quarters of a token, which add up: those of two texts are those of one behind the
/// other.
pub fn estimated_quarters(text: &str) -> usize {
    text.chars().map(quarters).sum()
}

/// Quarters of a token.
pub const QUARTERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::estimated_tokens as tokens;

    #[test]
    fn texts_of_several_scripts_are_estimated_by_their_characters() {
        assert_eq!(tokens(""), 0);
        assert_eq!(tokens("wind"), 1);
        assert_eq!(tokens("wind, tide"), 4);
        assert_eq!(tokens("\u{432}\u{435}\u{442}\u{435}\u{440}"), 3);
        assert_eq!(tokens("\u{98a8}\u{5411}"), 2);
    }
}
