//! The log of the servers of all tests, in memory: a test reads the lines of a request, and at the
//! end of the run no line may contain a key, a prompt or another secret of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use callscope::domain::key_id::is_key_id;
use callscope::observe::log_filter::cap_libraries;
use serde_json::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The most detailed log that an operator can configure.
const FILTER: &str = "trace";

/// Shorter texts, such as `a` or `key`, occur in any log by chance.
const MIN_LENGTH: usize = 8;

/// Never logged by any server: the prefixes of keys, real ones and generated ones.
const PATTERNS: [&str; 3] = ["AIza", "FakeSy", "Bearer "];

/// The text before the id of a request.
const REQUEST_ID: &[u8] = b"\"request_id\":\"";

/// The lines, as JSON, in order of arrival, and the positions of each request's lines: tests
/// search for them repeatedly.
struct Log {
    lines: Vec<u8>,
    of_requests: BTreeMap<String, Vec<Range<usize>>>,
}

static LOG: Mutex<Log> = Mutex::new(Log { lines: Vec::new(), of_requests: BTreeMap::new() });
static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Starts to collect the log of this process.
pub fn collect() {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(FILTER))
        .with_writer(Collector)
        .json()
        .flatten_event(true);
    subscriber.finish().with(cap_libraries()).init();
}

#[derive(Clone, Copy)]
struct Collector;

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An event is written with one call.
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        let line = log.lines.len()..log.lines.len() + bytes.len();
        log.lines.extend_from_slice(bytes);
        let id = bytes.windows(REQUEST_ID.len()).position(|part| part == REQUEST_ID);
        if let Some(id) = id.map(|at| &bytes[at + REQUEST_ID.len()..]) {
            let id = id.split(|byte| *byte == b'"').next().unwrap_or_default();
            let id = String::from_utf8_lossy(id).into_owned();
            log.of_requests.entry(id).or_default().push(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Collector {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// The lines that contain a request id.
pub fn of_request(id: &str) -> Vec<Value> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = log.of_requests.get(id).into_iter().flatten();
    lines.filter_map(|line| serde_json::from_slice(&log.lines[line.clone()]).ok()).collect()
}

/// The lines with this message, of all servers of this run.
pub fn of_message(message: &str) -> Vec<Value> {
    let lines = with_text(message).into_iter();
    let lines = lines.filter_map(|line| serde_json::from_slice::<Value>(&line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

/// How many lines contain a text.
pub fn count(text: &str) -> usize {
    with_text(text).len()
}

/// The lines that contain a text. It searches a copy: servers that log must not wait for it.
fn with_text(text: &str) -> Vec<Vec<u8>> {
    let lines = LOG.lock().unwrap_or_else(PoisonError::into_inner).lines.clone();
    let text = AhoCorasick::new([text]).expect("one text");
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| text.is_match(line));
    lines.map(<[u8]>::to_vec).collect()
}

/// Marks a text that no server may log in this run: a key, a token, a request or a message. For
/// JSON, each of its texts counts.
pub fn never_log(text: &str) {
    let mut found = vec![text.to_owned()];
    if let Ok(json) = serde_json::from_str(text) {
        texts_of(&json, &mut found);
    }
    let secrets = found.into_iter().filter(|text| {
        // A plain word such as `internal` is not a secret either.
        text.chars().count() >= MIN_LENGTH && !text.bytes().all(|byte| byte.is_ascii_lowercase())
    });
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).extend(secrets);
}

fn texts_of(json: &Value, found: &mut Vec<String>) {
    match json {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts_of(field, found)),
        _ => {}
    }
}

/// The lines that contain a secret, each with that secret; and the number of lines and
/// secrets.
pub fn leaks() -> (Vec<String>, usize, usize) {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let written = |text: &str| {
        // In the form of a JSON string, without the quotes.
        let json = Value::from(text).to_string();
        json[1..json.len() - 1].to_owned()
    };
    let plain = secrets.iter().cloned().chain(PATTERNS.map(str::to_owned));
    let forms: BTreeSet<String> = plain.flat_map(|text| [written(&text), text]).collect();
    let forms: Vec<String> = forms.into_iter().collect();
    let search = AhoCorasick::new(&forms).expect("texts to search for");
    let all = || log.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let leaks = all().filter_map(|line| {
        let found = search.find_iter(line).find(|found| !is_in_key_id(line, found.range()))?;
        let form = &forms[found.pattern().as_usize()];
        Some(format!("{form:?} is in {}", String::from_utf8_lossy(line)))
    });
    (leaks.collect(), all().count(), secrets.len())
}

/// Whether a part of a line is in the id of a key: a hash may contain the prefix of a key by chance.
fn is_in_key_id(line: &[u8], part: Range<usize>) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let start =
        line[..part.start].iter().rposition(|byte| !is_of_word(byte)).map_or(0, |at| at + 1);
    let length = line[start..].iter().position(|byte| !is_of_word(byte));
    is_key_id(&String::from_utf8_lossy(&line[start..length.map_or(line.len(), |it| start + it)]))
}
