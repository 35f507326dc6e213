//! A credentials file of Azure: lines `NAME=value`, as godotenv reads them for Velero, without its `$` expansion. Nothing
//! in it is executed or followed.

use std::collections::BTreeMap;

use debugbundle_redact::Secret;

/// The values by their names; of two with the same name the last. `from` says where the text is from.
///
/// # Errors
/// A sentence with the number of the line that is none; it has no part of the text, which is secret.
pub(super) fn parse(text: &str, from: &str) -> Result<BTreeMap<String, Secret>, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("{from}: line {} {what}", index + 1);
        let assignment = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = assignment.split_once(['=', ':']).ok_or_else(|| wrong("is not NAME=value"))?;
        let (name, value) = (name.trim(), value.trim());
        let sound = |letter: char| letter.is_ascii_alphanumeric() || "_.".contains(letter);
        if name.is_empty() || !name.chars().all(sound) {
            return Err(wrong("is not NAME=value"));
        }
        let value = match value.chars().next().filter(|first| "'\"".contains(*first)) {
            None => Secret::new(value.split(" #").next().unwrap_or_default().trim_end()),
            Some(quote) => {
                // A certificate may have many lines.
                let mut whole = Secret::new(&value[1..]);
                loop {
                    if let Some((inside, _)) = whole.expose().split_once(quote) {
                        break Secret::new(inside);
                    }
                    let (_, more) = lines.next().ok_or_else(|| wrong("begins a quoted value that does not end"))?;
                    whole = Secret::new(format!("{}\n{more}", whole.expose()));
                }
            }
        };
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_velero_reads_are_read() {
        let text = "# a comment\n\nAZURE_CLOUD_NAME=AzurePublicCloud\nexport A='x=1 # no comment'\r\nB = \"two\nlines\" # end\n\
                    C: yaml==\nD=plain # comment\nD=later==\nE=\n";
        let found = parse(text, "Secret a/b").expect("valid");
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(
            found,
            [
                ("A", "x=1 # no comment"),
                ("AZURE_CLOUD_NAME", "AzurePublicCloud"),
                ("B", "two\nlines"),
                ("C", "yaml=="),
                ("D", "later=="),
                ("E", ""),
            ]
        );
    }

    #[test]
    fn sec_c8_a_line_that_is_wrong_is_named_by_its_number_alone() {
        for (text, expected) in [
            ("A=1\nhunter2", "Secret a/b: line 2 is not NAME=value"),
            ("hunter2 hunter3=x", "Secret a/b: line 1 is not NAME=value"),
            ("A=1\n\nB=\"hunter2\nhunter3", "Secret a/b: line 3 begins a quoted value that does not end"),
        ] {
            assert_eq!(parse(text, "Secret a/b").expect_err(text), expected);
        }
    }
}
