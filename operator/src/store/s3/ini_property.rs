//! What holds of the reader of credentials files for any input. The tests feed it noise and the corpus in
//! `crates/redact/fuzz`; a program there feeds it the inputs of a coverage-guided fuzzer.

use super::ini::{self, Identity};

const ID: &str = "AKID0PLANTED0BY0TEST";
const KEY: &str = "planted+key/of0the0test0which0nobody0uses";
/// Texts that confuse readers of sections, keys and comments.
const DICTIONARY: &[&str] = &[
    "[",
    "]",
    "[default]",
    "=",
    " = ",
    "#",
    ";",
    "\"",
    "'",
    "\\",
    "\t",
    "\0",
    "aws_",
    "role_arn",
    "profile ",
    "\u{feff}",
    "é",
    "aws_secret_access_key",
    "${",
    "|",
    "null",
    "0",
];

/// Reads an input as choices; at its end all choices are 0.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first) % bound
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    /// Bytes of the input.
    fn noise(&mut self) -> String {
        let length = self.below(40).min(self.0.len());
        let (noise, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(noise).into_owned()
    }

    /// Lines that are not ours.
    fn others(&mut self, file: &mut String) {
        for _ in 0..self.below(3) {
            *file += self.pick(&["[other]\n", "[ profile ops ]\r\n", "# ", "[default2]\n", "\n", ";"]);
            for _ in 0..self.below(3) {
                let text = if self.below(3) == 0 { self.noise() } else { self.pick(DICTIONARY).to_owned() };
                *file += &text.replace(['[', '\n', '\r'], " ");
            }
            file.push('\n');
        }
    }
}

/// The key of the requested profile is read as written, whatever else the file contains; neither an error nor the
/// profile's debug output contains a value.
///
/// # Panics
/// It does not hold of this input.
pub fn credentials(input: &[u8]) {
    // The raw bytes first: no input may end the process.
    let raw = String::from_utf8_lossy(input);
    let _ = ini::profile(&raw, "default", "Secret x/y").map_err(|why| assert!(why.len() < 4096, "{why}"));
    let mut choices = Choices(input);
    let mut file = String::new();
    choices.others(&mut file);
    let section = choices.pick(&["[default]", "[ default ] # ours", "[profile default]"]);
    let equal = choices.pick(&["=", " = ", "\t=  "]);
    let end = choices.pick(&["\n", "\r\n", " \n", " # a comment\n"]);
    let profile = format!("{section}\naws_access_key_id{equal}{ID}{end}aws_secret_access_key{equal}{KEY}{end}");
    file.push_str(&profile);
    let ours = file.len();
    choices.others(&mut file);
    // The text behind our keys, up to the next section, belongs to the profile too and may be refused, but never shown.
    match ini::profile(&file, "default", "Secret x/y") {
        Ok(profile) => {
            assert!(!format!("{profile:?}").contains(KEY), "{file:?}");
            if !file[ours..].contains("aws_") && !file[ours..].contains("role_arn") {
                let read = match &profile.identity {
                    Identity::Keys { access_key_id, secret_access_key, .. } => {
                        (access_key_id.as_str(), secret_access_key.expose())
                    }
                    Identity::WebIdentity { .. } => ("", ""),
                };
                assert_eq!(read, (ID, KEY), "{file:?}");
            }
        }
        Err(why) => assert!(!why.contains(KEY) && !why.contains(ID), "{file:?}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    #[test]
    fn sec_c4_c8_x62_no_key_comes_out_of_what_a_fuzzer_makes_of_a_credentials_file() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/redact/fuzz/corpus/credentials");
        let files: Vec<_> =
            std::fs::read_dir(&corpus).expect("the corpus").map(|file| file.expect("a file").path()).collect();
        assert!(files.len() >= 20, "{} has {} inputs", corpus.display(), files.len());
        for file in files {
            super::credentials(&std::fs::read(&file).expect("an input"));
        }
    }

    proptest! {
        #[test]
        fn sec_c4_c8_x62_no_key_comes_out_of_noise_around_a_profile(input in prop::collection::vec(any::<u8>(), 0..120)) {
            super::credentials(&input);
        }
    }
}
