//! Removes what the form of a text adds: escapes of JSON within JSON, line breaks, the middle of long texts.

const HEAD_BYTES: usize = 4 << 10;
const TAIL_BYTES: usize = 1 << 10;

/// The text without escapes, with single spaces, followed by the error type. Letter case stays.
pub(super) fn normalize(text: &str, error_type: &str) -> String {
    let mut plain =
        String::with_capacity(text.len().min(HEAD_BYTES + TAIL_BYTES) + error_type.len() + 1);
    if text.len() <= HEAD_BYTES + TAIL_BYTES {
        unescape(text, &mut plain);
    } else {
        unescape(&text[..text.floor_char_boundary(HEAD_BYTES)], &mut plain);
        plain.push(' ');
        unescape(&text[text.ceil_char_boundary(text.len() - TAIL_BYTES)..], &mut plain);
    }
    if !error_type.is_empty() {
        plain.push(' ');
        unescape(&error_type[..error_type.floor_char_boundary(256)], &mut plain);
    }
    plain
}

fn unescape(text: &str, plain: &mut String) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = *byte == b'\\';
        let space = byte.is_ascii_whitespace();
        let single =
            *byte == b' ' && bytes.get(at + 1).is_none_or(|next| *next > b' ' && *next != b'\\');
        if !escaped && (!space || (single && at > copied)) {
            at += 1;
            continue;
        }
        plain.push_str(&text[copied..at]);
        let same = |next: &&u8| if escaped { **next == b'\\' } else { next.is_ascii_whitespace() };
        at += bytes[at..].iter().take_while(same).count();
        match bytes.get(at) {
            _ if space => push_space(plain),
            Some(b'n' | b'r' | b't') => {
                push_space(plain);
                at += 1;
            }
            Some(b'u') => {
                if let Some(character) = code_point(&text[at + 1..]) {
                    plain.push(character);
                    at += 5;
                }
            }
            _ => {}
        }
        copied = at;
    }
    plain.push_str(&text[copied..]);
}

fn push_space(plain: &mut String) {
    if !plain.ends_with(' ') {
        plain.push(' ');
    }
}

/// The character of the four hexadecimal digits at the start of the text.
fn code_point(text: &str) -> Option<char> {
    char::from_u32(u32::from_str_radix(text.get(..4)?, 16).ok()?)
}
