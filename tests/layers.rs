//! Checks the imports of `src/`: they go down the layers of docs/ARCHITECTURE.md, and no files import each
//! other in a cycle.
//!
//! A path in `crate::a::b::Item`, `super::b::Item` or `b::Item` (a child module) counts as an import of the
//! deepest file that it names. Paths in comments, texts and unit tests do not count. A child may import its
//! parents' `mod.rs`: they are one module.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Cycles that are left, each a part of one of these groups of files and folders. Add none.
const KNOWN_CYCLES: &[&[&str]] = &[
    // The types of the schema refer to each other: a call has a key, a key has calls.
    &["graphql/types/", "graphql/query/"],
    &["config/file.rs", "config/secret_file.rs"],
    &["domain/bucket.rs", "domain/window.rs"],
    &["graphql/args.rs", "graphql/loader/mod.rs", "graphql/scope.rs"],
    &["graphql/connection.rs", "graphql/edges.rs"],
    &["graphql/limit/"],
    &["store/audit.rs", "store/deletion_log.rs"],
    // A database migrates its schema through a connection of its own pool.
    &[
        "store/cancel.rs",
        "store/connect.rs",
        "store/connections.rs",
        "store/database.rs",
        "store/index_build.rs",
        "store/origin.rs",
        "store/replica.rs",
        "store/rows.rs",
        "store/schema.rs",
        "store/setting.rs",
        "store/transaction.rs",
    ],
];

/// The segments of a module's path, `["store", "call"]`.
type Module = Vec<String>;

/// The files of `src` and the imports of each.
struct Imports {
    files: BTreeMap<Module, PathBuf>,
    of: BTreeMap<Module, BTreeSet<Module>>,
}

#[test]
fn imports_go_down_only() {
    let layers = layers();
    let rank = |module: &Module| {
        let name = &module[0];
        let found = layers.iter().position(|layer| layer.contains(name));
        found.unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no layer for `{name}`"))
    };
    let imports = Imports::read();
    let mut wrong = Vec::new();
    for (from, to) in imports.edges().filter(|(from, to)| from[0] != to[0]) {
        let (upper, lower) = (rank(from), rank(to));
        // The modules of the lowest layer may import each other.
        if lower < upper || (lower == upper && lower + 1 < layers.len()) {
            wrong.push(format!("{} imports {}", imports.name(from), imports.name(to)));
        }
    }
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_cycle() {
    let imports = Imports::read();
    let cycles = imports.cycles();
    let is_known = |cycle: &BTreeSet<Module>| {
        KNOWN_CYCLES.iter().any(|group| {
            let in_group = |name: &str| group.iter().any(|prefix| name.starts_with(prefix));
            cycle.iter().all(|module| in_group(&imports.name(module)))
        })
    };
    let unknown = cycles.iter().filter(|cycle| !is_known(cycle));
    let texts: Vec<String> = unknown
        .map(|cycle| {
            let within =
                |edge: &(&Module, &Module)| cycle.contains(edge.0) && cycle.contains(edge.1);
            let edges = imports.edges().filter(within);
            let line = |(from, to)| format!("  {} -> {}\n", imports.name(from), imports.name(to));
            edges.map(line).collect()
        })
        .collect();
    assert!(texts.is_empty(), "import cycles:\n{}", texts.join("\n"));
}

/// The layers of docs/ARCHITECTURE.md, from the top: the indented lines from `main, cli →` on.
fn layers() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let start = text.find("    main, cli").expect("docs/ARCHITECTURE.md lists the layers");
    let block = text[start..].split("\n\n").next().unwrap().replace(['`', '\n'], " ");
    let names = |layer: &str| {
        layer
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    block.split('→').map(names).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Imports {
    fn read() -> Self {
        let src = root().join("src");
        let mut files = BTreeMap::new();
        find_files(&src, &mut files);
        let mut of = BTreeMap::new();
        for (module, path) in &files {
            let code = strip(&fs::read_to_string(path).unwrap());
            let targets =
                paths(&code).iter().filter_map(|path| resolve(&files, module, path)).collect();
            of.insert(module.clone(), targets);
        }
        Self { files, of }
    }

    fn edges(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.of.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)))
    }

    /// The path below `src`.
    fn name(&self, module: &Module) -> String {
        let path = self.files[module].strip_prefix(root().join("src")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The groups of files that reach each other.
    fn cycles(&self) -> BTreeSet<BTreeSet<Module>> {
        let reach: BTreeMap<&Module, BTreeSet<&Module>> =
            self.files.keys().map(|module| (module, self.reached(module))).collect();
        let cycle = |module: &Module| {
            let is_mutual = |other: &&&Module| reach[**other].contains(module);
            reach[module].iter().filter(is_mutual).map(|other| (*other).clone()).collect()
        };
        self.files.keys().filter(|module| reach[module].contains(module)).map(cycle).collect()
    }

    /// All files that a file imports, directly and through others.
    fn reached<'a>(&'a self, from: &'a Module) -> BTreeSet<&'a Module> {
        let (mut found, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(module) = open.pop() {
            open.extend(self.of[module].iter().filter(|target| found.insert(*target)));
        }
        found
    }
}

fn find_files(folder: &Path, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root().join("src")).unwrap().with_extension("");
            let mut module: Module =
                relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|name| name == "mod") {
                module.pop();
            }
            if module != ["lib"] {
                files.insert(module, path);
            }
        }
    }
}

/// The code without unit tests, comments and texts.
fn strip(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut stripped = String::new();
    let mut chars = code.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '/' if chars.peek() == Some(&'/') => {
                while chars.next_if(|char| *char != '\n').is_some() {}
            }
            '"' => {
                while let Some(char) = chars.next() {
                    match char {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            'r' if chars.peek() == Some(&'#') => {
                let rest: String = chars.clone().collect();
                let Some(end) = rest.strip_prefix("#\"").and_then(|text| text.find("\"#")) else {
                    continue;
                };
                chars.by_ref().take(end + 4).for_each(drop);
            }
            // A quote as a character would start a text.
            '\'' if chars.peek() == Some(&'"') => drop(chars.next()),
            _ => stripped.push(char),
        }
    }
    stripped
}

/// All paths of the code, `use` trees expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for char in code.chars() {
        if char.is_alphanumeric() || char == '_' {
            word.push(char);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if !char.is_whitespace() {
            tokens.push(char.to_string());
        }
    }
    let mut found = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        position = path(&tokens, position, &mut Vec::new(), &mut found).max(position + 1);
    }
    found
}

/// Reads one path or tree at `position`. Returns the position behind it.
fn path(
    tokens: &[String],
    mut position: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let is = |position: usize, text: &str| tokens.get(position).is_some_and(|token| token == text);
    let length = prefix.len();
    while tokens
        .get(position)
        .is_some_and(|token| token.starts_with(|c: char| c.is_alphabetic() || c == '_'))
    {
        prefix.push(tokens[position].clone());
        position += 1;
        if !(is(position, ":") && is(position + 1, ":")) {
            break;
        }
        position += 2;
        if is(position, "{") {
            while !is(position, "}") && position < tokens.len() {
                position = path(tokens, position + 1, prefix, found).max(position + 1);
                while !is(position, ",") && !is(position, "}") && position < tokens.len() {
                    position += 1;
                }
            }
            prefix.truncate(length);
            return position + 1;
        }
    }
    if prefix.len() > 1 {
        found.push(prefix.clone());
    }
    prefix.truncate(length);
    position
}

/// The deepest file that a path names; none for paths of other crates and of the file itself.
fn resolve(files: &BTreeMap<Module, PathBuf>, from: &Module, path: &[String]) -> Option<Module> {
    let (mut target, rest) = match path[0].as_str() {
        "crate" => (Module::new(), &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => {
            let up = path.iter().take_while(|segment| *segment == "super").count();
            (from[..from.len().checked_sub(up)?].to_vec(), &path[up..])
        }
        child => {
            let module: Module = from.iter().cloned().chain([child.to_owned()]).collect();
            files.contains_key(&module).then_some((from.clone(), path))?
        }
    };
    for segment in rest {
        let next: Module = target.iter().cloned().chain([segment.clone()]).collect();
        if !files.contains_key(&next) {
            break;
        }
        target = next;
    }
    let is_own = from.starts_with(&target);
    (!is_own && files.contains_key(&target)).then_some(target)
}
