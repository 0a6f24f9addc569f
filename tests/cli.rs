//! The command line and where its settings come from.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

/// `callscope migrate`, which shows by the file it makes which setting counted.
fn migrate(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callscope"))
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .arg("migrate")
        .args(args)
        .output()
        .unwrap()
}

fn made(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut databases: Vec<String> = names.filter(|name| name.ends_with(".db")).collect();
    databases.sort();
    databases
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_the_file() {
    let file = r#"database-url = "sqlite://file.db""#;
    let own = ("CALLSCOPE_DATABASE_URL", "sqlite://own.db");
    let usual = ("DATABASE_URL", "sqlite://usual.db");
    let flag = ["--database-url", "sqlite://flag.db"];
    let cases = [
        (&flag[..], &[own, usual][..], true, "flag.db"),
        (&[], &[own, usual], true, "own.db"),
        (&[], &[usual], true, "usual.db"),
        (&[], &[], true, "file.db"),
        (&[], &[], false, "callscope.db"),
    ];
    for (args, environment, with_file, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        if with_file {
            std::fs::write(folder.path().join("callscope.toml"), file).unwrap();
        }
        let output = migrate(folder.path(), args, environment);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(made(folder.path()), [expected]);
    }
}

#[test]
fn settings_that_nobody_knows_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let refused = refusal(&migrate(folder.path(), &[], &[("CALLSCOPE_LISTN", "x")]));
    assert!(refused.contains("CALLSCOPE_LISTN"), "{refused}");
    assert!(refusal(&migrate(folder.path(), &["--listn"], &[])).contains("--listn"));

    let file = folder.path().join("other.toml");
    let config = ["--config", file.to_str().unwrap()];
    for (text, named) in [
        ("listn = \"x\"", "listn"),
        ("database-url = [1]", "database-url"),
        ("database-url = ", "other.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = refusal(&migrate(folder.path(), &config, &[]));
        assert!(refused.contains(named), "{refused}");
    }
    let missing = refusal(&migrate(folder.path(), &["--config=missing.toml"], &[]));
    assert!(missing.contains("missing.toml"), "{missing}");
    assert!(made(folder.path()).is_empty());
}

#[test]
fn a_setting_of_another_command_may_stand_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = "listen = \"127.0.0.1:9\"\nread-only = false\nmax-page-size = 10\n";
    std::fs::write(folder.path().join("callscope.toml"), file).unwrap();
    assert!(migrate(folder.path(), &[], &[]).status.success());
}

#[test]
fn a_database_url_is_checked_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let refused = refusal(&migrate(folder.path(), &["--database-url", "foo://x"], &[]));
    assert!(refused.contains("sqlite://, postgres:// or mysql://"), "{refused}");
    let secret = "postgres://user:hunter2@[::/x";
    let output = migrate(folder.path(), &[], &[("DATABASE_URL", secret)]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("cannot be read"), "{text}");
    let help = migrate(folder.path(), &["--help"], &[("CALLSCOPE_DATABASE_URL", secret)]);
    let shown = String::from_utf8(help.stdout).unwrap();
    assert!(!text.contains("hunter2") && !shown.contains("hunter2"), "{shown}");
}

fn callscope(folder: &Path, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .current_dir(folder)
        .env_clear()
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_token_is_shown_once_and_kept_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let create = ["token", "create", "grafana", "--scopes", "READ,METRICS", "--expires-in", "P90D"];
    let (made, token, _) = callscope(folder.path(), &create);
    let token = token.trim();
    assert!(made && token.starts_with("cs_") && token.len() == 46, "{token}");
    let (_, listed, _) = callscope(folder.path(), &["token", "list"]);
    assert!(listed.contains("grafana") && listed.contains("READ,METRICS"), "{listed}");
    assert!(listed.contains("holds") && !listed.contains(&token[3..]));
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "the token itself is in the database");
    }
    let (again, _, told) = callscope(folder.path(), &create);
    assert!(!again && told.contains("`grafana`"), "{told}");
    assert!(callscope(folder.path(), &["token", "revoke", "grafana"]).0);
    assert!(callscope(folder.path(), &["token", "list"]).1.contains("revoked"));
    let (revoked, _, told) = callscope(folder.path(), &["token", "revoke", "grafana"]);
    assert!(!revoked && told.contains("callscope token list"), "{told}");
    for wrong in [["x y", "READ"], ["anonymous", "READ"], ["x", "WRITE"], ["x", ""]] {
        let (made, shown, told) =
            callscope(folder.path(), &["token", "create", wrong[0], "--scopes", wrong[1]]);
        assert!(!made && shown.is_empty() && !told.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_secret_that_is_refused_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    for args in [["--tokens", "a:READ:hunter2"], ["--database-url", "hunter2://x"]] {
        let (_, _, told) = callscope(folder.path(), &args);
        assert!(told.contains(args[0]) && !told.contains("hunter2"), "{told}");
    }
}
