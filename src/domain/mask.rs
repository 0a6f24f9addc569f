//! Masks API keys, and searches in them.

/// The first four and last four characters. A key of less than 16 characters shows fewer, so that at
/// least half of it is hidden.
pub fn mask(key: &str) -> String {
    let characters: Vec<char> = key.chars().collect();
    let shown = (characters.len() / 4).min(4);
    let head: String = characters[..shown].iter().collect();
    let tail: String = characters[characters.len() - shown..].iter().collect();
    format!("{head}...{tail}")
}

/// The shortest text that counts as a key. Shorter texts may be words.
const MIN_KEY: usize = 8;
/// The shortest run of letters and digits, with at least one digit, that looks like a part of a key.
const MIN_RANDOM: usize = 16;

/// Masks the keys in a text of a filter, for the audit log: the whole text if it contains one of the
/// `stored` keys, otherwise each word that looks like a key.
pub fn redact_keys(text: &str, stored: &[String]) -> String {
    let is_contained = |key: &String| key.len() >= MIN_KEY && contains_ignoring_case(text, key);
    if stored.iter().any(is_contained) {
        return mask(text);
    }
    let word = |word: &str| if looks_random(word) { mask(word) } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn looks_random(word: &str) -> bool {
    let mut runs = word.split(|character: char| !character.is_ascii_alphanumeric());
    runs.any(|run| run.len() >= MIN_RANDOM && run.bytes().any(|byte| byte.is_ascii_digit()))
}

/// Whether `text` contains `part`, ignoring case. Every character is literal.
pub fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
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
    fn keys_in_a_text_are_masked() {
        let key = "AIzaSyA-1234567890abcdefghijkl_mnopqrst";
        let redacted =
            |text: &str| redact_keys(text, &["a-stored-key".to_owned(), "quota".to_owned()]);
        assert_eq!(redacted("quota exceeded"), "quota exceeded", "too short for a key");
        assert_eq!(redacted(&format!("for {key}.")), "for AIza...rst.");
        assert_eq!(redacted(&key.to_lowercase()), "aiza...qrst");
        assert_eq!(redacted(&key[1..]), "IzaS...qrst", "a part of a key");
        assert_eq!(redacted("of A-Stored-KEY:"), "of A...KEY:");
        for model in ["gemini-2.5-flash-preview-05-20", "Qwen2.5-72B-Instruct", "permissiondenied"]
        {
            assert_eq!(redacted(model), model);
        }
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
