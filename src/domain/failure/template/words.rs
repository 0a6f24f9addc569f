//! Which words vary: ids, keys, names, noise; and lists of words.

/// Characters of scripts without spaces, and their marks. Latin letters of full width are in words.
pub(super) fn is_wide(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
        && !is_full_width(character)
}

pub(super) fn is_full_width(character: char) -> bool {
    matches!(character, '\u{ff10}'..='\u{ff19}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}')
}

/// What masked keys are written with.
pub(super) fn is_star(character: char) -> bool {
    matches!(character, '*' | '•' | '●' | '∙' | '█' | '▪' | '■' | '×' | '＊' | '⋯')
}

/// A digit of any script, a letter in disguise, or a mark that is in no word.
pub(super) fn is_special(character: char) -> bool {
    character.is_numeric()
        || is_star(character)
        || is_full_width(character)
        || matches!(character, '\u{1d400}'..='\u{1d7ff}' | '\u{1f100}'..='\u{1f2ff}')
        // Not the vowels of Indian and Thai letters.
        || matches!(character, '!'..='&' | '('..=',' | ':'..='@' | '['..='^' | '`' | '{'..='\u{bf}'
            | '\u{2000}'..='\u{2018}' | '\u{201a}'..='\u{2bff}' | '\u{1f300}'..='\u{1fbff}')
}

pub(super) fn is_joint(character: char) -> bool {
    matches!(character, '_' | '-' | '.' | '/')
}

/// All paths but pairs of words: "and/or".
pub(super) fn is_path(word: &str) -> bool {
    match word.split_once('/') {
        Some((left, right)) => {
            right.contains('/')
                || left.contains(is_joint)
                || right.contains(is_joint)
                || is_one(left, LABELS)
                || is_one(left, OWNERS)
        }
        None => false,
    }
}

/// A domain name: names of hosts may be those of customers.
pub(super) fn is_host(word: &str) -> bool {
    let Some((left, last)) = word.rsplit_once('.') else { return false };
    left.contains('-') || (left.len() > 1 && last.len() == 2) || is_one(last, DOMAINS)
}

pub(super) fn is_end_of(key: &str, part: &str) -> bool {
    let same = |of: Option<&str>| of.is_some_and(|of| of.eq_ignore_ascii_case(part));
    same(key.get(..part.len()))
        || same(key.len().checked_sub(part.len()).and_then(|start| key.get(start..)))
}

/// Whether letters are no word: base64, hexadecimal, noise.
pub(super) fn is_strange(part: &str) -> bool {
    if !part.is_ascii() {
        return part.chars().count() > MAX_WORD;
    }
    let hexadecimal = part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let crosses = part.as_bytes().windows(3).any(|three| three.eq_ignore_ascii_case(b"xxx"));
    let uniform = !part.get(1..).unwrap_or_default().bytes().any(|b| b.is_ascii_uppercase())
        || !part.bytes().any(|b| b.is_ascii_lowercase());
    hexadecimal
        || crosses
        || is_noise(part)
        || if uniform { part.len() > MAX_WORD } else { !is_camel_case(part) }
}

pub(super) const MAX_WORD: usize = 24;

/// Whether letters follow each other as in no word. One such pair is in names and abbreviations.
pub(super) fn is_noise(part: &str) -> bool {
    let mixed = part.bytes().any(|byte| byte.is_ascii_lowercase());
    let is_odd = |pair: &&[u8]| {
        let place = usize::from(pair[0].to_ascii_lowercase().wrapping_sub(b'a'));
        let next = char::from(pair[1].to_ascii_lowercase());
        // Words within a name start with any letter.
        (!mixed || pair[1].is_ascii_lowercase())
            && !PAIRS.get(place).is_some_and(|letters| letters.contains(next))
    };
    part.len() >= 8 && part.as_bytes().windows(2).filter(is_odd).count() > 1
}

/// For each letter from A to Z the letters that follow it in English words, taken from 4,089 words of the
/// documents of Rust packages. 49 of 100 pairs of letters are in the table.
pub(super) const PAIRS: [&str; 26] = [
    "bcdfgiklmnprstuvwxy",
    "aceilmorstuy",
    "acehiklorstuy",
    "adegijlmnorstuvwy",
    "abcdefghijlmnopqrstuvwxyz",
    "aefilortuy",
    "aeghilmnorstu",
    "aeilmnorstuy",
    "abcdefgklmnoprstvxz",
    "eou",
    "adeilnosu",
    "abcdefgiklnopstuvy",
    "abeilmnopsu",
    "acdefghiklmnorstuvy",
    "abcdefgiklmnoprstuvwx",
    "adeghiloprstuy",
    "lu",
    "abcdefgiklmnoprstuvwy",
    "acefhiklmnopqstuwy",
    "acdefhilorstuwy",
    "abcdefgilmnoprst",
    "aeio",
    "aehilnors",
    "aceipt",
    "abeilmnopstw",
    "aeio",
];

/// Words joined as in `GenerateContentRequest`, with at most one run of capitals: `OpenAI`, `HTTPSConnectionPool`.
pub(super) fn is_camel_case(part: &str) -> bool {
    let bytes = part.as_bytes();
    let mut at = 0;
    let mut words = 0;
    let mut acronyms = 0;
    while at < bytes.len() {
        let upper = bytes[at..].iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        let lower = bytes[at + upper..].iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        let end = at + upper + lower;
        let last = end == bytes.len();
        let plural = upper > 1 && lower == 1 && bytes[end - 1] == b's';
        acronyms += usize::from(upper > 1);
        words += 1;
        let fits = match (upper, lower) {
            (0, _) => true,
            (_, 0) => last,
            // "APIs", "projectId"
            (_, 1) => last && (plural || &bytes[at..end] == b"Id"),
            _ => true,
        };
        if !fits || upper > 6 || lower > MAX_WORD {
            return false;
        }
        at = end;
    }
    acronyms <= 1 && (words < 4 || part.len() >= 4 * words) && words <= 12
}

/// Whether a word is in a list, which has a space on both sides of each word.
pub(super) fn is_one(word: &str, list: &str) -> bool {
    let mut spaced = [b' '; 18];
    let Some(spaced) = spaced.get_mut(..word.len() + 2) else { return false };
    spaced[1..=word.len()].copy_from_slice(word.as_bytes());
    spaced.make_ascii_lowercase();
    str::from_utf8(spaced).is_ok_and(|word| list.contains(word))
}

/// Whether the last word of a name is in the list: `key` in `x-api-key`.
pub(super) fn ends_with_one(name: &str, list: &str) -> bool {
    is_one(name.rsplit(is_joint).next().unwrap_or_default(), list)
}

pub(super) fn is_secret(label: &str) -> bool {
    ends_with_one(label, SECRETS) || label.ends_with("密码") || label.ends_with("口令")
}

/// With a colon: all words up to the next mark are a secret.
pub(super) const SECRETS: &str =
    " password passwd pwd passphrase secret authorization cookie credential credentials ";

/// The next word is a secret,
pub(super) const KEYS: &str = " key apikey token password secret ";

/// unless it is one of these.
pub(super) const AFTER_KEYS: &str = " a an and are at begins beginning by can cannot count counts did do does end ending ends error exchange \
    exists expired failed for format from given had has have id ids in invalid is isn't lacks limit \
    limits may mismatch missing must name names no not of on or provided quota refresh rejected \
    required revoked sent should starting starts supplied that the this to type usage used valid validation value \
    verification was were will with you your ";

/// With a colon the next word is a name or an id; without one if hyphens, dots or slashes join it.
pub(super) const OWNERS: &str = " account address apikey consumer customer email id ids ip key keys login name \
    named org organisation organization owner project projects provided team tenant token user \
    username ";

/// The same, but a word that others follow belongs to a sentence: "error of the model: unexpected EOF".
pub(super) const LABELS: &str = " bucket channel cluster deployment domain endpoint engine found from got group \
    host hostname location model models path provider received region request resource service \
    session value ";

/// "ending in", "starts with": the next word is a part of a key.
pub(super) const EDGES: &str =
    " ending ends end starting starts start beginning begins suffix prefix ";

/// Two masks with one of these between them are a list.
pub(super) const CONNECTORS: &str = " and or to nor 和 或 及 与 至 ";

/// Words after a number that change with it, and words of names of models.
pub(super) const UNITS: &str = " ms millisecond milliseconds sec secs second seconds s min mins minute minutes \
    m hour hours hr hrs h day days d week weeks month months year years am pm utc gmt bytes kb mb gb \
    pro flash lite preview mini nano ultra turbo sonnet opus haiku experimental exp image latest ";

pub(super) const WIDE_UNITS: [&str; 9] =
    ["毫秒", "秒钟", "秒", "分钟", "小时", "天", "个月", "月", "年"];

/// Names of days and months, next to a number.
pub(super) const DATES: &str = " mon tue wed thu fri sat sun monday tuesday wednesday thursday friday saturday \
    sunday jan feb mar apr may jun jul aug sep oct nov dec january february march april june july \
    august september october november december ";

/// The ends of domain names.
pub(super) const DOMAINS: &str = " com net org dev app cloud local internal edu gov info xyz site top online tech \
    lan corp svc ";

/// How keys and ids start, up to the first hyphen or underscore.
pub(super) const PREFIXES: &str = " sk- sk_ pk- pk_ rk- rk_ fk- ak- org- org_ proj- proj_ req- req_ key- ghp_ gho_ \
    ghs_ ghu_ glpat- hf_ gsk_ nvapi- xai- pplx- sess- sess_ chatcmpl- file- asst_ tok_ acct_ whsec_ \
    user- ";

pub(super) const BARE_PREFIXES: [&str; 7] =
    ["AIza", "AKIA", "AQ.", "eyJ", "ya29", "xox", "github_pat_"];

/// How names of models start.
pub(super) const MODELS: &str = " gpt- gemini- claude- llama- mistral- mixtral- deepseek- qwen- grok- gemma- glm- \
    command- text- imagen- veo- whisper- dall- tts- sonar- kimi- moonshot- doubao- codestral- ";
