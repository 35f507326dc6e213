//! Values on another line than their names, and keys whose lines are separate log lines; next to each, text that stays
//! byte for byte, since most lines do not depend on those above.

use super::{
    secrets::{self, Seed},
    *,
};

fn prefixed(text: &str, prefix: &str) -> String {
    text.lines().flat_map(|line| [prefix, line, "\n"]).collect()
}

const PREFIXES: [&str; 4] =
    ["", "    ", "2026-09-08T03:04:12.123456789Z ", "2026-09-08T03:04:12.123456789+02:00 stderr F "];

#[test]
fn sec_x11_x17_a_value_below_its_name_is_masked() {
    let by = redactor(&[], &[]);
    for v in ["hunter2", "Tr0ub4dor+3/xyz==", "a1-b2_c3.d4~e5f6g7h8"] {
        let pair = json!({ "env": [{ "name": "DB_PASSWORD", "value": v }, { "name": "HOST", "value": "db" }] });
        let array = json!({ "password": ["a1b2c3", v, "d4e5f6"], "host": "db" });
        let flag = json!({ "args": ["--verbose", "--password", v, "--host", "db"] });
        for text in [
            serde_json::to_string_pretty(&pair).expect("JSON"),
            serde_json::to_string_pretty(&array).expect("JSON"),
            serde_json::to_string_pretty(&flag).expect("JSON"),
            format!("env:\n- name: DB_PASSWORD\n  value: {v}\n- name: HOST\n  value: db"),
            format!("env:\n- name: DB_PASSWORD\n  value: \"{v}\"\n- name: HOST"),
            format!("env:\n- name: DB_PASSWORD\n  value: |\n    one\n    {v}\n- name: HOST"),
            format!("[[env]]\nname = \"DB_PASSWORD\"\nvalue = \"{v}\"\nhost = \"db\""),
            format!("password:\n  {v}\nhost: db"),
            format!("password:\n- first1\n- {v}\nhost: db"),
            format!("a:\n  password: |\n    first line\n\n    {v} and\n  host: db"),
            format!("a:\n- client_secret: >-\n    first line\n    {v} and\n  host: db"),
            format!("args:\n- --password\n- {v}\n- --host\n- db"),
        ] {
            for prefix in PREFIXES {
                let log = format!("{prefix}before\n{}{prefix}after\n", prefixed(&text, prefix));
                let out = by.text(&log);
                assert!(!out.contains(v), "{log} became {out}");
                assert_eq!(out.lines().count(), log.lines().count(), "{out}");
                let kept = if text.contains("db") { "db" } else { "HOST" };
                assert!(out.contains(kept) && out.ends_with(&format!("{prefix}after\n")), "{out}");
                assert_eq!(by.text(&out), out, "twice");
            }
            let out = by.text(&format!("data: {} and on", STANDARD.encode(&text)));
            assert!(out.starts_with("data: [REDACTED:") && out.ends_with("] and on"), "{text} became {out}");
            // The same in a string of a log line.
            let quoted = json!(format!("applied:\n{text}\n")).to_string();
            let line = format!("time=\"2026-09-08T03:04:12Z\" level=info msg={quoted} logSource=\"pkg/a.go:1\"");
            let out = by.text(&line);
            assert!(!out.contains(v) && out.ends_with("\" logSource=\"pkg/a.go:1\""), "{line} became {out}");
            assert_eq!(by.text(&out), out, "twice");
        }
    }
    let pretty = serde_json::to_string_pretty(&json!([{ "name": "DB_PASSWORD", "value": 48291 }])).expect("JSON");
    let out = by.text(&pretty);
    assert!(!out.contains("48291") && serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
}

#[test]
fn sec_x11_lines_of_other_writers_are_neither_masked_nor_in_the_way() {
    let by = redactor(&[], &[]);
    let others = [
        "time=\"2026-09-08T03:04:12Z\" level=info msg=\"value: all is well\"",
        "I0908 03:04:12.123456       1 reflector.go:221] value: a1b2c3d4",
        "{\"level\":\"info\",\"value\":\"a1b2c3d4\"}",
        "2026-09-08T03:04:12.123456789Z value: a1b2c3d4",
    ];
    for other in others {
        for (first, second) in
            [("  \"name\": \"DB_PASSWORD\",", "  \"value\": \"hunter2\""), ("password: |", "  hunter2")]
        {
            let log = format!("{first}\n{other}\n{other}\n{second}\nafter\n");
            let out = by.text(&log);
            assert!(!out.contains("hunter2") && out.contains(&format!("{other}\n{other}\n")), "{log} became {out}");
        }
        // After many of them, the lines above are forgotten.
        let log = format!("password:\n{}  all-is-well-since-12345\n", format!("{other}\n").repeat(9));
        assert_eq!(by.text(&log), log);
    }
}

#[test]
fn sec_x55_lines_that_have_nothing_to_do_with_the_one_above_stay() {
    let by = redactor(&[], &[]);
    let schema = json!({ "properties": { "password": { "type": "string" }, "token": { "description": "A token of a1b2c3d4e5" } } });
    for text in [
        "secret:\n  secretName: cloud-credentials1\n  optional: false\n".to_owned(),
        "credential:\n  key: cloud\n  name: cloud-credentials1\n".to_owned(),
        "secretKeyRef:\n  key: password\n  name: db-password-12345\n  optional: false\nvalue: a1b2c3d4\n".to_owned(),
        "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      key: a1b2c3d4\n".to_owned(),
        "- name: DB_PASSWORD\n- value: a1b2c3d4\n  name: HOST\n".replace("- value", "- other"),
        "error: invalid password:\n    at com.shop.Login(Login.java:12)\n".to_owned(),
        "Password:\nLogin incorrect, try 12345678a\n".to_owned(),
        "password:\n  is not the right one\nand on\n".to_owned(),
        "password: required\n  a1b2c3d4e5f6\n".to_owned(),
        "token:\n  expired\n".to_owned(),
        "auth:\n  /var/run/secrets/token\n".to_owned(),
        "password: |\nnext: a1b2c3d4\n".to_owned(),
        "args:\n- --password-file\n- /run/secrets/p12345\n- --token-ttl\n- 3600s1234\n".to_owned(),
        "args:\n- --password\n- --host\n- db-1234567\n".to_owned(),
        "2026-09-08T03:04:12.1Z password:\n  all-is-well-since-12345\n".to_owned(),
        "name: DB_PASSWORD\nother: 1\nvalue: a1b2c3d4\n".to_owned(),
        format!("{}\n", serde_json::to_string_pretty(&schema).expect("JSON")),
    ] {
        assert_eq!(by.text(&text), text);
        let line = format!("level=info msg={} n=1", json!(text));
        assert_eq!(by.text(&line), line);
    }
}

#[test]
fn sec_x40_what_is_spread_over_lines_does_not_depend_on_the_pieces() {
    let by = redactor(&[], &[]);
    let text = "a: 1\npassword: |\n  hunter2\n  more of it\nb: 2\n- name: DB_PASSWORD\n  value: hunter2\n";
    let (whole, _) = written(&by, &[text.as_bytes()]);
    assert!(memchr::memmem::find(&whole, b"hunter2").is_none());
    for size in 1..40 {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        assert_eq!(written(&by, &pieces).0, whole, "{size}");
    }
    // A block ends somewhere, whoever wrote it.
    let endless = format!("password: |\n{}", "  all is well\n".repeat(3000));
    assert!(by.text(&endless).ends_with("  all is well\n"));
}

#[test]
fn sec_x41_a_key_of_which_each_line_is_a_line_of_a_log_is_masked() {
    let by = redactor(&[], &[]);
    let pem = Seed(9).pem("RSA PRIVATE KEY", 5);
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let frames: [secrets::Encoding; 6] = [
        ("logrus", |line| {
            format!("time=\"2026-09-08T03:04:12Z\" level=info msg={} backup=a logSource=\"pkg/a.go:1\"", json!(line))
        }),
        ("logrus without quotes", |line| {
            let plain = line.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b));
            format!(
                "time=\"2026-09-08T03:04:12Z\" level=info msg={} n=1",
                if plain { line.to_owned() } else { json!(line).to_string() }
            )
        }),
        ("JSON", |line| json!({ "level": "info", "msg": line, "n": 1 }).to_string()),
        ("last field", |line| format!("level=info n=1 msg={}", json!(line))),
        ("runtime", |line| format!("2026-09-08T03:04:12.123456789Z stdout F {line}")),
        ("runtime and logrus", |line| format!("2026-09-08T03:04:12.123456789Z level=info msg={} n=1", json!(line))),
    ];
    let other =
        "time=\"2026-09-08T03:04:13Z\" level=info msg=\"Backed up 3 items\" name=shop-0 logSource=\"pkg/b.go:12\"";
    for (name, frame) in frames {
        let log: String = pem.lines().map(|line| frame(line) + "\n").collect();
        let log = format!("{other}\n{log}{other}\n");
        let out = by.text(&log);
        assert!(body.iter().all(|line| !out.contains(line)), "{name}: {out}");
        assert!(out.starts_with(&format!("{other}\n")) && out.ends_with(&format!("{other}\n")), "{name}: {out}");
        assert_eq!(out.matches("[REDACTED:pem:").count(), body.len(), "{name}: {out}");
        assert_eq!(by.text(&out), out, "{name}: twice");
        if name == "logrus" || name == "JSON" {
            let log: String = pem.lines().flat_map(|line| [frame(line), format!("\n{other}\n")]).collect();
            let out = by.text(&log);
            assert!(body.iter().all(|line| !out.contains(line)), "{name}, with others: {out}");
            assert_eq!(out.matches(other).count(), pem.lines().count(), "{name}: {out}");
        }
        let public: String = Seed(9).pem("PUBLIC KEY", 5).lines().map(|line| frame(line) + "\n").collect();
        assert_eq!(by.text(&public), public, "{name}");
    }
    let begin = pem.lines().next().expect("BEGIN");
    for others in ["msg=done\nmsg=\"all is well\"\n".repeat(9), "msg=\"-----END RSA PRIVATE KEY-----\"\n".to_owned()] {
        let log = format!("msg=\"{begin}\"\n{others}msg=\"{}\"\n", "Word".repeat(20));
        assert_eq!(by.text(&log), log, "other lines, or an end, end it");
    }
}
