//! How an API key is shown and searched for.

/// The first four and last four characters. Of a key shorter than 16, fewer, so that at least half
/// of it stays hidden.
pub fn mask(key: &str) -> String {
    let characters: Vec<char> = key.chars().collect();
    let shown = (characters.len() / 4).min(4);
    let head: String = characters[..shown].iter().collect();
    let tail: String = characters[characters.len() - shown..].iter().collect();
    format!("{head}...{tail}")
}

/// Whether `text` holds `needle` anywhere, letter case aside, every character literal.
pub fn contains_ignoring_case(text: &str, needle: &str) -> bool {
    text.to_lowercase().contains(&needle.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_takes_every_character_literally() {
        assert!(contains_ignoring_case("FakeSy_100%", "sy_100%"));
        assert!(contains_ignoring_case("ÉCOLE", "éc"));
        assert!(!contains_ignoring_case("FakeSyA100", "sy_100"));
    }

    #[test]
    fn at_most_half_of_a_key_is_shown() {
        assert_eq!(mask("FakeSyFAKE0104xatws8phP9nhFyJfm5di4PzJ5"), "Fake...PzJ5");
        assert_eq!(mask("12345678"), "12...78");
        assert_eq!(mask("abc"), "...");
        assert_eq!(mask(""), "...");
        assert_eq!(mask("密钥密钥密钥密钥"), "密钥...密钥");
    }
}
