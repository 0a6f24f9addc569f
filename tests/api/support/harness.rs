//! Runs each test once per database, in parallel, and reports which tests were ignored.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::app::SERVERS;
use super::database::{Kind, MOVED_ROWS, STANDBY, TestDatabase};
use super::logs;
use super::servers::{Schema, Servers};

/// A test that hangs fails after this time, so that the run can end.
const LIMIT: Duration = Duration::from_secs(240);

/// A run of so many tests uses the other server, if there is one.
const MANY: u64 = 100;

type Run = fn(TestDatabase) -> Pin<Box<dyn Future<Output = ()>>>;

/// One test and its databases; `tests!` creates it.
pub struct Test {
    name: &'static str,
    run: Run,
    kinds: &'static [Kind],
    schema: Schema,
    file: Option<&'static str>,
    program: Option<&'static str>,
}

impl Test {
    pub fn new(name: &'static str, run: Run) -> Self {
        Self { name, run, kinds: &Kind::ALL, schema: Schema::Migrated, file: None, program: None }
    }

    /// Runs on these databases only.
    pub fn only(self, kinds: &'static [Kind]) -> Self {
        Self { kinds, ..self }
    }

    /// Starts from a database without tables.
    pub fn empty(self) -> Self {
        Self { schema: Schema::Empty, ..self }
    }

    /// Is ignored if this file, relative to the repository's root, is missing.
    pub fn needs(self, file: &'static str) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Is ignored if this program is not in PATH.
    pub fn needs_program(self, program: &'static str) -> Self {
        Self { program: Some(program), ..self }
    }
}

/// The tests of a module: `tests! { a, b.empty(), c.only(&[Kind::Sqlite]) }`.
#[macro_export]
macro_rules! tests {
    ($($name:ident $(. $method:ident ($($arg:expr),*))*),* $(,)?) => {
        pub fn tests() -> Vec<$crate::support::Test> {
            vec![$(
                $crate::support::Test::new(
                    concat!(module_path!(), "::", stringify!($name)),
                    |database| Box::pin($name(database)),
                )$(.$method($($arg),*))*
            ),*]
        }
    };
}

/// Runs the tests that the command line selects and exits with their outcome.
pub fn run(modules: impl IntoIterator<Item = Vec<Test>>) -> ! {
    let mut args = Arguments::from_args();
    // Tests mostly wait for their database.
    args.test_threads
        .get_or_insert(4 * std::thread::available_parallelism().map_or(1, usize::from));
    let servers = Arc::new(Servers::from_environment());
    let tests: Vec<Test> = modules.into_iter().flatten().collect();
    if !args.list {
        for missing in missing(&tests, &servers) {
            println!("{missing}");
        }
    }
    collect_panics_of_tests();
    logs::collect();
    let trials = tests.into_iter().flat_map(|test| trials(test, &servers)).collect();
    let conclusion = libtest_mimic::run(&args, trials);
    servers.drop_templates();
    if !args.list {
        fail_on_leaks();
        if conclusion.num_passed > MANY {
            fail_without_other_server(&servers);
        }
    }
    conclusion.exit()
}

/// Fails the run if another server is there, and was not used.
fn fail_without_other_server(servers: &Servers) {
    let [started, answered] = SERVERS.each_ref().map(|count| count.load(Ordering::Relaxed));
    let moved = MOVED_ROWS.load(Ordering::Relaxed);
    let (has_standby, has_moved) =
        (std::env::var_os(STANDBY).is_some(), servers.has_moved_months());
    if has_standby {
        println!("the standby answered statements of {answered} of {started} servers");
    }
    if has_moved {
        println!("{moved} rows were on the server for old months");
    }
    if has_standby && 3 * answered < started || has_moved && moved == 0 {
        println!("that is too few");
        std::process::exit(101);
    }
}

/// Fails the run if the log of its servers contains a key, a token, a prompt or another secret.
fn fail_on_leaks() {
    let (leaks, lines, secrets) = logs::leaks();
    if leaks.is_empty() {
        println!(
            "{lines} lines of the servers' logs contain none of the {secrets} secrets of the tests"
        );
        return;
    }
    for leak in leaks.iter().take(20) {
        println!("LEAK: {leak}");
    }
    println!("{} of {lines} lines of the servers' logs contain a secret", leaks.len());
    std::process::exit(101);
}

/// The ignored tests, and the reasons.
fn missing(tests: &[Test], servers: &Servers) -> Vec<String> {
    let mut missing: Vec<String> = Kind::ALL
        .iter()
        .filter_map(|kind| Some(format!("{}: not tested, {}", kind.label(), servers.lack(*kind)?)))
        .collect();
    for test in tests {
        missing.extend(
            missing_requirement(test).map(|why| format!("{}: not tested, {why}", test.name)),
        );
    }
    missing
}

/// The file or program that a test needs but this machine lacks.
fn missing_requirement(test: &Test) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = test.file.filter(|file| !root.join(file).exists());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path =
        |program: &&str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let program = test.program.filter(|program| !in_path(program));
    file.or(program).map(|lacking| format!("{lacking} is not here"))
}

fn trials(test: Test, servers: &Arc<Servers>) -> Vec<Trial> {
    let subject = test.name.split_once("::").map_or(test.name, |(_, name)| name);
    let (run, schema) = (test.run, test.schema);
    let trial = |kind: &Kind| {
        let kind = *kind;
        let lack = servers.lack(kind).or_else(|| missing_requirement(&test));
        let servers = Arc::clone(servers);
        Trial::ignorable_test(format!("{}::{subject}", kind.name()), move || match lack {
            Some(lack) => Ok(Completion::ignored_with(lack)),
            None => run_one(run, kind, schema, &servers).map(|()| Completion::Completed),
        })
    };
    test.kinds.iter().map(trial).collect()
}

/// Creates the database, runs the test and drops the database after any outcome.
fn run_one(run: Run, kind: Kind, schema: Schema, servers: &Servers) -> Result<(), Failed> {
    PANICS.set(Some(Vec::new()));
    // One thread: a panic anywhere, also in a task of the server, belongs to this test.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut name = String::new();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        name = servers.create(&runtime, kind, schema);
        let database = servers.database(kind, schema, &name);
        // All databases have the same snapshots.
        insta::allow_duplicates! {
            runtime.block_on(async { tokio::time::timeout(LIMIT, run(database)).await })
        }
    }));
    let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| {
        // Drop the runtime first, and with it every task with a connection.
        drop(runtime);
        servers.drop(kind, &name);
    }));
    let panics = PANICS.take().unwrap_or_default();
    match (outcome, dropped) {
        (Ok(Ok(())), Ok(())) if panics.is_empty() => Ok(()),
        (Ok(Err(_)), _) => Err(format!("did not end within {LIMIT:?}").into()),
        _ => Err(panics.join("\n").into()),
    }
}

thread_local! {
    /// The panics of the test that runs on this thread.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// The text of a panic that a test deliberately causes in a background job.
pub const INJECTED: &str = "a panic of the test";

/// Collects a test's panics for its report, so that those of parallel tests do not mix.
fn collect_panics_of_tests() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() == Some(INJECTED) {
            return;
        }
        let collected = PANICS.with_borrow_mut(|panics| {
            let Some(panics) = panics else { return false };
            let place = panic.location().map_or_else(String::new, ToString::to_string);
            let text = panic.payload_as_str().unwrap_or("a panic without a text");
            panics.push(format!("{place}: {text}{}", own_frames(&Backtrace::force_capture())));
            true
        });
        if !collected {
            default(panic);
        }
    }));
}

/// The frames of this repository that led to a panic: the panic itself is often in `support`.
fn own_frames(trace: &Backtrace) -> String {
    let own = |line: &&str| {
        line.starts_with("at ./src/")
            || line.starts_with("at ./tests/") && !line.contains("harness.rs")
    };
    let trace = trace.to_string();
    trace.lines().map(str::trim_start).filter(own).flat_map(|line| ["\n    ", line]).collect()
}
