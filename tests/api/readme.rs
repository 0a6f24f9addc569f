//! Claims of the README: its responses are the server's, and its table lists every setting.

use callscope::config::Secret;
use serde_json::Value;

use super::support::{Kind, TestApp, TestDatabase};
use crate::data::gateway_database;
use crate::tests;

tests! {
    readme_queries_return_the_shown_responses.only(&[Kind::Sqlite]),
    readme_table_lists_every_setting.only(&[Kind::Sqlite]),
}

async fn readme_queries_return_the_shown_responses(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("real.sqlite");
    std::fs::write(&file, gateway_database()).unwrap();
    let app = TestApp::start_with(&database, |config| {
        config.database.database_url = Secret::new(format!("sqlite://{}", file.display()));
        config.database.id_key = Some(Secret::new("the README's own secret"));
    })
    .await;
    let readme = readme();
    let (queries, answers) = (blocks(&readme, "graphql"), blocks(&readme, "json"));
    assert_eq!((queries.len(), answers.len()), (5, 5));
    for (query, answer) in queries.into_iter().zip(answers) {
        let response = app.graphql(query).await;
        let expected: Value = serde_json::from_str(answer)
            .unwrap_or_else(|_| panic!("no answer of\n{query}\nwhich is\n{response:#}"));
        assert_eq!(response, expected, "{query}");
    }
}

async fn readme_table_lists_every_setting(_: TestDatabase) {
    let readme = readme();
    for command in ["serve", "demo"] {
        let binary = env!("CARGO_BIN_EXE_callscope");
        let help = std::process::Command::new(binary).args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let flags = help.split_whitespace().filter(|word| word.starts_with("--"));
        for flag in flags.filter(|flag| !["--help", "--version"].contains(flag)) {
            let flag = flag.trim_end_matches(|end: char| !end.is_ascii_lowercase());
            assert!(readme.contains(&format!("| `{flag}` |")), "{flag} is not in the table");
        }
    }
}

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// The fenced blocks of a language.
fn blocks<'a>(markdown: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}
