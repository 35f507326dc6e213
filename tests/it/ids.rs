//! The security requirements and the tests that name them: docs/security-requirements.md against the sources. A
//! reviewer judges whether a test shows what its name claims. The tests that docs/reliability.md names exist, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each requirement with the reason why no test shows it; empty if a test does.
fn required() -> BTreeMap<String, String> {
    let table = fs::read_to_string(repository().join("docs/security-requirements.md")).expect("the table");
    let row = Regex::new(r"(?m)^\| ([A-Z][0-9]+) \| [^|]+ \| ([^|]*)\|$").expect("a pattern");
    let mut found = BTreeMap::new();
    for row in row.captures_iter(&table) {
        let twice = found.insert(row[1].to_owned(), row[2].trim().to_owned());
        assert_eq!(twice, None, "{} is listed twice", &row[1]);
    }
    found
}

/// The compiled sources: a file outside every module contains no tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The ids at the beginning of a test's name: `sec_n3_n4_…`, `sec_x10_to_x19_…`.
fn ids(name: &str) -> BTreeSet<String> {
    let id = Regex::new("^([a-z])([0-9]+)$").expect("a pattern");
    let (mut found, mut last, mut to) = (BTreeSet::new(), None, false);
    for word in name.trim_start_matches("sec_").split('_') {
        if word == "to" && last.is_some() {
            to = true;
            continue;
        }
        let Some(parts) = id.captures(word) else { break };
        let (letter, number): (String, u32) = (parts[1].to_uppercase(), parts[2].parse().expect("a number"));
        let from = last.take().filter(|_| to).map_or(number, |(of, from): (String, u32)| {
            assert_eq!(of, letter, "{name}");
            from
        });
        found.extend((from..=number).map(|number| format!("{letter}{number}")));
        (last, to) = (Some((letter, number)), false);
    }
    found
}

/// The tests that name requirements, of all crates.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "crd", "operator", "tests"] {
        sources(&repository().join(folder), &mut files);
    }
    // The attribute, perhaps others, and the function; in property tests the arguments follow.
    let test =
        Regex::new(r"#\[(?:tokio::)?test(?:\([^\]]*\))?\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (sec_[a-z0-9_]+)\(");
    let test = test.expect("a pattern");
    // A macro that makes a test from each of its rows.
    let row = Regex::new("(?m)^    (sec_[a-z0-9_]+): \"").expect("a pattern");
    let mut found = BTreeMap::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a source");
        for name in test.captures_iter(&source).chain(row.captures_iter(&source)) {
            found.insert(name[1].to_owned(), ids(&name[1]));
        }
    }
    found
}

#[test]
fn each_requirement_has_a_test_that_names_it() {
    let (required, tests) = (required(), tests());
    assert!(required.len() > 150, "the table is read: {}", required.len());
    let named: BTreeSet<&String> = tests.values().flatten().collect();
    let mut wrong = Vec::new();
    for (id, reason) in &required {
        match (named.contains(id), reason.is_empty()) {
            (false, true) => wrong.push(format!("{id} has no test")),
            (true, false) => wrong.push(format!("{id} has a test, and the table says that it is not shown")),
            _ => {}
        }
    }
    for (name, ids) in &tests {
        let unknown = ids.iter().filter(|id| !required.contains_key(*id));
        wrong.extend(unknown.map(|id| format!("{name} names {id}, which is not in the table")));
        if ids.is_empty() {
            wrong.push(format!("{name} names no requirement"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of tests stand between backticks in the last column of the tables.
#[test]
fn each_test_that_the_promises_name_exists() {
    let text = fs::read_to_string(repository().join("docs/reliability.md")).expect("the promises");
    let name = Regex::new("`([a-z0-9]+(?:_[a-z0-9]+){3,})`").expect("a pattern");
    let mut files = Vec::new();
    for folder in ["operator", "tests"] {
        sources(&repository().join(folder), &mut files);
    }
    let sources: String = files.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let named: BTreeSet<&str> = name.captures_iter(&text).map(|name| name.get(1).expect("a name").as_str()).collect();
    assert!(named.len() > 30, "the tables are read: {}", named.len());
    let gone: Vec<_> = named.into_iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

#[test]
fn ids_are_read_from_the_beginning_of_a_name() {
    let read = |name| ids(name).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(read("sec_n3_n4_addresses_of_c7_are_refused"), "N3 N4");
    assert_eq!(read("sec_x10_to_x12_values"), "X10 X11 X12");
    assert_eq!(read("sec_nothing"), "");
}

#[tokio::test]
async fn sec_s1_c3_the_graph_has_one_http_one_tls_and_nothing_that_starts_a_process() {
    let graph = tokio::task::spawn_blocking(|| Command::new(repository().join(".ci/graph")).output());
    let graph = graph.await.expect("no panic").expect("the check can be started");
    let told = format!("{}{}", String::from_utf8_lossy(&graph.stdout), String::from_utf8_lossy(&graph.stderr));
    assert!(graph.status.success(), "{told}");
    for line in ["OK    aws-config without credentials-process", "OK    aws-config without sso", "OK    no second TLS"]
    {
        assert!(told.contains(line), "{told}");
    }
    let deny = fs::read_to_string(repository().join("deny.toml")).expect("deny.toml");
    for banned in ["openssl-sys", "native-tls", "tokio-tar", "credentials-process"] {
        assert!(deny.contains(&format!("\"{banned}\"")), "deny.toml bans {banned}");
    }
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).expect("Cargo.toml");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    for member in
        ["crates/archive", "crates/format", "crates/redact", "crates/redact-check", "crd", "operator", "tests"]
    {
        let manifest = fs::read_to_string(repository().join(member).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member} is built with them");
    }
}
