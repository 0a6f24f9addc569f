//! How much there is in a JSON text, told before it is read.

/// A value takes some thirty times its bytes in memory, so that a text of brackets and commas is far
/// larger than it looks.
pub const MAX_VALUES: usize = 100_000;

/// About how many values there are in a JSON text, right for any that is well formed.
pub fn count_values(json: &[u8]) -> usize {
    let (mut in_text, mut escaped, mut values) = (false, false, 0);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' | b',' if !in_text => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_does_not_count() {
        assert_eq!(count_values(br#"{"a": [1, 2], "b": "[,{\",,"}"#), 4);
    }
}
