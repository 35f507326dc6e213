//! Properties of every stream: the same output however it is cut, unchanged bytes without a hit, no change when
//! redacted twice, keys over many lines.

use super::{
    cut_up,
    secrets::{ENCODINGS, Seed, named, shapes},
    *,
};

fn prefixed<'a>(lines: impl Iterator<Item = &'a str>, prefix: &str) -> String {
    lines.fold(String::new(), |all, line| all + prefix + line + "\n")
}

#[test]
fn sec_x41_a_key_over_many_lines_loses_its_body_and_nothing_else() {
    let by = redactor(&[], &[]);
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let pem = Seed(3).pem(kind, 4);
        let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
        for prefix in ["", "    ", "2026-09-08T03:04:12.123456789Z ", "2026-09-08T03:04:12.1Z stderr F ", "[pod/x] "] {
            let log = prefixed(pem.lines(), prefix);
            let out = by.text(&format!("{prefix}before\n{log}{prefix}level=info msg=\"after it\"\n"));
            assert!(body.iter().all(|line| !out.contains(line)), "{out}");
            assert_eq!(
                out.lines().filter(|line| line.starts_with(&format!("{prefix}[REDACTED:pem:"))).count(),
                5,
                "{out}"
            );
            assert!(out.starts_with(&format!("{prefix}before\n{prefix}-----BEGIN {kind}-----\n")), "{out}");
            assert!(
                out.ends_with(&format!("{prefix}-----END {kind}-----\n{prefix}level=info msg=\"after it\"\n")),
                "{out}"
            );
            assert_eq!(by.text(&out), out, "twice");
        }
        // A key that never ends.
        let out =
            by.text(&format!("-----BEGIN {kind}-----\n{}\n{}\nlevel=info msg=done, and more\n", body[0], body[1]));
        assert!(!out.contains(body[1]) && out.ends_with("\nlevel=info msg=done, and more\n"), "{out}");
        let one = [pem.replace('\n', "\\n"), pem.replace('\n', "\\\\n"), pem.replace('\n', ""), pem.replace('\n', " ")];
        for text in one {
            let out = by.text(&format!("key={text} after"));
            assert!(body.iter().all(|line| !out.contains(line)) && out.ends_with(" after"), "{out}");
        }
    }
    let headers = Seed(4).pem("RSA PRIVATE KEY", 2).replacen(
        "-----\n",
        "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\n",
        1,
    );
    let out = by.text(&headers);
    assert_eq!(out.matches("[REDACTED:pem:").count(), 3, "{out}");
}

#[test]
fn sec_x41_the_tail_of_a_key_at_the_beginning_is_masked() {
    let by = redactor(&[], &[]);
    let pem = Seed(5).pem("RSA PRIVATE KEY", 4);
    let lines: Vec<&str> = pem.lines().collect();
    for skip in 1..=5 {
        for prefix in ["", "2026-09-08T03:04:12.123456789Z "] {
            let tail = prefixed(lines[skip..].iter().copied(), prefix);
            let out = by.text(&format!("{tail}{prefix}and on\n"));
            assert!(lines[skip..lines.len() - 1].iter().all(|line| !out.contains(line)), "{skip}: {out}");
            assert!(out.ends_with(&format!("{prefix}-----END RSA PRIVATE KEY-----\n{prefix}and on\n")), "{out}");
        }
    }
    for harmless in [
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo\n".repeat(3),
        "abcdefghijklmnopqrstuvwxyz\nthe end\n".to_owned(),
        "0123456789abcdef0123456789abcdef".repeat(4000),
    ] {
        assert_eq!(by.text(&harmless), harmless);
    }
}

#[test]
fn sec_x41_base64_of_a_key_over_many_lines_is_masked() {
    let by = redactor(&[], &[]);
    let encoded = STANDARD.encode(Seed(6).pem("PRIVATE KEY", 6));
    let lines: Vec<&str> = encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let out = by.text(&format!("cert:\n{}\nand on\n", lines.join("\n")));
    assert!(lines.iter().all(|line| !out.contains(line)) && out.ends_with("\nand on\n"), "{out}");
    let one = by.text(&format!("data: {encoded} x"));
    assert!(!one.contains(&encoded[..40]) && one.ends_with("] x"), "{one}");
}

#[test]
fn sec_x43_a_key_in_a_line_that_is_too_long_is_masked_to_its_end() {
    let by = redactor(&[], &[]);
    let pem = Seed(8).pem("PRIVATE KEY", 3);
    let line =
        [vec![b'x'; MAX_LINE - LOOK_AHEAD - 20], pem.replace('\n', "\\n").into_bytes(), vec![b'y'; LOOK_AHEAD * 2]]
            .concat();
    let (out, _) = written(&by, &[&line]);
    let body = pem.lines().nth(1).unwrap();
    assert!(memchr::memmem::find(&out, body.as_bytes()).is_none() && out.len() < MAX_LINE);
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).expect("nanoseconds"))
}

#[test]
fn sec_x63_hostile_lines_take_linear_time() {
    let by = redactor(&[], &[]);
    let mut slow = Vec::new();
    for unit in [
        "password=",
        "token: \"",
        "password='\\\"",
        "a://b:c/",
        "a://b:c@",
        "-----BEGIN PRIVATE KEY-----",
        "{\"password\":[",
        "[\"--token\",\"x\",",
        "mysql -p",
        "cookie: a=b;",
        "cGFzc3dvcmQ9",
        "name=password value=\\\"",
        "name:\"password\\\", value='",
        "{\\\"password\\\":[",
        "[ [{password\\n",
        "password:\\n ",
        "\\\\\"password: |\\\\n",
        "{Name:password Value:a b ",
        "[REDACTED:jwt:01234567]auth=",
        "sig=",
        "?sig=",
        "X-Amz-Signature=",
        "AWSAccessKeyId=",
        "Signature=awsaccesskeyid=",
        "openssl enc -pass pass:a ",
        "secrets: {\"a\":\"b\"",
        "secrets:map[string]string{\"a\":",
        "https_proxy=a:b",
    ] {
        let time = |length: usize| {
            let line = unit.repeat(length / unit.len());
            let took = (0..3).map(|_| {
                let started = cpu();
                by.text(&line);
                cpu().saturating_sub(started)
            });
            took.min().expect("three runs")
        };
        let (short, long) = (time(32 << 10), time(256 << 10));
        // Eight times the length: quadratic time would be 64 times as long. The kernel counts in ticks of 4 ms.
        if long > 32 * short.max(Duration::from_millis(4)) {
            slow.push(format!("{unit}: {short:?}, then {long:?}"));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// Texts of all kinds, secret and harmless, and noise.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => prop::sample::select(vec!["\0", "\u{1b}[31m", "\u{feff}", "\"", "\\\"", "{\"", "[\"", "}", "]", ",", " ", "=", ": "])
            .prop_map(|text| text.as_bytes().to_vec()),
        4 => (any::<u64>(), any::<prop::sample::Index>(), 0..ENCODINGS.len()).prop_map(|(seed, which, how)| {
            let mut seed = Seed(seed);
            let all = [shapes(&mut seed), named(&mut seed)].concat();
            ENCODINGS[how].1(&all[which.index(all.len())].text).into_bytes()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sec_x40_x44_any_cut_gives_the_same_and_twice_changes_nothing(
        parts in prop::collection::vec(pieces(), 0..12),
        cuts in prop::collection::vec(1_usize..90, 1..20),
    ) {
        let by = redactor(&[], &["the-known-value"]);
        let body = parts.concat();
        let (whole, _) = written(&by, &[&body]);
        prop_assert_eq!(&written(&by, &cut_up(&body, &cuts)).0, &whole);
        let (twice, _) = written(&by, &[&whole]);
        prop_assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&whole), "twice changes nothing");
    }

    #[test]
    fn sec_x40_x62_no_noise_hides_a_secret(
        seed in any::<u64>(),
        which in any::<prop::sample::Index>(),
        how in 0..ENCODINGS.len(),
        before in prop::collection::vec(any::<u8>(), 0..40),
        after in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let by = redactor(&[], &[]);
        let mut seed = Seed(seed);
        let all = shapes(&mut seed);
        let planted = &all[which.index(all.len())];
        let text = ENCODINGS[how].1(&planted.text);
        // A blank in front: a letter there would turn the name into another word.
        let body = [&before, &b" "[..], text.as_bytes(), b" ", &after].concat();
        let (out, _) = written(&by, &[&body]);
        for gone in &planted.gone {
            prop_assert!(memchr::memmem::find(&out, gone.as_bytes()).is_none(), "{}: {}", planted.shape, String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn sec_x44_x61_words_without_secrets_stay_byte_for_byte(
        words in prop::collection::vec(prop_oneof![
            "[a-z]{1,9}", "[0-9a-f]{40}", "[0-9a-f]{64}", "[0-9]{1,12}", "[a-z]{2,8}=[a-z0-9-]{1,20}", "/[a-z]{2,8}/[a-z]{2,8}",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[a-z]{3,8}\\.[a-z]{3,8}\\.svc", "10\\.[0-9]{1,3}\\.[0-9]{1,3}\\.7",
            "\"[a-z]{2,6}\":\"[a-z ]{2,12}\"", Just("\n".to_owned()), Just("\r\n".to_owned()),
        ].prop_filter("no sensitive word", |word| names::HINTS.iter().all(|hint| !word.contains(hint))), 0..60),
        noise in prop::collection::vec(128_u8..=255, 0..20),
    ) {
        let by = redactor(&[], &[]);
        let body = [words.join(" ").as_bytes(), &noise].concat();
        prop_assert_eq!(written(&by, &[&body]).0, body);
    }
}
