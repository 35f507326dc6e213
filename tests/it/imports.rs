//! The order of the tests themselves: what several modules use is in `support`, and no test module imports from another.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the tests").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn no_test_module_imports_from_another_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("it");
    let mut wrong = Vec::new();
    for path in sources(&folder).iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let within = path.strip_prefix(&folder).expect("below the folder");
        if within.starts_with("support") || within.ends_with(file!().rsplit('/').next().expect("a name")) {
            continue;
        }
        let text = fs::read_to_string(path).expect("a source file");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let imports = |from: &str| line.matches(from).count();
            if imports("super::") > 0 || imports("crate::") > imports("crate::support::") {
                wrong.push(format!("{}:{}: {}", within.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "only `crate::support` is shared:\n{}", wrong.join("\n"));
}
