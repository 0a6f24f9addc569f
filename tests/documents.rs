//! The documents keep up with the tree: every file, module, item and test that they name exists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::Path;

/// Names with the form of a path that belong to users, or that a build creates.
const ELSEWHERE: [&str; 3] = ["queries.graphql", "target/", "gen/"];

/// Names of other libraries, and the heading of a column.
const FOREIGN: [&str; 4] = ["Utc::now", "innerHTML", "module::test", "serde_json::Value"];

/// The documents about the source, where each name is one of the tree.
const DEVELOPERS: [&str; 5] = [
    "CONTRIBUTING.md",
    "docs/ARCHITECTURE.md",
    "docs/RELIABILITY.md",
    "docs/SECURITY.md",
    "docs/WEB.md",
];

/// Every file and folder of the repository, relative to its root.
struct Tree(BTreeSet<String>);

impl Tree {
    fn read() -> Self {
        let mut found = BTreeSet::new();
        add_entries(Path::new(""), &mut found);
        Self(found)
    }

    /// The entries that `name` names: a path from the root, or the end of one.
    fn entries(&self, name: &str) -> impl Iterator<Item = &String> {
        let end = format!("/{name}");
        self.0.iter().filter(move |path| **path == end[1..] || path.ends_with(&end))
    }

    fn has(&self, name: &str) -> bool {
        // Of a pattern, the part before the first wildcard.
        let name = name.split('*').next().unwrap_or_default().trim_end_matches('/');
        name.is_empty() || self.entries(name).next().is_some()
    }

    /// Whether the file `place`, or a file of the module or type `place`, defines `item`.
    fn defines(&self, place: &str, item: &str) -> bool {
        let defines = |source: &str, item: &str| {
            let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
            kinds.iter().any(|kind| {
                source.match_indices(&format!("{kind} {item}")).any(|(at, text)| {
                    let next = source[at + text.len()..].chars().next();
                    !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
                })
            })
        };
        let is_type = place.starts_with(char::is_uppercase);
        let sources = self.0.iter().filter(|path| path.ends_with(".rs")).filter(|path| {
            is_type
                || path.ends_with(place)
                || path.split(['/', '.']).any(|segment| segment == place)
        });
        sources.map(|path| read(path)).any(|source| {
            defines(&source, item) && (!is_type || source.contains(&format!("impl {place}")))
        })
    }
}

fn add_entries(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in root().join(folder).read_dir().unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if [".git", "target", "node_modules"].iter().any(|left_out| path.ends_with(left_out)) {
            continue;
        }
        found.insert(path.to_str().unwrap().to_owned());
        if entry.file_type().unwrap().is_dir() {
            add_entries(&path, found);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    read_to_string(root().join(path)).unwrap()
}

/// The documents for users and developers, by path; decisions and the changelog keep old names.
fn documents() -> Vec<(String, String)> {
    let folder = root().join("docs").read_dir().unwrap();
    let names = folder.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    let names = names.filter(|name| name.ends_with(".md"));
    let all = ["README.md", "CONTRIBUTING.md"].map(str::to_owned).into_iter().chain(names);
    all.map(|name| (read(&name), name)).map(|(text, name)| (name, text)).collect()
}

/// The texts in back-quotes, outside of fenced blocks.
fn quoted(markdown: &str) -> Vec<&str> {
    let prose = markdown.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// The blocks without a language: trees of folders and lists of modules.
fn plain_blocks(markdown: &str) -> Vec<&str> {
    let blocks = markdown.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix('\n')).collect()
}

fn is_path(name: &str) -> bool {
    let plain = |name: char| name.is_ascii_alphanumeric() || "/._-*".contains(name);
    let ends = [".rs", ".ts", ".tsx", ".mjs", ".css", ".c", ".md", ".graphql", ".sh"];
    let is_media_type = ["application/", "text/", "image/"].iter().any(|at| name.starts_with(at));
    let is_file = ends.iter().any(|end| name.len() > end.len() && name.ends_with(end));
    name.chars().all(plain)
        && !name.starts_with('/')
        && !is_media_type
        && (name.contains('/') || is_file)
        && !ELSEWHERE.iter().any(|elsewhere| name.starts_with(elsewhere))
}

/// Fails with all names that do not exist.
fn assert_none(missing: &[String]) {
    assert!(missing.is_empty(), "named, but not in the tree:\n{}", missing.join("\n"));
}

#[test]
fn named_files_exist() {
    let tree = Tree::read();
    let mut missing = vec![];
    for (document, text) in documents() {
        let words = plain_blocks(&text).into_iter().flat_map(str::split_whitespace);
        let words = words.map(|word| word.trim_matches([',', ';', '(', ')']));
        // Of prose in a block, only files and folders: a slash may also mean "or".
        let words = words.filter(|word| word.ends_with(".rs") || word.ends_with('/'));
        let names = quoted(&text).into_iter().chain(words).filter(|name| is_path(name));
        missing
            .extend(names.filter(|name| !tree.has(name)).map(|name| format!("{document}: {name}")));
    }
    assert_none(&missing);
}

#[test]
fn named_items_and_tests_exist() {
    let tree = Tree::read();
    let mut missing = vec![];
    for (document, text) in documents() {
        for name in quoted(&text).into_iter().filter(|name| !FOREIGN.contains(name)) {
            let is_path = |name: char| name.is_ascii_alphanumeric() || "_/.:".contains(name);
            if let Some((place, item)) = name.rsplit_once("::")
                && name.chars().all(is_path)
                && !tree.defines(place, item)
            {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert_none(&missing);
}

#[test]
fn named_identifiers_exist() {
    let tree = Tree::read();
    let ends = [".rs", ".graphql", ".ts", ".tsx", ".toml"];
    let sources = tree.0.iter().filter(|path| ends.iter().any(|end| path.ends_with(end)));
    let sources: Vec<String> = sources.map(|path| read(path)).collect();
    let is_part = |part: char| part.is_ascii_alphanumeric() || part == '_';
    let words: BTreeSet<&str> =
        sources.iter().flat_map(|text| text.split(|c| !is_part(c))).collect();
    let mut missing = vec![];
    for document in DEVELOPERS {
        let text = read(document);
        let names = quoted(&text).into_iter().filter(|name| name.chars().all(is_part));
        let names = names.filter(|name| {
            name.contains(char::is_lowercase) && !words.contains(name) && !FOREIGN.contains(name)
        });
        missing.extend(names.map(|name| format!("{document}: {name}")));
    }
    assert_none(&missing);
}

#[test]
fn layers_are_the_modules() {
    let text = read("docs/ARCHITECTURE.md");
    let lines = text.lines().filter(|line| line.starts_with("    ") && line.contains([',', '→']));
    let names = lines.flat_map(|line| line.split(['→', ','])).map(str::trim);
    let layers: BTreeSet<String> =
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let modules = std::fs::read_dir(root().join("src")).expect("src");
    let modules = modules.map(|file| file.expect("a file").path().with_extension(""));
    let modules = modules.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let modules: BTreeSet<String> = modules.filter(|name| name != "lib").collect();
    assert_eq!(layers, modules);
}

#[test]
fn linked_files_and_decisions_exist() {
    let tree = Tree::read();
    let mut missing = vec![];
    for (document, text) in documents() {
        let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let target = root().join(folder).join(link);
            if !link.contains("://") && !target.exists() {
                missing.push(format!("{document}: {link}"));
            }
        }
    }
    let sources = tree.0.iter().filter(|path| path.ends_with(".rs") || path.ends_with(".md"));
    for (path, text) in sources.map(|path| (path, read(path))) {
        for (at, start) in text.match_indices("docs/adr/") {
            let number = text[at + start.len()..].get(..4).unwrap_or_default();
            let decision = format!("docs/adr/{number}-");
            if number.bytes().all(|byte| byte.is_ascii_digit())
                && !tree.0.iter().any(|path| path.starts_with(&decision))
            {
                missing.push(format!("{path}: docs/adr/{number}"));
            }
        }
    }
    assert_none(&missing);
}

#[test]
fn every_threat_has_a_test() {
    let text = read("docs/SECURITY.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.matches('|').count() == 4).collect();
    let threats = text[text.find("## Threats").unwrap()..].lines();
    let threats = threats.filter(|line| line.starts_with("| ") && rows.contains(line));
    let mut tests = 0;
    for row in threats.filter(|row| !row.starts_with("| threat ")) {
        let named = row.rsplit('|').nth(1).unwrap();
        assert!(named.contains('`') || named.contains("the run of all"), "no test: {row}");
        for name in named.split('`').skip(1).step_by(2) {
            // `module::test`, a file, or a test of the file before it.
            if let Some((module, test)) = name.split_once("::") {
                let source = read(&format!("tests/api/{module}.rs"));
                assert!(source.contains(&format!("async fn {test}(")), "{name} does not exist");
                tests += 1;
            } else if name.contains(['/', '.']) {
                let path = name.split_whitespace().next().unwrap();
                assert!(root().join(path).exists(), "{name} does not exist");
            }
        }
    }
    assert!(tests > 60, "{tests}");
}
