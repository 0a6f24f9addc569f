//! Reads what a text states: quotas, when to try again, the project, the status code.
//!
//! One pass over the words. A word that is followed by `:`, `=` or `{` is a key and the next one its value, which
//! is so in JSON, in Python's and gRPC's representations and in sentences ("limit: 20, model: x"), cut or not.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::{QuotaMetric, Retry, StatedQuota};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A longer delay is taken for a number of something else.
const MAX_DELAY: Duration = Duration::from_secs(400 * 86_400);
/// More violations than any provider states.
const MAX_QUOTAS: usize = 16;

#[derive(Default)]
pub(super) struct Facts {
    pub status: Option<i32>,
    pub quotas: Vec<StatedQuota>,
    pub retry: Option<Retry>,
    pub project: Option<String>,
}

pub(super) fn read(text: &str) -> Facts {
    let mut reader = Reader::default();
    let mut at = 0;
    while let Some((start, end)) = next_word(text, at) {
        reader.word(text, start, end);
        at = end;
    }
    reader.finish()
}

/// The next run of letters, digits and what joins them within names, numbers and times.
fn next_word(text: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let start = from + bytes[from..].iter().position(|byte| letter(*byte))?;
    let mut end = start;
    while let Some(&byte) = bytes.get(end) {
        let digits = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let joined = letter(byte)
            || byte == b'_'
            || (matches!(byte, b'-' | b'.' | b'/')
                && bytes.get(end + 1).copied().is_some_and(letter))
            || (matches!(byte, b',' | b':') && digits(end - 1) && digits(end + 1));
        if !joined {
            break;
        }
        end += 1;
    }
    Some((start, end))
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    QuotaId,
    QuotaMetric,
    QuotaValue,
    Limit,
    Used,
    Requested,
    Model,
    RetryDelay,
    RetrySeconds,
    RetryMillis,
    Reset,
    Seconds,
    ProjectNumber,
    Status,
    /// The name of a pair is the next value: `key: "model" value: "x"`.
    Name,
    NamedValue,
    Other,
}

/// Longer than every key.
const MAX_KEY: usize = 24;

fn key(word: &str) -> Key {
    let mut lower = [0; MAX_KEY];
    let Some(lower) = lower.get_mut(..word.len()) else { return Key::Other };
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    match &*lower {
        b"quotaid" | b"quota_id" | b"quota_limit" => Key::QuotaId,
        b"quotametric" | b"quota_metric" | b"metric" => Key::QuotaMetric,
        b"quotavalue" | b"quota_value" | b"quota_limit_value" => Key::QuotaValue,
        b"limit" => Key::Limit,
        b"used" | b"current" => Key::Used,
        b"requested" => Key::Requested,
        b"model" => Key::Model,
        b"retrydelay" | b"retry_delay" => Key::RetryDelay,
        b"retry_after"
        | b"retry-after"
        | b"retryafter"
        | b"retry_after_seconds"
        | b"resets_in_seconds" => Key::RetrySeconds,
        b"retry_after_ms" | b"retry-after-ms" => Key::RetryMillis,
        b"x-ratelimit-reset" | b"reset_at" | b"resets_at" | b"resetsat" | b"resetat" => Key::Reset,
        b"seconds" => Key::Seconds,
        b"project_number" => Key::ProjectNumber,
        b"status" | b"code" | b"statuscode" | b"status_code" | b"httpstatuscode"
        | b"error_code" | b"error" => Key::Status,
        b"key" => Key::Name,
        b"value" => Key::NamedValue,
        _ => Key::Other,
    }
}

#[derive(Default)]
struct Reader<'a> {
    facts: Facts,
    /// The violation that is being read, and whether its metric was seen.
    violation: StatedQuota,
    metric_seen: bool,
    /// The quota of a sentence: "on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082".
    sentence: Option<StatedQuota>,
    sentence_model: Option<&'a str>,
    /// The key whose value is next.
    key: Option<Key>,
    /// The key before that.
    outer: Option<Key>,
    named: Option<Key>,
    /// The words before this one, the latest first.
    before: [&'a str; 4],
}

impl<'a> Reader<'a> {
    fn word(&mut self, text: &'a str, start: usize, end: usize) {
        let word = &text[start..end];
        let rest = &text[end..];
        let first = rest.trim_start_matches(['"', '\'', '`', ' ']).bytes().next();
        // "429 {" is no pair, and "code: 429 {" ends one.
        let number = word.starts_with(|c: char| c.is_ascii_digit());
        let is_key = matches!(first, Some(b':' | b'=' | b'{')) && !number;
        if is_key {
            self.sentence(word, rest);
            self.outer = self.key.take();
            self.key = Some(key(word));
        } else if let Some(key) = self.key.take() {
            self.value(key, word, rest);
            self.outer = None;
        } else {
            self.sentence(word, rest);
            self.status_in_passing(word, text, start);
            let amount =
                rest.trim_start().trim_start_matches('~').starts_with(|c: char| c.is_ascii_digit());
            self.key = match key(word) {
                key @ (Key::Limit | Key::Used | Key::Requested) if amount => Some(key),
                _ => None,
            };
        }
        self.project(word);
        self.before.rotate_right(1);
        self.before[0] = word;
    }

    fn value(&mut self, key: Key, word: &str, rest: &str) {
        match key {
            Key::QuotaId => {
                self.next_violation(self.violation.id.is_some());
                self.violation.id = Some(word.to_owned());
            }
            Key::QuotaMetric => {
                self.next_violation(self.metric_seen);
                self.metric_seen = true;
                self.violation.metric = metric(word);
            }
            Key::QuotaValue => self.violation.limit = number(word),
            Key::Limit | Key::Used | Key::Requested => {
                let violation = self.metric_seen || self.violation.id.is_some();
                let quota = match &mut self.sentence {
                    Some(sentence) => sentence,
                    None if violation => &mut self.violation,
                    None => return,
                };
                let field = match key {
                    Key::Limit => &mut quota.limit,
                    Key::Used => &mut quota.used,
                    _ => &mut quota.requested,
                };
                *field = field.or(number(word));
            }
            Key::Model => {
                if self.metric_seen || self.violation.id.is_some() {
                    self.violation.model.get_or_insert_with(|| word.to_owned());
                }
            }
            Key::RetryDelay => {
                if let Some(delay) = delay(word, rest) {
                    self.facts.retry = Some(Retry::After(delay));
                }
            }
            Key::Seconds if self.outer == Some(Key::RetryDelay) => self.retry(seconds(word)),
            Key::RetrySeconds => self.retry(delay(word, rest).or_else(|| seconds(word))),
            Key::RetryMillis => self.retry(number(word).map(Duration::from_millis)),
            Key::Reset => {
                let reset = number(word).and_then(|number| match number {
                    1_000_000_000..100_000_000_000 => {
                        DateTime::from_timestamp(number.cast_signed(), 0)
                    }
                    100_000_000_000.. => DateTime::from_timestamp_millis(number.cast_signed()),
                    _ => None,
                });
                let reset = reset.or_else(|| time(word, rest));
                self.facts.retry = self.facts.retry.or(reset.map(Retry::At));
            }
            Key::ProjectNumber => {
                self.facts.project.get_or_insert_with(|| format!("projects/{word}"));
            }
            Key::Status => self.status(word),
            Key::Name => self.named = Some(self::key(word)),
            Key::NamedValue => {
                if let Some(key) = self.named.take().filter(|key| *key != Key::NamedValue) {
                    self.value(key, word, rest);
                }
            }
            Key::Seconds | Key::Other => {}
        }
    }

    fn next_violation(&mut self, already: bool) {
        if already {
            self.end_violation();
        }
    }

    fn end_violation(&mut self) {
        let violation = std::mem::take(&mut self.violation);
        if (std::mem::take(&mut self.metric_seen) || violation.id.is_some())
            && self.facts.quotas.len() < MAX_QUOTAS
        {
            self.facts.quotas.push(violation);
        }
    }

    fn retry(&mut self, delay: Option<Duration>) {
        let delay = delay.filter(|delay| *delay <= MAX_DELAY).map(Retry::After);
        // Of a time and a delay, the delay is kept: rules need its length.
        self.facts.retry = match self.facts.retry {
            Some(Retry::At(_)) => delay.or(self.facts.retry),
            retry => retry.or(delay),
        };
    }

    /// A word that is no value: of a quota, or of when to try again.
    fn sentence(&mut self, word: &'a str, rest: &str) {
        let [first, second, third, fourth] = self.before;
        let is =
            |word: &str, one_of: &[&str]| one_of.iter().any(|text| word.eq_ignore_ascii_case(text));
        if let Some((metric, window)) = abbreviated(word) {
            self.limited(Some(metric), window, None);
        } else if is(first, &["per"])
            && let Some(window) = window(word)
        {
            let metric = metric(&format!("{third}_{second}"));
            let limit = [second, third, fourth].into_iter().find_map(number);
            self.limited(metric, window, limit);
        } else if let Some(StatedQuota { metric: unnamed @ None, .. }) = &mut self.sentence
            && is(first, &["for"])
            && let Some(named) = metric(word)
        {
            // "8 per 60s exceeded for UserByModelByMinuteUncachedInputTokens"
            *unnamed = Some(named);
        } else if is(word, &["organization"]) && is(first, &["in"]) {
            self.sentence_model = self.sentence_model.or(Some(second));
        } else if self.facts.retry.is_none() {
            let waits = is(first, &["in", "after", "for"])
                && is(second, &["retry", "again", "wait", "reset", "resets"]);
            if waits || is(first, &["wait"]) {
                self.retry(delay(word, rest));
            }
            let until = is(first, &["on", "at", "until", "after"])
                && is(second, &["access", "again", "reset", "resets", "wait", "until", "retry"]);
            if until || is(first, &["until"]) {
                self.facts.retry = self.facts.retry.or(time(word, rest).map(Retry::At));
            }
        }
    }

    /// Of several quotas of a sentence the one with the longest window is kept.
    fn limited(&mut self, metric: Option<QuotaMetric>, window: Duration, limit: Option<u64>) {
        if self.sentence.as_ref().is_none_or(|quota| quota.window < Some(window)) {
            self.sentence =
                Some(StatedQuota { metric, window: Some(window), limit, ..StatedQuota::default() });
        }
    }

    fn status(&mut self, word: &str) {
        let status = number(word).filter(|status| (400..600).contains(status));
        self.facts.status = self.facts.status.or(status.and_then(|status| status.try_into().ok()));
    }

    /// "429 RESOURCE_EXHAUSTED", "[403 Forbidden]", "(529 {…", "HTTP 502".
    fn status_in_passing(&mut self, word: &str, text: &str, start: usize) {
        let follows = |prefix: &str| {
            self.before[0].get(..prefix.len()).is_some_and(|w| w.eq_ignore_ascii_case(prefix))
        };
        let opens = || {
            let before = text[..start].trim_end();
            before.is_empty() || before.ends_with(['[', '(', '>', '<'])
        };
        if word.len() == 3
            && (opens()
                || follows("http")
                || follows("code")
                || follows("status")
                || follows("error"))
        {
            self.status(word);
        }
    }

    fn project(&mut self, word: &str) {
        if self.facts.project.is_some() {
            return;
        }
        let name = if let Some(project) = word.strip_prefix("projects/") {
            let id = project.split('/').next().unwrap_or_default();
            Some(format!("projects/{id}"))
        } else {
            let organization =
                ["org-", "org_", "proj_"].iter().any(|prefix| word.starts_with(prefix))
                    && word.len() > 9;
            let uuid = word.len() == 36
                && word.matches('-').count() == 4
                && self.before[0].eq_ignore_ascii_case("organization");
            (organization || uuid).then(|| word.to_owned())
        };
        self.facts.project = name;
    }

    fn finish(mut self) -> Facts {
        self.end_violation();
        let quotas = &mut self.facts.quotas;
        if quotas.iter().any(|quota| quota.id.is_some()) {
            // The message repeats what the details state, and has what a cut left out.
            let (mut stated, said): (Vec<_>, Vec<_>) =
                quotas.drain(..).partition(|quota| quota.id.is_some());
            for quota in &mut stated {
                if let Some(said) = said.iter().find(|said| said.metric == quota.metric) {
                    quota.model = quota.model.take().or_else(|| said.model.clone());
                    quota.limit = quota.limit.or(said.limit);
                }
            }
            *quotas = stated;
        }
        for quota in quotas.iter_mut() {
            quota.window = quota.window.or_else(|| quota.id.as_deref().and_then(window_of_id));
            quota.metric = quota.metric.or_else(|| quota.id.as_deref().and_then(metric));
        }
        if let Some(mut sentence) = self.sentence.take() {
            if quotas.is_empty() {
                // A tier, as in "10KTPM-200RPM", is no model.
                sentence.model =
                    self.sentence_model.filter(|name| !name.contains("TPM")).map(str::to_owned);
                quotas.push(sentence);
            } else if let [quota] = &mut quotas[..] {
                quota.window = quota.window.or(sentence.window);
                quota.metric = quota.metric.or(sentence.metric);
            }
        }
        self.facts
    }
}

fn metric(name: &str) -> Option<QuotaMetric> {
    let name = name.to_ascii_lowercase();
    if name.contains("input_token") || name.contains("inputtoken") {
        Some(QuotaMetric::InputTokens)
    } else if name.contains("output_token") || name.contains("outputtoken") {
        Some(QuotaMetric::OutputTokens)
    } else if name.contains("token") {
        Some(QuotaMetric::Tokens)
    } else if name.contains("request") || name.contains("call") || name.contains("queries") {
        Some(QuotaMetric::Requests)
    } else {
        None
    }
}

/// Names of a quota in one word: `RPM`, `free-models-per-day`.
fn abbreviated(word: &str) -> Option<(QuotaMetric, Duration)> {
    let (metric, unit) = match word {
        "RPM" => (QuotaMetric::Requests, MINUTE),
        "RPD" => (QuotaMetric::Requests, DAY),
        "TPM" => (QuotaMetric::Tokens, MINUTE),
        "TPD" => (QuotaMetric::Tokens, DAY),
        "ITPM" => (QuotaMetric::InputTokens, MINUTE),
        "OTPM" => (QuotaMetric::OutputTokens, MINUTE),
        _ => {
            let (what, unit) = word.split_once("-per-")?;
            let unit = unit.split(|it: char| !it.is_ascii_alphabetic()).next()?;
            let metric = metric(what)
                .or_else(|| what.contains("models").then_some(QuotaMetric::Requests))?;
            (metric, window(unit)?)
        }
    };
    Some((metric, unit))
}

fn window(word: &str) -> Option<Duration> {
    let word = word.to_ascii_lowercase();
    let unit = word.strip_suffix('s').unwrap_or(&word);
    let seconds = match unit {
        "second" | "sec" => 1,
        "min" | "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 7 * 86_400,
        "month" => 30 * 86_400,
        // "60s"
        _ if unit.len() < word.len() => number(unit)?,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
fn window_of_id(id: &str) -> Option<Duration> {
    let id = id.to_ascii_lowercase().replace('_', "");
    [
        ("perday", DAY),
        ("perminute", MINUTE),
        ("perhour", 60 * MINUTE),
        ("persecond", Duration::from_secs(1)),
    ]
    .into_iter()
    .find_map(|(name, window)| id.contains(name).then_some(window))
}

fn number(word: &str) -> Option<u64> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits: String = word.chars().filter(|character| *character != ',').collect();
    digits.parse().ok()
}

fn seconds(word: &str) -> Option<Duration> {
    word.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// `36.4s`, `1m30.5s`, `6ms`, or a number whose unit is the next word: `54 seconds`, `20 秒`.
fn delay(word: &str, rest: &str) -> Option<Duration> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(amount) = word.parse::<f64>() {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let chinese =
            [("毫秒", 0.001), ("秒", 1.0), ("分", 60.0), ("小时", 3600.0), ("天", 86_400.0)];
        let unit = unit(&rest[..end]).or_else(|| {
            chinese.iter().find_map(|(name, seconds)| rest.starts_with(name).then_some(*seconds))
        })?;
        return Duration::try_from_secs_f64(amount * unit).ok();
    }
    let mut total = Duration::ZERO;
    let mut text = word;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = text.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let seconds = amount.parse::<f64>().ok()? * unit(&after[..letters])?;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        text = &after[letters..];
    }
    Some(total)
}

/// Seconds of a unit of time.
fn unit(name: &str) -> Option<f64> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

/// `2026-04-01T00:00:00Z`, or a date and perhaps "at 00:00", in UTC.
fn time(word: &str, rest: &str) -> Option<DateTime<Utc>> {
    if let Some((date, _)) = word.split_once('T') {
        let whole = format!("{word}{}", if rest.starts_with('Z') { "Z" } else { "" });
        let whole = if whole.ends_with('Z') || whole[date.len()..].contains(['+', '-']) {
            whole
        } else {
            whole + "Z"
        };
        return DateTime::parse_from_rfc3339(&whole).ok().map(|time| time.to_utc());
    }
    let date: NaiveDate = word.parse().ok()?;
    let rest = rest.trim_start().trim_start_matches("at ");
    let clock = rest.split([' ', '"', '.']).next().unwrap_or_default();
    let clock = NaiveTime::parse_from_str(clock, "%H:%M")
        .or_else(|_| NaiveTime::parse_from_str(clock, "%H:%M:%S"))
        .unwrap_or_default();
    Some(date.and_time(clock).and_utc())
}
