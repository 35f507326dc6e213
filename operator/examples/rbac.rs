//! Regenerates the shipped roles, the admission policies and the documentation's tables from the code (`cargo rbac`),
//! without a cluster.

use std::{fs, path::Path, process::ExitCode};

use debugbundle_operator::access::{
    admission,
    shipped::{PAGE, documented, role_files},
};

fn main() -> ExitCode {
    match write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("rbac: {message}");
            ExitCode::FAILURE
        }
    }
}

fn write(root: &Path) -> Result<(), String> {
    let page = fs::read_to_string(root.join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let documented = (PAGE.to_owned(), documented(&page)?);
    for (path, text) in role_files().into_iter().chain(admission::files()).chain([documented]) {
        fs::write(root.join(&path), text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}
