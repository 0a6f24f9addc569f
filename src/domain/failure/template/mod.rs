//! The template of an error text: what stays the same where ids, numbers, keys, names and times differ. It groups
//! failures that no rule classifies.
//!
//! A template depends on the text alone, so that each server finds the same id, after each restart. `find_message`
//! finds the message within a body, `Masker` replaces what varies. A template never has a secret: words are
//! masked unless they look like words of a language or names within a program.

use sha2::{Digest, Sha256};

mod mask;
mod message;
mod words;

use mask::{Hyphens, clean, mask};
use message::find_message;

/// The version of the rules below, part of each id. A change that gives any text another id needs a new version.
pub const VERSION: u8 = 1;

/// What of a text is read.
const HEAD_BYTES: usize = 4 << 10;
const MAX_CHARS: usize = 200;
const MASK: &str = "<*>";
/// Bodies within messages of bodies.
const MAX_NESTING: usize = 4;
/// Pieces of a sentence that is repeated for each item of a list.
const MAX_ITEM: usize = 24;

/// The form of an error text: what stays the same where ids, numbers, keys, names and times differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The version and a digest of the text: `t1-0f3a9c2e41b7d8a6`.
    pub id: String,
    /// At most 200 characters, with `<*>` for what varies.
    pub text: String,
}

/// The template of a message; without one, of the error type. `key` is the API key of the call, which is
/// masked at each place. Pure; its cost does not grow with the text, of which the first 4 KiB are read.
pub fn template(message: Option<&str>, error_type: Option<&str>, key: Option<&str>) -> Template {
    let key = clean(head(key.unwrap_or_default()).text);
    let (message, names) = find_message(head(message.unwrap_or_default()));
    let plain = clean(names.as_deref().unwrap_or(message.text));
    let plain = without_status(unquoted(&plain));
    let mut text = mask(plain, message.cut, &key, Hyphens::InNames);
    if text.is_empty() {
        let error_type = head(error_type.unwrap_or_default());
        text = mask(&clean(error_type.text), error_type.cut, &key, Hyphens::BetweenWords);
    }
    let digest = Sha256::digest(&text);
    Template { id: format!("t{VERSION}-{}", hex::encode(&digest[..8])), text }
}

/// A part of a text, and whether its end is missing.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    cut: bool,
}

fn head(text: &str) -> Part<'_> {
    Part { text: &text[..text.floor_char_boundary(HEAD_BYTES)], cut: text.len() > HEAD_BYTES }
}

/// The text without the quotes around all of it.
fn unquoted(text: &str) -> &str {
    for quote in ['"', '\'', '`'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote))
            && !inner.contains(quote)
        {
            return inner;
        }
    }
    text
}

/// The text without the status code that clients write in front of it: "429 Too many requests".
fn without_status(text: &str) -> &str {
    match text.as_bytes() {
        [b'1'..=b'5', second, third, b' ' | b':', ..]
            if second.is_ascii_digit() && third.is_ascii_digit() =>
        {
            text[4..].trim_start()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str) -> String {
        template(Some(message), None, None).text
    }

    fn same(messages: &[&str], expected: &str) {
        for message in messages {
            assert_eq!(text(message), expected, "{message}");
        }
    }

    /// These ids are stored and compared across servers and releases: a change of one needs a new `VERSION`.
    #[test]
    fn ids_are_stable() {
        let ids = [
            ("", "t1-e3b0c44298fc1c14"),
            ("The model is overloaded. Please try again later.", "t1-d4ab1096acec6dd5"),
            (
                r#"{"error":{"code":429,"message":"Limit: 20, retry in 7.5s"}}"#,
                "t1-6c280d14e45a7659",
            ),
            ("当前分组 default 下对于模型 gpt-4o 无可用渠道", "t1-c997f4d61a06579c"),
            ("<html><title>502 Bad Gateway</title></html>", "t1-8bc36331ef8b0fc6"),
            ("API key sk-abcdefghij of billing@example.com is 'unknown'", "t1-3eee411a32ae8f53"),
        ];
        let found = ids.map(|(message, _)| (message, template(Some(message), None, None).id));
        assert_eq!(found, ids.map(|(message, id)| (message, id.to_owned())));
    }

    #[test]
    fn what_varies_is_masked() {
        same(
            &[
                "Rate limit reached for gpt-4 in organization org-FAKEuVqpjtJiKq on tokens per min: Limit 10000, Used 8554. Please try again in 9.816s.",
                "Rate limit reached for deepseek-chat in organization org-qqq on tokens per min: Limit 7, Used ~7. Please try again in 6ms.",
                "Rate limit reached for claude-opus in organization acme_corp on tokens per min: Limit 1,000, Used 12. Please try again in 2 minutes.",
            ],
            "Rate limit reached for <*> in organization <*> on tokens per min: Limit <*>, Used <*>. Please try again in <*>",
        );
        same(
            &[
                "You will regain access on 2026-04-01 at 00:00 UTC.",
                "You will regain access on Mon, 2 Mar 2026 at 9 AM",
            ],
            "You will regain access on <*> at <*>",
        )
    }

    #[test]
    fn lists_of_any_length_have_one_template() {
        same(
            &[
                "size must be one of '1x1', '2x2' or '4x4'.",
                "size must be one of \"a\".",
                "size must be one of `a`, `b`, `c`, and `d`",
                "size must be one of 1, 2, 3 and 4.",
            ],
            "size must be one of <*>",
        );
        let item = |n: usize| {
            format!("* Quota exceeded for metric: a.b/c{n}, limit: {n}, model: gemini-pro\n")
        };
        let list = |n: usize| (0..n).map(item).collect::<String>() + "Please retry in 3s.";
        let one = text(&list(1));
        assert_eq!(
            one,
            "Quota exceeded for metric: <*>, limit: <*>, model: <*> Please retry in <*>"
        );
        for count in [2, 3, 7, 30] {
            assert_eq!(text(&list(count)), one);
        }
    }

    #[test]
    fn the_message_is_found_in_all_forms() {
        same(
            &[
                "The model is overloaded. Try later.",
                "503 The model is overloaded. Try later.",
                "\"The model is overloaded. Try later.\"",
                r#"{"error":{"code":503,"message":"The model is overloaded. Try later.","status":"UNAVAILABLE"}}"#,
                "[{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded. Try later.\"\n  }\n}]\n",
                r#"{"error":{"details":[{"@type":"x","message":"another"}],"message":"The model is overloaded. Try later."}}"#,
                "Error code: 503 - {'error': {'code': 503, 'message': 'The model is overloaded. Try later.', 'param': None}}",
                r#"503 UNAVAILABLE. {"error":{"message":"The model is overloaded. Try later.","details":[{"a":"b"#,
                r#"{"detail":"The model is overloaded. Try later."}"#,
                r#"{"errors":["The model is overloaded. Try later.", "another"]}"#,
                r#"{"code":503,"msg":"The model is overloaded. Try later.","data":null}"#,
                r#"{"error":"The model is overloaded. Try later.","request":{"message":"a prompt of a user"}}"#,
                r#"{"error":{"message":"{\"type\":\"error\",\"error\":{\"type\":\"overloaded\",\"message\":\"The model is overloaded. Try later.\"},\"id\":\"req_1\"}. Received Model Group=x","code":"503"}}"#,
                r#"{"error":"upstream: {\"error\":{\"message\":\"{\\\"message\\\":\\\"The model is overloaded. Try later.\\\"}\"}}"}"#,
                r#"{\"error\": {\"message\": \"The model is overloaded. Try later.\"}}"#,
                "b'{\"error\": {\"message\": \"The model is overloaded. Try later.\"}}'",
                "<html>\n<head><TITLE>The model is overloaded. Try later.</TITLE></head>",
                "<!DOCTYPE html><html><body><h1 class=x>The model is overloaded. Try later.</h1>{\"message\":\"no title\"}",
            ],
            "The model is overloaded. Try later",
        );
        same(
            &[
                r#"{"error":{"message":"Consumer 'api_key:a' is \"suspended\" now"}}"#,
                r#"{"error":{"message":"{\"message\":\"Consumer 'x' is \\\"gone\\\" now\"}"}}"#,
                "{'error': {'message': \"Consumer 'api_key:a' is `x` now\"}}",
            ],
            "Consumer <*> is <*> now",
        );
    }

    #[test]
    fn forms_of_clients_are_read() {
        let unknown =
            |at: &str| format!("Unknown name \"$schema\" at 'tools{at}': Cannot find field.");
        let nested =
            serde_json::json!({ "error": { "code": 400, "message": unknown("[0].b[1]") } });
        let twice = serde_json::json!({ "error": { "message": format!("Error from provider: {nested:#}") } });
        let list = [unknown("[0]"), unknown("[1]"), unknown("[2].x")].join("\n");
        same(
            &[
                &format!("error during streamGenerateContent, status code: 400, body: {nested:#}"),
                &format!("API Error: 400 {twice}"),
                // A gateway that wrote a message into a body without escapes.
                &format!(
                    "API Error: 400 {{\"error\":{{\"message\":\"{}\"}}}}",
                    list.replace('\n', "\\n")
                ),
            ],
            "Unknown name <*> at <*>: Cannot find field",
        );
        same(
            &["[API Error: 400 the id: a1 is unknown]", "[API Error: 400 the id: b2 is unknown]"],
            "[API Error: <*> the id: <*> is unknown]",
        );
        same(
            &["429 <400> Internal.Algo: The model: unexpected EOF"],
            "<*> Internal.Algo: The model: unexpected EOF",
        );
    }

    #[test]
    fn bodies_without_a_message_have_a_template() {
        assert_eq!(
            text(r#"{"error":{"code":"context_length_exceeded"}}"#),
            "context_length_exceeded"
        );
        assert_eq!(
            text(r#"{"promptFeedback":{"blockReason":"SAFETY"},"usage":{"n":1}}"#),
            "SAFETY"
        );
        assert_eq!(
            text(r#"{"usage":{"total":12},"choices":[],"id":"x"}"#),
            "choices id total usage"
        );
        assert_eq!(text(r#"{"error":{"message":"","code":"overloaded"}}"#), "overloaded");
    }

    #[test]
    fn the_error_type_is_the_template_of_no_text() {
        let of =
            |message: Option<&str>, error_type: Option<&str>| template(message, error_type, None);
        assert_eq!(of(None, Some("gemini-chat-non-stream")).text, "gemini-chat-non-stream");
        assert_eq!(of(Some(" \n"), Some("ConnectTimeout")).text, "ConnectTimeout");
        assert_eq!(of(Some("..."), Some("key-of-sk-proj-abc9")).text, "<*>");
        assert_eq!(
            of(None, None),
            Template { id: "t1-e3b0c44298fc1c14".into(), text: String::new() }
        );
    }

    #[test]
    fn different_messages_have_different_templates() {
        let messages = [
            "Invalid API key",
            "Invalid API key provided: sk-1234abcd",
            "The model is overloaded.",
            "This model is currently experiencing high demand.",
            "Rate limit reached on tokens per min: Limit 5",
            "Rate limit reached on requests per day: Limit 5",
            "您的账户已欠费，请充值后重试。",
            "余额不足或无可用资源包,请充值。",
            r#"{"error":{"message":"Internal server error"}}"#,
            r#"{"error":{"message":"Internal error encountered."}}"#,
        ];
        let mut ids = messages.map(|message| template(Some(message), None, None).id);
        ids.sort_unstable();
        assert!(ids.windows(2).all(|two| two[0] != two[1]), "{ids:?}");
    }

    #[test]
    fn text_of_many_bytes() {
        same(
            &[
                "当前分组 default 下对于模型 gpt-4o-mini 无可用渠道 (request id: 202510161555137244439317690388)",
                "当前分组 vip 下对于模型 codex 无可用渠道 (request id: 2025FAKE)",
            ],
            "当前分组 <*> 下对于模型 <*> 无可用渠道 (request id: <*>)",
        );
        same(&["请在 30 秒后重试", "请在 5 分钟后重试", "请在 ２ 小时后重试"], "请在 <*>后重试");
        assert_eq!(text(r#"{"message":"\u6a21\u578b\u4e0d\u5b58\u5728"}"#), "模型不存在");
        assert_eq!(text("Превышен лимит запросов: 20"), "Превышен лимит запросов: <*>");
        assert_eq!(text("मॉडल नहीं मिला: 20"), "मॉडल नहीं मिला: <*>");
        let long = text(&"模型不存在".repeat(900));
        assert_eq!(long.chars().count(), MAX_CHARS);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn long_texts_are_cut_at_a_word() {
        let words = "word ".repeat(200_000);
        let found = text(&words);
        assert!(found.chars().count() <= MAX_CHARS && found.ends_with("word…"), "{found}");
        assert_eq!(text(&"a".repeat(1 << 20)), "<*>");
        assert_eq!(text(&format!("{}secret", "9".repeat(HEAD_BYTES - 3))), "<*>");
        let brackets = [
            "[",
            "{",
            "(",
            "<",
            "'",
            "\"",
            "\\\"",
            " '",
            "[:",
            "* ",
            "a: ",
            "{\"a\":",
            "x, 1 and ",
        ];
        for open in brackets {
            let found = text(&open.repeat((1 << 20) / open.len()));
            assert!(found.chars().count() <= MAX_CHARS, "{open}: {found}");
        }
    }

    #[test]
    fn the_last_word_of_a_cut_message_is_masked() {
        assert_eq!(text(r#"{"error":{"message":"The key abcdefgh is ab"#), "The key <*> is <*>");
        assert_eq!(text(r#"{"error":"{\"message\":\"The account hunt"}"#), "The account <*>");
    }

    const HOSTILE: &[(&str, &[&str])] = &[
        ("Incorrect API key provided: sk-VKMIs****wjhq. Find it", &["VKMI", "wjh"]),
        ("Invalid key AIzaSyabcdefghijklmnop", &["AIza", "abcdef"]),
        ("Invalid key AIza...mnop", &["AIza", "mnop"]),
        ("Invalid key abcd…mnop, abcd•••mnop or abcdxxxxmnop", &["abcd", "mnop"]),
        ("Invalid key: abcd ... mnop", &["abcd", "mnop"]),
        ("The key ending in vcnz or starting with abcd", &["vcnz", "abcd"]),
        ("Authorization: Bearer abcdefgh, not accepted", &["abcdefgh"]),
        ("header 'Authorization: Bearer abcdefgh' not accepted", &["abcdefgh"]),
        ("Authorization: Basic dXNlcjpwYXNz", &["dXNl"]),
        ("password: correct horse battery staple. Try", &["correct", "horse", "battery", "staple"]),
        ("password=hunter&user=alice", &["hunter", "alice"]),
        ("secret: 'correct horse'", &["horse"]),
        (
            "https://alice:hunter@example.com/a,secretpath?key=abcdef failed",
            &["alice", "hunter", "secretpath", "abcdef"],
        ),
        ("see (https://example.com/?token=abcdef) now", &["abcdef", "example"]),
        ("user alice@example.com is unknown", &["alice", "example"]),
        ("host my-company.openai.azure.com is down", &["company"]),
        ("/home/alice/.keys not found", &["alice"]),
        (r"C:\Users\alice\keys not found", &["alice"]),
        (
            "Invalid value “correct horse”, «battery», 「staple」, ‘wrong’",
            &["horse", "battery", "staple", "wrong"],
        ),
        ("Invalid prompt: \"Dear doctor, it hurts", &["doctor", "hurts"]),
        ("Invalid body {\"prompt\": \"Dear doctor\"} sent", &["doctor"]),
        ("Invalid body {prompt: Dear doctor} sent", &["doctor"]),
        ("Invalid arguments [prompt: Dear doctor, [a] b] sent", &["doctor"]),
        ("[{\"prompt\": \"Dear doctor\"}] sent", &["doctor"]),
        ("token eyJhbGciOiJub.eyJzdWIi.abc- expired", &["eyJ", "abc"]),
        ("blob YWxpY2VodW50ZXI= is bad", &["YWxp"]),
        ("blob QWxhZGRpbjpvcGVuIHNlc2FtZQ+/a is bad", &["QWxh"]),
        ("digest deadbeefcafe is bad", &["deadbeef"]),
        ("id 550e8400-e29b-41d4-a716-446655440000", &["550e", "e29b", "a716"]),
        ("key qWeRtYuIoP and QWERTYUIOPASDFGHJKLZXCVBN", &["qWe", "QWE"]),
        ("key xkcdqwrtplmnbvc is bad", &["xkcd"]),
        ("key k\u{200b}e\u{202e}y9\u{feff}x is bad", &["y9", "\u{200b}", "\u{202e}", "\u{feff}"]),
        ("key A I z a S y is bad", &["z a", "S", "y is"]),
        ("key ＡＩｚａＳｙ is bad", &["ＡＩ", "ｚ"]),
        ("key 𝐀𝐈𝐳𝐚 is bad", &["𝐀"]),
        ("key ⅠⅡⅢ ①② ４２ ٤٢ is bad", &["Ⅰ", "①", "４", "٤"]),
        ("密钥：abcdefgh无效", &["abcdefgh"]),
        ("密钥abcdefgh无效", &["abcdefgh"]),
        ("\u{1b}[31mred\u{7}\u{0}\u{9b}", &["\u{1b}", "\u{7}", "\u{0}", "\u{9b}"]),
        (r#"{"message":"a \u202ekey\u0000 b"}"#, &["\u{202e}", "\u{0}"]),
        (r#"{"sk-abcdefgh":{"x":"y"}}"#, &["abcdefgh"]),
        (r#"{"error":{"type":"sk-abcdefgh"}}"#, &["abcdefgh"]),
        ("<title>sk-abcdefgh | Error</title>", &["abcdefgh"]),
        ("&#65;&#73;za and %41%49za", &["za"]),
        ("org-abcdef of proj_abcdef with req_abcdef", &["abcdef"]),
        ("project my-secret-project, region eu-north", &["secret", "north"]),
        ("The key abcdefgh is wrong, the API Key mnopqrst too", &["abcdef", "mnop"]),
        ("invalid token correcthorse", &["horse"]),
        ("密码：correct horse battery。", &["correct", "horse", "battery"]),
        ("models/secret is gone", &["secret"]),
    ];

    #[test]
    fn no_secret_remains() {
        let mut leaks = Vec::new();
        for (message, secrets) in HOSTILE {
            let found = text(message);
            leaks.extend(
                secrets
                    .iter()
                    .filter(|secret| found.contains(**secret))
                    .map(|secret| (secret, found.clone())),
            );
        }
        assert!(leaks.is_empty(), "{leaks:#?}");
    }

    #[test]
    fn the_key_is_masked_in_any_form() {
        let key = "correcthorsebatterystaple";
        for message in [
            "Key correcthorsebatterystaple is invalid",
            "Key CORRECTHORSEBATTERYSTAPLE is invalid",
            "Key correct is invalid",
            "Key staple is invalid",
            "Key horsebattery is invalid",
            "Key (correcthorsebatterystaple) is invalid",
            "Key correct\u{200b}horsebatterystaple is invalid",
            r"Key correcthorse\u0062atterystaple is invalid",
            "Key xcorrecthorsebatterystaplex is invalid",
            "Key correct/staple is invalid",
        ] {
            let found = template(Some(message), None, Some(key)).text;
            assert!(found.starts_with("Key ") && found.contains("<*>"), "{found}");
            for word in ["correct", "horse", "battery", "staple", "CORRECT"] {
                assert!(!found.contains(word), "{message}: {found}");
            }
        }
        let of = |key| template(Some("my dear key, is invalid"), None, Some(key)).text;
        assert_eq!(of("my dear key"), "<*>, is invalid");
        assert_eq!(of("my"), "<*> dear key, is invalid");
        assert_eq!(of(""), "my dear key, is invalid");
        let named = template(None, Some("correcthorsebatterystaple-stream"), Some(key)).text;
        assert_eq!(named, "<*>");
    }

    /// Numbers of a linear congruential generator: the same in each run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }

        fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
            from[self.below(from.len())]
        }

        fn noise(&mut self, letters: &[u8], length: usize) -> String {
            (0..length).map(|_| char::from(letters[self.below(letters.len())])).collect()
        }
    }

    const PARTS: &[&str] = &[
        "the model",
        "is overloaded",
        "limit",
        " ",
        ", ",
        ": ",
        "=",
        "'",
        "\"",
        "`",
        "“",
        "”",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        "<*>",
        "*",
        "...",
        "…",
        "\\",
        "\\\"",
        "\\n",
        "\n",
        "\u{202e}",
        "12",
        "3.5s",
        "Mon",
        "May",
        "and",
        "or",
        "和",
        "模型",
        "无可用渠道",
        "。",
        "：",
        "秒",
        "https://a.b/c",
        "sk-abc",
        "key",
        "password",
        "Bearer",
        "message",
        "\"message\": \"",
        "{\"error\":",
        "<title>",
        "</title>",
        "<html>",
        "é",
        "😀",
        "/",
        "-",
        "_",
        "a@b.c",
        "doesn't",
        "Error",
        "gpt-4",
        "429 ",
        "ends with",
        "C",
    ];

    #[test]
    fn templates_of_noise_are_short_plain_and_free_of_keys() {
        let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_";
        let mut dice = Dice(7);
        for _ in 0..5_000 {
            let length = 20 + dice.below(30);
            let key = dice.noise(base64, length);
            let mut message: String = (0..dice.below(24)).map(|_| dice.pick(PARTS)).collect();
            message.push_str(dice.pick(&[" ", "\"", "'", "：", "=", "(", "…", ""]));
            message.push_str(&key);
            message.push_str(dice.pick(&[" ", "\"", "'", "。", "&", ")", ".", ""]));
            message.extend((0..dice.below(12)).map(|_| dice.pick(PARTS)));
            // Six characters of a key: with the key unknown, then with the key.
            let parts = |text: &str| {
                key.as_bytes().windows(6).any(|part| text.contains(&*String::from_utf8_lossy(part)))
            };
            for known in [None, Some(&*key)] {
                let found = template(Some(&message), Some(&message), known);
                assert!(!parts(&found.text), "{message:?} {key} {found:?}");
                assert!(found.text.chars().count() <= MAX_CHARS, "{message:?}");
                assert!(!found.text.chars().any(mask::invisible), "{message:?}");
                assert!(
                    !found.text.contains("  ") && !found.text.starts_with(' '),
                    "{message:?} {found:?}"
                );
                assert_eq!(found, template(Some(&message), Some(&message), known));
            }
        }
    }

    #[test]
    fn the_template_of_a_template_is_itself() {
        for message in HOSTILE.iter().map(|(message, _)| *message).chain([
            "Rate limit reached for gpt-4 in organization org-a: Limit 10000. Please try again in 9.816s. Visit https://a.b/c.",
            "You exceeded your current quota, please check your plan and billing details.",
            "当前分组 default 下对于模型 gpt-4o-mini 无可用渠道 (request id: 20251016)",
            "[Gemini API] Error calling (Status: 500, Code: 500): Internal error encountered.",
        ]) {
            let once = text(message);
            assert_eq!(text(&once), once, "{message}");
        }
        let long = text(&"long words ".repeat(90));
        assert_eq!(text(&long), long);
    }
}
