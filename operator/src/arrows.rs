//! Tests the order of the top-level modules: no two of them use each other, not even by way of others, and the table in
//! `lib.rs` names each of them. No two public types of the workspace share a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// For each module, the modules that it uses, each with the files that contain the use.
type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below `dir`, relative to `src`.
fn files(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// The path of a file's module, from the crate's root.
fn module(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').collect()
}

/// The text without comments and test code, and the modules that it declares for tests only. Relies on rustfmt: an item
/// ends at the first closing brace with its own indentation.
fn code(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut tests) = (String::new(), Vec::new());
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept += line;
            kept.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some(item) = lines.find(|line| !line.trim_start().starts_with("#[")) else { break };
        if let Some((_, name)) = item.trim_end_matches(';').split_once("mod ").filter(|_| item.ends_with(';')) {
            tests.push(name.to_owned());
        } else if item.ends_with('{') {
            lines.find(|line| line.strip_prefix(indent) == Some("}"));
        }
    }
    (kept, tests)
}

/// The first names of the paths after `crate::` and after as many `super::` as lead to the crate's root.
fn used(code: &str, depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for start in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                continue;
            }
            names.extend(first_names(&code[at + start.len()..]));
        }
    }
    names
}

/// The name at the beginning, or in `{a::b, c}` those at the beginning of each part.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut open, mut from) = (Vec::new(), 1, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 || (open == 1 && c == ',') {
            names.push(name(&group[from..at]));
            from = at + 1;
        }
        if open == 0 {
            break;
        }
    }
    names
}

fn graph() -> Graph {
    let mut all = Vec::new();
    files(&root(), &mut all);
    all.retain(|file| !file.starts_with("bin/") && file != "lib.rs");
    let read: BTreeMap<&str, (String, Vec<String>)> =
        all.iter().map(|file| (file.as_str(), code(&read(&root().join(file))))).collect();
    let modules: BTreeSet<&str> = read.keys().map(|file| module(file)[0]).collect();
    let is_test = |file: &str| {
        let path = module(file);
        path == ["arrows"]
            || (1..path.len()).any(|depth| {
                let parent = read.iter().find(|(file, _)| module(file) == path[..depth]);
                parent.is_some_and(|(_, (_, tests))| tests.iter().any(|name| name == path[depth]))
            })
    };
    let mut graph = Graph::new();
    for (file, (code, _)) in read.iter().filter(|(file, _)| !is_test(file)) {
        let path = module(file);
        for name in used(code, path.len()) {
            if name != path[0] && modules.contains(name.as_str()) {
                let uses = graph.entry(path[0].to_owned()).or_default();
                uses.entry(name).or_default().insert((*file).to_owned());
            }
        }
    }
    graph
}

/// Everything that a module uses, by way of others, too.
fn reached<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a str> {
    let mut all = BTreeSet::new();
    let mut next: Vec<&str> = graph.get(from).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    while let Some(name) = next.pop() {
        if all.insert(name) {
            next.extend(graph.get(name).into_iter().flatten().map(|(name, _)| name.as_str()));
        }
    }
    all
}

/// One line for each group of modules that use each other.
fn cycles(graph: &Graph) -> Vec<String> {
    let mut groups: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    for from in graph.keys() {
        let group: BTreeSet<&str> =
            reached(graph, from).into_iter().filter(|to| reached(graph, to).contains(from.as_str())).collect();
        groups.extend((group.len() > 1).then_some(group));
    }
    let mut told = Vec::new();
    for group in groups {
        let mut uses = Vec::new();
        for (from, to) in group.iter().flat_map(|from| graph[*from].iter().map(move |to| (from, to))) {
            if group.contains(to.0.as_str()) {
                let files: Vec<&str> = to.1.iter().map(String::as_str).collect();
                uses.push(format!("`{from}` uses `{}` ({})", to.0, files.join(", ")));
            }
        }
        told.push(uses.join(" and "));
    }
    told
}

fn edges(list: &[(&str, &str)]) -> Graph {
    let mut graph = Graph::new();
    for (from, to) in list {
        let uses = graph.entry((*from).to_owned()).or_default();
        uses.entry((*to).to_owned()).or_default().insert(format!("{from}.rs"));
    }
    graph
}

#[test]
fn no_two_modules_use_each_other() {
    let graph = graph();
    assert!(graph["controller"].contains_key("run"), "the walk finds the uses: {graph:?}");
    let cycles = cycles(&graph);
    assert!(cycles.is_empty(), "{}", cycles.join("\n"));
}

#[test]
fn the_table_names_each_module_once() {
    let text = read(&root().join("lib.rs"));
    let declared: BTreeSet<&str> = text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let rows = text.lines().filter_map(|line| Some(line.strip_prefix("//! | [`")?.split_once("`]")?.0));
    let rows: Vec<&str> = rows.filter(|name| !name.starts_with("debugbundle_")).collect();
    assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), declared);
    assert_eq!(rows.len(), declared.len(), "a module has two rows");
}

#[test]
fn uses_are_found_in_code_and_in_no_test_or_comment() {
    let text = "// crate::a\nuse crate::{b::c, d::{e, f}, g};\nlet x = crate::h::y();\nuse super::super::i;\nuse super::j;\n\
        #[cfg(test)]\nmod k;\n#[cfg(test)]\nmod tests {\n    use crate::l;\n}\nuse my_crate::m;\n";
    let (code, tests) = code(text);
    assert_eq!(used(&code, 2).into_iter().collect::<Vec<_>>(), ["b", "d", "g", "h", "i"]);
    assert_eq!(tests, ["k"]);
}

#[test]
fn a_tie_is_named_with_its_files_and_so_is_a_longer_cycle() {
    let told = cycles(&edges(&[("location", "store"), ("store", "location"), ("run", "store")]));
    assert_eq!(told, ["`location` uses `store` (location.rs) and `store` uses `location` (store.rs)"]);
    let told = cycles(&edges(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]));
    assert_eq!(told, ["`a` uses `b` (a.rs) and `b` uses `c` (b.rs) and `c` uses `a` (c.rs)"]);
}

#[test]
fn no_two_public_types_have_the_same_name() {
    let workspace = root().join("../..");
    let folders = ["operator/src", "crd/src"].map(|folder| workspace.join(folder));
    let crates = fs::read_dir(workspace.join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in folders.into_iter().chain(crates).flat_map(|folder| rust_files(&folder)) {
        for line in code(&read(&file)).0.lines() {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type ", "pub union "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            places.entry(name).or_default().push(file.clone());
        }
    }
    assert!(places.contains_key("DebugBundleSpec") && places.contains_key("Step"), "{:?}", places.keys());
    let shared: Vec<_> = places.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(shared.is_empty(), "{shared:#?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).filter(is_rust).collect()
}
