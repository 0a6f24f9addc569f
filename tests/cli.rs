//! The command line and the sources of its settings.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs `callscope migrate`: the file that it creates shows which setting applied.
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

fn created(folder: &Path) -> Vec<String> {
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
fn flags_override_the_environment_and_the_file() {
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
        assert_eq!(created(folder.path()), [expected]);
    }
}

#[test]
fn unknown_settings_are_errors() {
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
    assert!(created(folder.path()).is_empty());
}

#[test]
fn the_file_may_have_settings_of_other_commands() {
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

/// A file with a secret in it, and its name.
fn secret_file(folder: &Path, name: &str, content: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_secret_may_be_read_from_a_file() {
    let variable = "CALLSCOPE_DATABASE_URL_FILE";
    for content in ["sqlite://secret.db", "sqlite://secret.db\n", "sqlite://secret.db\r\n"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("callscope.toml"),
            r#"database-url = "sqlite://toml.db""#,
        )
        .unwrap();
        let file = secret_file(folder.path(), "url", content);
        let usual = ("DATABASE_URL", "sqlite://usual.db");
        let output = migrate(folder.path(), &[], &[(variable, &file), usual]);
        assert!(output.status.success(), "{output:?}");
        let flag = ["--database-url", "sqlite://flag.db"];
        assert!(migrate(folder.path(), &flag, &[(variable, &file)]).status.success());
        assert_eq!(created(folder.path()), ["flag.db", "secret.db"]);
    }
}

#[test]
fn an_unusable_secret_file_is_named_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(folder.path(), "url", "foo://user:hunter2@host");
    let both = [("CALLSCOPE_ID_KEY", "hunter2-hunter2-hunter2"), ("CALLSCOPE_ID_KEY_FILE", &file)];
    let refused = refusal(&migrate(folder.path(), &[], &both));
    assert!(refused.contains("both CALLSCOPE_ID_KEY and CALLSCOPE_ID_KEY_FILE"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");

    let missing = [("CALLSCOPE_DATABASE_URL_FILE", "/nowhere/url")];
    let refused = refusal(&migrate(folder.path(), &[], &missing));
    assert!(refused.contains("/nowhere/url") && refused.contains("CALLSCOPE_DATABASE_URL_FILE"));

    let wrong = [("CALLSCOPE_DATABASE_URL_FILE", file.as_str())];
    let refused = refusal(&migrate(folder.path(), &[], &wrong));
    assert!(refused.contains("--database-url") && !refused.contains("hunter2"), "{refused}");
    let help = migrate(folder.path(), &["--help"], &wrong);
    assert!(!String::from_utf8(help.stdout).unwrap().contains("hunter2"));
    // The value of a variable is hidden like that of a file.
    let direct = [("CALLSCOPE_DATABASE_URL", "foo://user:hunter2@host")];
    assert!(!refusal(&migrate(folder.path(), &[], &direct)).contains("hunter2"));

    // Only secrets may be read from files.
    let refused = refusal(&migrate(folder.path(), &[], &[("CALLSCOPE_LISTEN_FILE", &file)]));
    assert!(refused.contains("unknown environment variable CALLSCOPE_LISTEN_FILE"), "{refused}");
}

fn callscope(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    command.current_dir(folder).env_clear().envs(environment.iter().copied());
    command.args(args).output().unwrap()
}

#[test]
fn the_doctor_lists_settings_and_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    assert!(migrate(folder.path(), &["--database-url", "sqlite://calls.db"], &[]).status.success());
    std::fs::write(folder.path().join("callscope.toml"), "max-depth = 9\n").unwrap();
    let secret = "a secret of at least 16 characters";
    let file = secret_file(folder.path(), "id-key", secret);
    let environment = [("CALLSCOPE_ID_KEY_FILE", file.as_str()), ("CALLSCOPE_MAX_ALIASES", "7")];
    let mut args = vec!["doctor", "--database-url", "sqlite://calls.db", "--listen", "0.0.0.0:1"];
    args.extend(["--anonymous-scopes", "READ"]);
    let output = callscope(folder.path(), &args, &environment);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "    max-depth = 9, from callscope.toml\n",
        "    max-aliases = 7, from CALLSCOPE_MAX_ALIASES\n",
        "    listen = 0.0.0.0:1, from --listen\n",
        "    database-url = (secret), from --database-url\n",
        "    id-key = (secret), from CALLSCOPE_ID_KEY_FILE\n",
        "! secrets: --database-url is set by a flag\n",
        "! address: 0.0.0.0:1 is reachable from other machines\n",
        "! access: clients without a token may READ\n",
        "✓ indexes: all exist\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains(secret) && output.status.success(), "{text}");

    let args = ["doctor", "--database-url", "sqlite://nothing.db"];
    let output = callscope(folder.path(), &args, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("✗ database: the file nothing.db does not exist"), "{text}");
    assert!(!folder.path().join("nothing.db").exists());
}

#[test]
fn the_health_command_requires_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = |status: &'static str| {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        })
    };
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let asked = answer(status);
        let output = callscope(folder.path(), &["health", "--listen", &address], &[]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(asked.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
    }
    drop(listener);
    let output = callscope(folder.path(), &["health", "--listen", &address], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

fn run(folder: &Path, args: &[&str]) -> (bool, String, String) {
    let output = callscope(folder, args, &[]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_token_is_shown_once_and_never_stored() {
    let folder = tempfile::tempdir().unwrap();
    let create = ["token", "create", "grafana", "--scopes", "READ,METRICS", "--expires-in", "P90D"];
    let (made, token, _) = run(folder.path(), &create);
    let token = token.trim();
    assert!(made && token.starts_with("cs_") && token.len() == 46, "{token}");
    let (_, listed, _) = run(folder.path(), &["token", "list"]);
    assert!(listed.contains("grafana") && listed.contains("READ,METRICS"), "{listed}");
    assert!(listed.contains("valid") && !listed.contains(&token[3..]));
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "the token itself is in the database");
    }
    let (again, _, stderr) = run(folder.path(), &create);
    assert!(!again && stderr.contains("`grafana`"), "{stderr}");
    assert!(run(folder.path(), &["token", "revoke", "grafana"]).0);
    assert!(run(folder.path(), &["token", "list"]).1.contains("revoked"));
    let (revoked, _, stderr) = run(folder.path(), &["token", "revoke", "grafana"]);
    assert!(!revoked && stderr.contains("callscope token list"), "{stderr}");
    for wrong in [["x y", "READ"], ["anonymous", "READ"], ["x", "WRITE"], ["x", ""]] {
        let (made, shown, stderr) =
            run(folder.path(), &["token", "create", wrong[0], "--scopes", wrong[1]]);
        assert!(!made && shown.is_empty() && !stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_refused_secret_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    for args in [["--tokens", "a:READ:hunter2"], ["--database-url", "hunter2://x"]] {
        let (_, _, stderr) = run(folder.path(), &args);
        assert!(stderr.contains(args[0]) && !stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn an_unwritable_file_is_reported_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["migrate", "--database-url", "sqlite://calls.db"]).0);
    let url = "sqlite://calls.db?mode=ro";
    let (started, _, stderr) =
        run(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--database-url", url]);
    assert!(!started && stderr.contains("readonly") && stderr.contains("--read-only"), "{stderr}");
}

#[test]
fn the_most_detailed_log_contains_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("log"), "trace-token-0123456789abcdef");
    let mut server = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .current_dir(folder.path())
        .env_clear()
        .args(["serve", "--listen", "127.0.0.1:0", "--database-url", "sqlite://calls.db"])
        .args(["--log", "trace", "--tokens", &format!("reader:READ:{token}")])
        .stderr(std::fs::File::create(&path).unwrap())
        .spawn()
        .unwrap();
    let log = || std::fs::read_to_string(&path).unwrap();
    let started = Instant::now();
    let port: u16 = loop {
        let log = log();
        let port = log.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
        if let Some(port) = port.and_then(|port| port.parse().ok()) {
            break port;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{log}");
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let upgrade = "GET /graphql/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).unwrap();
    until(&mut stream, "\r\n\r\n");
    let init = format!(r#"{{"type":"connection_init","payload":{{"token":"{token}"}}}}"#);
    // A text frame of up to 125 bytes with a mask of zeros.
    let head = [0x81, 0x80 | u8::try_from(init.len()).unwrap(), 0, 0, 0, 0];
    stream.write_all(&[&head[..], init.as_bytes()].concat()).unwrap();
    until(&mut stream, "connection_ack");
    let stopped = Command::new("kill").args(["-s", "TERM", &server.id().to_string()]).status();
    assert!(stopped.unwrap().success() && server.wait().unwrap().success());
    let log = log();
    assert!(log.contains(r#""level":"DEBUG""#) && log.contains("/graphql/ws"), "{log}");
    assert!(!log.contains(token), "{log}");
}

/// Reads until the server has sent `text`.
fn until(stream: &mut TcpStream, text: &str) {
    let (mut received, mut part) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&received).contains(text) {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&part[..read]);
    }
}

#[test]
fn a_text_is_classified() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .env_clear()
        .args(["classify", "--status", "429"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let text = b"Rate limit reached on requests per day (RPD): Limit 50, Used 50, Requested 1. Please try again in 8.5s.";
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        found,
        serde_json::json!({
            "class": "QUOTA_DAY",
            "remedy": "WAIT",
            "rule": "quota-day",
            "quotas": [{
                "id": null, "metric": "REQUESTS", "model": null, "windowSeconds": 86400,
                "limit": 50, "used": 50, "requested": 1,
            }],
            "retry": { "afterSeconds": 8.5 },
            "project": null,
        })
    );
}
