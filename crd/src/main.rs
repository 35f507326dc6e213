//! Prints the CustomResourceDefinition, or writes it to the given path.

use std::process::ExitCode;

fn main() -> ExitCode {
    let yaml = debugbundle_crd::crd_yaml();
    match std::env::args().nth(1) {
        None => print!("{yaml}"),
        Some(path) => {
            if let Err(error) = std::fs::write(&path, yaml) {
                eprintln!("cannot write {path}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
