//! Private keys of which no text contains more than a line, and keys with words in between; beside them texts of
//! objects that look a little like a line of a key, and stay.

use serde_json::Value;

use super::{
    secrets::{Seed, putty},
    survivors, *,
};

/// The private lines of a key.
fn body(key: &str) -> Vec<&str> {
    let from = key.find("Private-Lines").unwrap_or_default();
    key[from..].lines().filter(|line| !line.contains('-')).collect()
}

/// One key of each form.
fn keys() -> Vec<(&'static str, String)> {
    let mut seed = Seed(21);
    let openssh = seed.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 70 * 4);
    let openssh: Vec<&str> = openssh.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let openssh = [
        format!("-----{} OPENSSH PRIVATE KEY-----", "BEGIN"),
        openssh.join("\n"),
        "-----END OPENSSH PRIVATE KEY-----".to_owned(),
    ];
    vec![
        ("PKCS #8", seed.pem("PRIVATE KEY", 5)),
        ("PKCS #1", seed.pem("RSA PRIVATE KEY", 5)),
        ("OpenSSH", openssh.join("\n")),
        ("PGP", seed.pem("PGP PRIVATE KEY BLOCK", 5)),
        ("PuTTY 2", putty(&mut seed, 2, 8)),
        ("PuTTY 3", putty(&mut seed, 3, 1)),
    ]
}

fn cleaned(mut object: Value) -> String {
    assert!(redactor(&[], &[]).object(&mut object), "it is kept");
    object.to_string()
}

#[test]
fn sec_h8_issue_32_a_key_of_which_each_line_is_an_event_is_masked_in_any_order() {
    for (name, key) in keys() {
        let mut lines: Vec<&str> = key.lines().collect();
        for turn in 0..3 {
            for line in &lines {
                for field in ["message", "note"] {
                    for prefix in ["", "(combined from similar events): "] {
                        let text =
                            cleaned(json!({"kind": "Event", "reason": "Failed", field: format!("{prefix}{line}")}));
                        let last = line.len() < 64 && !prefix.is_empty();
                        let gone = last || !body(&key).contains(line) || !text.contains(line);
                        assert!(gone, "{name}, {turn}, {field}: {text}");
                    }
                }
            }
            lines.rotate_left(2);
        }
        let mac = key.lines().find_map(|line| line.strip_prefix("Private-MAC: "));
        if let Some(mac) = mac {
            assert!(!cleaned(json!({"message": format!("Private-MAC: {mac}")})).contains(mac), "{name}");
        }
    }
}

#[test]
fn sec_h8_issue_32_a_key_of_which_each_line_is_an_argument_is_masked() {
    for (name, key) in keys() {
        for (how, write) in [
            ("plain", (|line| line.to_owned()) as fn(&str) -> String),
            ("flag", |line| format!("--line={line}")),
            ("pair", |line| format!("KEY {line}")),
        ] {
            let arguments: Vec<String> =
                ["import", "--key"].into_iter().chain(key.lines()).chain(["--verbose"]).map(write).collect();
            let pod = json!({"kind": "Pod", "spec": {"containers": [{"command": ["keytool"], "args": arguments}]}});
            let text = cleaned(pod);
            for line in body(&key) {
                assert!(!text.contains(line), "{name}, {how}: {line} in {text}");
            }
            assert!(text.contains("import") && text.contains("--verbose"), "{name}, {how}: {text}");
            let one_line = redactor(&[], &[]).text(&json!({ "errors": arguments }).to_string());
            for line in body(&key) {
                assert!(!one_line.contains(line), "{name}, {how}: {line} in {one_line}");
            }
        }
    }
}

#[test]
fn sec_h8_issue_32_words_between_a_begin_and_its_digits_hide_nothing() {
    let by = redactor(&[], &[]);
    for (name, key) in keys().into_iter().filter(|(name, _)| !name.starts_with("PuTTY")) {
        let begin = key.lines().next().expect("BEGIN");
        let lines = body(&key);
        for text in [
            format!("key: {begin} {} said the plugin", lines[0]),
            format!("key: {begin} {} said the plugin", lines.join(" ")),
            format!("no {begin} found in {} said the plugin", lines[0]),
            format!("{begin}: the plugin said \"{}\" and \"{}\" said the plugin", lines[0], lines[1]),
            format!("msg=\"{begin} was read as {}\" said the plugin", lines.join(" ")),
        ] {
            let out = by.text(&text);
            let quoted = lines.iter().filter(|line| text.contains(*line));
            quoted.for_each(|line| assert!(!out.contains(line), "{name}: {line} in {out}"));
            assert!(out.ends_with(" said the plugin") || out.ends_with("\" said the plugin"), "{name}: {out}");
            assert_eq!(by.text(&out), out, "{name}: twice");
        }
        // The lines behind it have no such field.
        let log = format!("key: {begin} {} said\n{}\n", lines[0], lines[1..].join("\n"));
        let out = by.text(&log);
        assert!(lines.iter().all(|line| !out.contains(line)), "{name}: {out}");
    }
    let text = "no -----BEGIN CERTIFICATE----- found in Secret/WebServerCertificateStoreNumber12ForTheTeamAlpha";
    assert_eq!(by.text(text), text);
}

#[test]
fn sec_x55_issue_32_what_looks_a_little_like_a_line_of_a_key_stays_in_an_object() {
    let mut seed = Seed(22);
    let certificate = seed.pem("CERTIFICATE", 5);
    let mut texts: Vec<String> = [
        "3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6",
        "sha256:3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6",
        "k1f0d2c3b4a5968778695a4b3c2d1e0f9",
        "WebServerCertificateStoreOfTheTeamAlphaInTheSecondZoneOfTheNorth",
        "web-server-certificate-store-number-12-for-the-team-alpha-x2k4zq",
        "8a1c3b52-77aa-4f0e-9d61-0c2f6f2e1b11",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKL",
        "SuccessfulCreate",
        "Completed",
        "Private-Lines are counted",
        "PuTTY-User-Key-File-3: ssh-ed25519",
        "Public-Lines: 2",
    ]
    .map(str::to_owned)
    .into();
    texts.push(certificate.clone());
    texts.push(STANDARD.encode(&certificate));
    texts.push(format!("ssh-ed25519 {} team@shop", STANDARD.encode(seed.bytes(51))));
    texts.push(format!("sha384-{}", STANDARD.encode(seed.bytes(48))));
    texts.push(STANDARD.encode(seed.bytes(32)));
    texts.extend(survivors::all().map(str::to_owned));
    let by = redactor(&[], &[]);
    for text in texts {
        for mut object in [
            json!({"kind": "Pod", "metadata": {"annotations": {"note.shop/x": text}}, "status": {"text": text}}),
            json!({"kind": "Event", "reason": "Failed", "involvedObject": {"name": text}}),
        ] {
            let before = object.clone();
            assert!(by.object(&mut object));
            assert_eq!(object, before);
        }
        // As the whole message, a checksum could be the last line of a key.
        if text.contains(' ') || text.len() > 44 || !text.ends_with('=') {
            let mut event = json!({"kind": "Event", "message": text, "note": text});
            let before = event.clone();
            assert!(by.object(&mut event));
            assert_eq!(event, before);
        }
    }
}

#[test]
fn issue_32_a_key_whose_begin_was_cut_away_is_masked_also_when_its_lines_are_joined() {
    for (name, key) in keys() {
        let (head, rest) = key.split_once('\n').expect("lines");
        assert!(head.contains("BEGIN") || name.starts_with("PuTTY"), "{head}");
        for joined in [rest.replace('\n', " "), rest.replace('\n', "  "), rest.replace('\n', "\", \"")] {
            let text = format!("PodVolumeRestore r1-x is Failed: the plugin said: {joined}");
            let masked = redactor(&[], &[]).sentence(&text);
            for line in body(&key).iter().filter(|line| line.len() >= 32) {
                assert!(!masked.contains(*line), "{name}: {masked}");
            }
            let mac = rest.lines().find_map(|line| line.strip_prefix("Private-MAC: "));
            assert!(mac.is_none_or(|mac| !masked.contains(mac)), "{name}: {masked}");
            assert!(masked.starts_with("PodVolumeRestore r1-x is Failed: the plugin said: "), "{name}: {masked}");
        }
    }
}

#[test]
fn issue_32_a_key_encoded_for_a_url_and_one_of_rfc_4716_are_masked() {
    let key = Seed(22).pem("RSA PRIVATE KEY", 5);
    let lines: Vec<&str> = body(&key);
    let encoded = |blank: &str| {
        let text = key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace('\n', "%0A");
        text.replace(' ', blank)
    };
    let ssh = format!(
        "---- {0} SSH2 ENCRYPTED PRIVATE KEY ----\nComment: \"of bob\"\n{1}\n---- {2} SSH2 ENCRYPTED PRIVATE KEY ----",
        "BEGIN",
        lines.join("\n"),
        "END"
    );
    for text in
        [format!("GET /x?key={}", encoded("%20")), format!("key={}", encoded("+")), ssh.clone(), ssh.replace('\n', " ")]
    {
        let masked = redactor(&[], &[]).text(&text);
        for line in &lines {
            for part in [(*line).to_owned(), line.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")] {
                assert!(!masked.contains(&part), "{masked}");
            }
        }
    }
}

#[test]
fn issue_32_lines_of_a_key_are_masked_wherever_they_stand_and_whatever_stands_between_them() {
    type Frame = fn(&str) -> String;
    let frames: [(&str, Frame); 6] = [
        ("plain", |line| line.to_owned()),
        ("time", |line| format!("2026-11-25T04:42:09.123456789Z {line}")),
        ("text", |line| format!("time=\"2026-11-25T04:42:09Z\" level=info msg=\"{line}\" restore=velero/r1")),
        ("last", |line| format!("time=\"2026-11-25T04:42:09Z\" level=info msg=\"{line}\"")),
        ("json", |line| format!("{{\"level\":\"info\",\"msg\":\"{line}\",\"time\":\"2026-11-25T04:42:09Z\"}}")),
        ("yaml", |line| format!("      {line}")),
    ];
    let other = "level=info msg=\"starting the plugin\" cmd=/plugins/velero-plugin-for-aws";
    for (name, key) in keys() {
        let lines: Vec<&str> = key.lines().collect();
        for (frame, write) in frames {
            for (how, begin, between) in [("cut", 1, false), ("cut and mixed", 1, true), ("mixed", 0, true)] {
                let mut log: Vec<String> = vec![other.to_owned(); 3];
                for line in &lines[begin..] {
                    log.push(write(line));
                    log.extend(between.then(|| other.to_owned()));
                }
                log.push(other.to_owned());
                let log = log.join("\n");
                let out = redactor(&[], &[]).text(&log);
                for line in body(&key) {
                    let short = line.len() < 64 && (frame == "text" || frame == "json");
                    assert!(short || !out.contains(line), "{name}, {frame}, {how}: {line} in {out}");
                }
                assert_eq!(out.matches(other).count(), log.matches(other).count(), "{name}, {frame}, {how}");
            }
        }
        for joined in [lines[1..].join("\\n"), lines[1..].join(" "), lines[1..].join("\\\\n")] {
            let out = redactor(&[], &[]).sentence(&format!("the hook said: {joined}"));
            assert!(body(&key).iter().all(|line| !out.contains(line)), "{name}: {out}");
        }
    }
}

/// The lines of a key of this width, and the key's first and last line.
fn of_width(seed: &mut Seed, width: usize) -> (Vec<String>, [String; 2]) {
    let digits = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
    let lines = (0..4).map(|_| seed.of(digits, width)).collect();
    (lines, ["BEGIN", "END"].map(|word| format!("-----{word} RSA PRIVATE KEY-----")))
}

#[test]
fn sec_h8_lines_of_a_key_of_any_width_are_masked_whatever_each_begins_with() {
    type Frame = fn(usize, &str) -> String;
    let frames: [(&str, Frame); 9] = [
        ("plain", |_, line| line.to_owned()),
        ("number", |at, line| format!("line {at}: {line}")),
        ("hook", |_, line| format!("[hook] {line}")),
        ("klog", |at, line| format!("I1125 04:42:09.12345{at}       1 a.go:12] {line}")),
        ("stamp", |_, line| format!("2026-11-25T04:42:09.123456789Z stdout F {line}")),
        ("logrus", |_, line| format!("time=\"2026-11-25T04:42:09Z\" level=info msg=\"{line}\" restore=velero/r1")),
        ("logrus, number", |at, line| format!("level=info msg=\"stdout: {at} {line}\" restore=velero/r1")),
        ("json", |_, line| json!({ "level": "info", "msg": line, "time": "x" }).to_string()),
        ("json, number", |at, line| json!({ "msg": format!("line {at}: {line}"), "time": "x" }).to_string()),
    ];
    let mut seed = Seed(27);
    for width in [20, 24, 32, 40, 48, 50, 60, 64, 65, 72, 76, 100, 128] {
        let (lines, [begin, end]) = of_width(&mut seed, width);
        let key: Vec<&str> = [&begin].into_iter().chain(&lines).chain([&end]).map(String::as_str).collect();
        for (frame, write) in frames {
            let texts: Vec<String> = key.iter().enumerate().map(|(at, line)| write(at, line)).collect();
            let log = format!("level=info msg=first\n{}\nlevel=info msg=last\n", texts.join("\n"));
            let arguments = json!({ "kind": "Pod", "spec": { "containers": [{ "command": ["x"], "args": texts }] } });
            let errors = json!({ "kind": "Backup", "status": { "validationErrors": texts } });
            for (how, out) in [("log", redacted(&log)), ("args", cleaned(arguments)), ("errors", cleaned(errors))] {
                // A log of JSON within an object is read as JSON, each text by itself.
                if how == "log" || !frame.contains("json") {
                    let left = lines.iter().filter(|line| out.contains(*line)).count();
                    assert_eq!(left, 0, "{width}, {frame}, {how}: {out}");
                }
            }
        }
    }
}

#[test]
fn sec_h8_a_line_of_a_key_of_any_width_is_masked_without_its_begin_where_it_stands_alone() {
    let mut seed = Seed(28);
    for width in [48, 50, 60, 64, 65, 72, 76, 100, 128] {
        let (lines, _) = of_width(&mut seed, width);
        for line in &lines {
            for text in [
                format!("a\n{line}\nb"),
                format!("a\n2026-11-25T04:42:09.1Z stdout F {line}\nb"),
                format!("level=info msg=\"{line}\" restore=velero/r1"),
                json!({ "level": "info", "msg": line }).to_string(),
            ] {
                assert!(!redacted(&text).contains(line), "{width}: {text}");
            }
            for object in [
                json!({ "kind": "Event", "message": line }),
                json!({ "kind": "Event", "message": format!("hook: {line}") }),
                json!({ "args": ["x", line] }),
            ] {
                assert!(!cleaned(object).contains(line), "{width}: {line}");
            }
        }
    }
    // Text in base64, checksums and ids stay.
    let id = seed.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 60);
    let text = STANDARD.encode("replicas: 3\nimage: shop:1.2.3\nhost: db.shop.svc\n.");
    let checksum = STANDARD.encode(seed.bytes(40));
    for text in [format!("a\n{text}\nb"), format!("a\n{checksum}\nb"), format!("failed, request id: {id}")] {
        assert_eq!(redacted(&text), text);
        let event = json!({ "kind": "Event", "message": text });
        assert_eq!(cleaned(event.clone()), event.to_string());
    }
}

#[test]
fn issue_32_what_is_public_and_the_ids_of_requests_stay() {
    let mut seed = Seed(23);
    let by = redactor(&[], &[]);
    for label in ["CERTIFICATE", "PUBLIC KEY", "CERTIFICATE REQUEST", "X509 CRL"] {
        let block = seed.pem(label, 5);
        let indented = format!("2026-11-25T04:42:09.1Z {}", block.replace('\n', "\n2026-11-25T04:42:09.1Z "));
        for text in
            [block.clone(), format!("a\n{block}\nb"), block.replace('\n', "\\n"), block.replace('\n', " "), indented]
        {
            assert_eq!(by.text(&text), text);
            assert_eq!(by.text(&format!("{text}\n{text}")), format!("{text}\n{text}"));
        }
        // A key behind it does not belong to it.
        let line = seed.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 64);
        for gap in ["\nthen: ", " then: ", "\n\n"] {
            assert!(!by.text(&format!("{block}{gap}{line}\n")).contains(&line), "{label}");
        }
    }
    let id = seed.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 76);
    for text in [
        format!("https response error StatusCode: 403, RequestID: 7Z8, HostID: {id}, api error AccessDenied"),
        format!("x-amz-id-2: {id}"),
        format!("<HostId>{id}</HostId> host id: {id} \"hostId\": \"{id}\""),
    ] {
        assert_eq!(by.text(&text), text.clone());
    }
    assert!(!by.text(&format!("invalid {id}")).contains(&id));
}

/// As it stands in a file of the bundle.
fn redacted(text: &str) -> String {
    String::from_utf8(written(&redactor(&[], &[]), &[text.as_bytes()]).0).unwrap()
}

#[test]
fn sec_h8_issue_32_lines_of_a_key_with_something_in_front_are_masked() {
    let fronts = [
        ("\u{1b}[31m", "\u{1b}[0m"),
        ("\u{1b}[1;31m", "\u{1b}[m"),
        ("\\u001b[31m", "\\u001b[0m"),
        ("+", ""),
        ("-", ""),
    ];
    for (name, key) in keys() {
        let lines: Vec<&str> = key.lines().collect();
        for (front, behind) in fronts {
            for stamp in ["", "2026-03-01T12:00:00.000000001Z "] {
                for from in [0, 1] {
                    let coloured: Vec<String> =
                        lines[from..].iter().map(|line| format!("{stamp}{front}{line}{behind}")).collect();
                    let log = coloured.join("\n");
                    let log = format!("{stamp}first\n{log}\n{stamp}last\n");
                    let masked = redacted(&log);
                    for line in body(&key).iter().filter(|line| line.len() >= 64) {
                        assert!(!masked.contains(line), "{name}, {front:?}, {from}: {masked}");
                    }
                    assert!(masked.contains("first\n") && masked.contains("last\n"), "{masked}");
                }
            }
        }
    }
}

#[test]
fn issue_32_a_string_that_ends_in_a_flag_takes_no_key_and_no_other_text() {
    for text in [
        r#"{"a":"run: mysql --password","message":"other text of an error"}"#,
        r#"{"a":"--password","message":"other text of an error"}"#,
        r#"{"errors":{"velero":["use -password","other text of an error"]}}"#,
        r#"{"neededFor":"Secret [REDACTED:user-0:bd238488]-repo-credentials","rule":"R7"}"#,
    ] {
        assert_eq!(redacted(text), text);
    }
    let argv = r#"["mysql","--password","hunter2-x7"]"#;
    assert!(!redacted(argv).contains("hunter2"), "{}", redacted(argv));
}
