//! What an entry keeps, and who sees it.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use debugbundle_redact::{Secret, UserRules};

use super::*;

/// With the value `the-known-value`, and these rules of a user.
fn redactor(rules: &[&str]) -> Arc<Redactor> {
    let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    Arc::new(Redactor::new(&rules, vec![("location-key", Secret::new("the-known-value"))]).expect("good rules"))
}

#[test]
fn sec_x6_observers_see_redacted_lines() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 20).expect("a spool");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&seen);
    let by = redactor(&[]);
    let mut writer = EntryWriter::new(BundlePath::new(["x"]), by, spool).observed(Box::new(move |line| {
        to.lock().expect("alive").push(String::from_utf8_lossy(line).into_owned());
    }));
    writer.write_all(b"one\ntwo the-known-").expect("room");
    writer.write_all(b"value\nthree").expect("room");
    writer.finish().expect("room");
    let seen = seen.lock().expect("alive");
    assert_eq!((seen.len(), seen[0].as_str(), seen[2].as_str()), (3, "one\n", "three"));
    assert!(seen[1].starts_with("two [REDACTED:location-key:"), "{}", seen[1]);
}

#[test]
fn issue_32_the_users_rules_have_their_time_for_all_files_and_a_file_that_they_did_not_get_through_fails() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let time = Duration::from_millis(50);
    let slow = UserRules::compiled(&vec!["(?:[a-z]+[ =]){3}[A-Z]{9}".to_owned(); 8]).expect("rules").for_time(time);
    let by = Arc::new(Redactor::of_known(Vec::new()).with(slow));
    let line = "level=info msg is that all is well with it\n";
    let file = || {
        let mut writer = EntryWriter::new(BundlePath::new(["x"]), Arc::clone(&by), Arc::clone(&spool));
        let written = (0..50).try_for_each(|_| writer.write_all(line.as_bytes()));
        written.and_then(|()| writer.finish())
    };
    let mut whole = 0;
    let why = loop {
        match file() {
            Ok(_) => assert!(!by.rules_are_over(), "the rules did not get through a file that is whole"),
            Err(why) => break why,
        }
        whole += 1;
    };
    println!("{whole} files before the rules had used {:?}", by.time_of_rules());
    assert!(whole > 0 && by.time_of_rules() >= time, "{whole} files, each took less: {:?}", by.time_of_rules());
    assert!(
        RulesOver::is(&why) && why.to_string().starts_with("redaction.rules had used all of their CPU time"),
        "{why}"
    );
    assert!(RulesOver::is(&file().expect_err("no time is left for a further file")));
}

#[test]
fn sec_x6_a_path_is_cleaned_too_but_not_our_own_names() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 20).expect("a spool");
    let path = BundlePath::new(["namespaces", "acme-prod", "core", "pods.yaml"]);
    let segment = EntryWriter::new(path, redactor(&["acme", "namespaces"]), spool).finish().expect("room");
    let path = segment.path().as_str();
    assert!(path.starts_with("namespaces/redacted-") && path.ends_with("/core/pods.yaml"), "{path}");
}

#[test]
fn sec_x42_head_and_tail_are_whole_lines() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let by = redactor(&[]);
    let mut writer = EntryWriter::new(BundlePath::new(["x"]), by, spool).limited(100_000);
    let line = |n: usize| format!("line {n} {} the-known-value end\n", "x".repeat(n % 91));
    for n in 0..9000 {
        writer.write_all(line(n).as_bytes()).expect("room");
    }
    let mut out = String::new();
    writer.finish().expect("room").reader().expect("there").read_to_string(&mut out).expect("text");
    let (markers, lines): (Vec<&str>, Vec<&str>) = out.lines().partition(|line| line.contains("left out here"));
    assert!(markers.len() == 1 && lines.len() > 500, "{} and {}", markers.len(), lines.len());
    assert!(lines.iter().all(|line| line.starts_with("line ") && line.ends_with("] end")), "a line was cut");
    assert!(!out.contains("the-known"));
}
