//! What must be masked: every shape in every carrier and encoding, and each rule by itself. `survivors` tests what must
//! survive.

use super::{
    secrets::{self, Encoding, Planted, Seed},
    *,
};

/// Printed by a failing test; the same seed gives the same values.
pub(super) fn seed() -> Seed {
    let seed = std::env::var("REDACT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("random bytes");
        u64::from_le_bytes(bytes)
    });
    println!("REDACT_SEED={seed}");
    Seed(seed)
}

/// The pieces that still came out, in plain text or in the digits in which they went in.
fn leaks(by: &Redactor, planted: &Planted, (_, write): &Encoding) -> Vec<String> {
    let out = by.text(&write(&planted.text));
    let traces = planted.gone.iter().map(|gone| secrets::trace(&planted.text, gone, *write));
    planted.gone.iter().cloned().chain(traces).filter(|gone| out.contains(gone.as_str())).collect()
}

pub(super) fn masks_all(by: &Redactor, planted: &[Planted], encodings: &[Encoding]) -> (usize, Vec<String>) {
    let check = Detector::new([]);
    let mut cases = 0;
    let mut failed = Vec::new();
    for planted in planted {
        for encoding in encodings.iter().filter(|encoding| secrets::is_promised(encoding, &planted.text)) {
            cases += 1;
            let left = leaks(by, planted, encoding);
            let out = by.text(&encoding.1(&planted.text));
            if let Some(alarm) = check.alarm(&out) {
                failed.push(format!("{} as {}: the self-check finds {alarm} of {out}", planted.shape, encoding.0));
            }
            if by.text(&out) != out {
                failed.push(format!("{} as {}, twice: {out} became {}", planted.shape, encoding.0, by.text(&out)));
            }
            if !left.is_empty() {
                failed.push(format!("{} as {}: {out} has {left:?}", planted.shape, encoding.0));
            }
        }
    }
    (cases, failed)
}

#[test]
fn sec_x60_what_hangs_on_a_value_is_told_in_every_encoding() {
    let text = "user=shop password=a7xyzq1b end";
    for (how, write) in secrets::ENCODINGS {
        let trace = secrets::trace(text, "a7xyzq1b", *write);
        assert!(write(text).contains(&trace) && trace.len() >= 8, "{how}: {trace}");
        assert!(!write("user=shop password= end").contains(&trace), "{how}: {trace}");
        // Nothing is masked here, so the trace is found: this shows that a test which asks for it can fail.
        assert!(how.contains("base64") != (trace == "a7xyzq1b"), "{how}: {trace}");
    }
}

#[test]
fn sec_x60_every_shape_is_masked_in_every_encoding() {
    let (cases, failed) = masks_all(&redactor(&[], &[]), &secrets::shapes(&mut seed()), secrets::ENCODINGS);
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
    assert!(cases >= 300, "{cases}");
}

#[test]
fn sec_x26_every_name_is_masked_at_every_separator() {
    let (cases, failed) = masks_all(&redactor(&[], &[]), &secrets::named(&mut seed()), secrets::ENCODINGS);
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
    assert!(cases >= 300, "{cases}");
}

#[test]
fn sec_x21_x22_json_in_a_log_is_judged_like_an_object() {
    let by = redactor(&[], &[]);
    let v = seed().word(9);
    for line in [
        json!({ "level": "info", "args": ["--password", v] }).to_string(),
        json!({ "headers": [{ "name": "Cookie", "value": v }] }).to_string(),
        json!({ "password": [v, v] }).to_string(),
        json!({ "nested": json!({ "env": [{ "value": v, "name": "PASSWD" }] }).to_string() }).to_string(),
        format!("2026-09-08T03:04:12Z {} trailing", json!({ "args": ["--password", v] })),
        // Cut at either end, as a line of a large file may be.
        format!("\"x\"}}]}},{{\"env\":[{{\"name\":\"PASSWD\",\"value\":\"{v}\"}}]"),
        format!("{{\"a\":{{\"args\":[\"--token\",\"{v}\",\"--more\""),
        format!("{{\"password\":\"{v}"),
    ] {
        let out = masked(&by, &line, &v);
        assert_eq!(by.text(&out), out);
    }
    let number = by.text(r#"{"password":48291,"n":1}"#);
    let parsed: serde_json::Value = serde_json::from_str(&number).expect("still JSON");
    assert!(parsed["password"].is_string() && parsed["n"] == 1, "{number}");
    let escaped = by.text(r#"{"a":"{\"password\":48291}"}"#);
    let parsed: serde_json::Value = serde_json::from_str(&escaped).expect("still JSON");
    serde_json::from_str::<serde_json::Value>(parsed["a"].as_str().expect("a string")).expect("JSON inside too");
}

#[test]
fn sec_x14_x50_json_in_more_strings_than_are_looked_into_is_masked_whole() {
    let by = redactor(&[], &[]);
    let v = seed().word(9);
    for depth in 1..=10 {
        let mut text = json!([{ "name": "DB_PASSWORD", "value": v }]).to_string();
        for _ in 0..depth {
            text = json!({ "spec": text }).to_string();
        }
        let line = format!("{{\"kept\":\"by name\",\"all\":{text}}}");
        let out = masked(&by, &line, &v);
        let parsed: serde_json::Value = serde_json::from_str(&out).expect("still JSON");
        assert_eq!(parsed["kept"], "by name", "{depth}: {out}");
        // Where the text is parsed, not the whole document is lost.
        assert!(depth > 6 || out.contains("DB_PASSWORD"), "{depth}: {out}");
        assert_eq!(by.text(&out), out, "{depth}");
    }
}

#[test]
fn sec_x26_only_the_value_is_replaced() {
    let by = redactor(&[], &[]);
    let v = seed().word(9);
    for (before, after) in [
        ("a password=", ", user=shop; z"),
        ("password=\"", "\" b=c"),
        ("{\"password\":\"", "\",\"b\":\"c\"}"),
        ("msg=\"{\\\"password\\\":\\\"", "\\\",\\\"b\\\":1}\" level=info"),
        ("x?password=", "&b=c"),
        ("x?password=", "\\u0026b=c"),
        ("https://shop:", "@db.example/shop"),
        ("PGPASSWORD=", " pg_dump shop"),
        ("(password: ", ") b"),
        ("curl -u shop:", " https://shop.example"),
    ] {
        let out = masked(&by, &format!("{before}{v}{after}"), &v);
        assert!(out.starts_with(&format!("{before}[REDACTED:")) && out.ends_with(&format!("]{after}")), "{out}");
    }
}

#[test]
fn sec_x7_by_structure_then_by_text_then_by_value() {
    let by = redactor(&["a7[a-z]+"], &["the-known-value"]);
    let counted = |mut object: serde_json::Value| {
        let mut tally = Tally::default();
        assert!(by.counted_object(&mut object, &mut tally));
        (object.to_string(), tally.into_counts())
    };
    // Values marked by their place come first; later rules do not see them.
    let (out, counts) = counted(json!({ "password": "x the-known-value a7user" }));
    assert_eq!(counts, [(json::KEY.to_owned(), 1)].into(), "{out}");
    // Then the names and shapes in the text: their hits are masked whole. Text next to them is masked by exact value.
    let (out, counts) = counted(json!({ "note": "password=\"x the-known-value a7user\" and the-known-value, a7user" }));
    let each = [("named-value".to_owned(), 1), ("location-key".to_owned(), 1), ("user-0".to_owned(), 1)];
    assert_eq!(counts, each.into(), "{out}");
    // User rules are only added: none replaces a built-in rule.
    let (out, counts) = (by.text("password=a7user"), redactor(&[], &[]).text("password=a7user"));
    assert!(out.contains("[REDACTED:") && counts.contains("[REDACTED:named-value:"), "{out}, {counts}");
}

#[test]
fn sec_x46_a_value_has_one_token_wherever_it_stands() {
    let by = redactor(&[], &[]);
    let v = seed().word(16);
    let hex = |text: &str| {
        let out = masked(&by, text, &v);
        let from = out.find("[REDACTED:").expect("masked") + 10;
        out[from..].split([':', ']']).nth(1).expect("digits").to_owned()
    };
    let first = hex(&format!("password={v}"));
    for text in [
        format!("{{\"token\":\"{v}\"}}"),
        format!("postgres://u:{v}@h/d"),
        format!("mysqldump -p{v} shop"),
        format!("Authorization: Bearer {v}"),
        format!("--password {v}"),
        format!("url=%3Fpassword%3D{v}%26"),
    ] {
        assert_eq!(hex(&text), first, "{text}");
    }
    assert_eq!(first.len(), 8);
}

/// The rules whose shapes the self-check also knows.
const CHECKED: &[&str] = &[
    "aws-key-id",
    "aws-session",
    "jwt",
    "github",
    "github-fine",
    "gitlab",
    "slack",
    "slack-hook",
    "stripe",
    "npm",
    "pem",
    "url-userinfo",
];

/// Each built-in rule, with a case that only this rule masks.
fn only_by(seed: &mut Seed) -> Vec<(&'static str, String, String)> {
    let shapes = secrets::shapes(seed);
    let mut cases: Vec<(&'static str, String, String)> = Vec::new();
    for (rule, shape) in [
        ("aws-key-id", "h1-akia"),
        ("aws-session", "h3-session"),
        ("azure-account", "h5-azure-account"),
        ("azure-sas", "h5-sas"),
        ("google-access", "h6-oauth"),
        ("google-api", "h6-api"),
        ("jwt", "h7-jwt"),
        ("github", "h9-github"),
        ("github-fine", "h9-github-fine"),
        ("gitlab", "h9-gitlab"),
        ("slack", "h9-slack"),
        ("slack-hook", "h9-slack-hook"),
        ("stripe", "h9-stripe"),
        ("npm", "h9-npm"),
        ("vault", "h9-vault"),
        ("sql", "h12-sql"),
        ("mc-alias", "h12-mc"),
        ("named-pair", "x11-struct"),
        ("authorization", "h11-bearer"),
        ("bearer", "h11-bearer-alone"),
        ("basic", "h11-basic-alone"),
        ("hash", "h16-bcrypt"),
        ("pem", "h8-pem"),
        ("url-userinfo", "h10-userinfo"),
        ("named-value", "h13-libpq"),
    ] {
        let found = shapes.iter().find(|planted| planted.shape == shape).expect("a shape");
        cases.push((rule, found.text.clone(), found.gone[0].clone()));
    }
    let v = seed.word(9);
    cases.push(("mysql-flag", format!("mysqldump -p{v} shop"), v.clone()));
    cases.push(("curl-user", format!("curl -u shop:{v} h"), v.clone()));
    cases.push(("sshpass-flag", format!("sshpass -p {v} ssh h"), v.clone()));
    cases.push(("redis-flag", format!("redis-cli -a {v} save"), v.clone()));
    cases.push(("mongo-flag", format!("mongodump -p {v}"), v.clone()));
    only_by_words(seed, &mut cases);
    cases.push(("base64", STANDARD.encode(format!("password={v}")), STANDARD.encode(format!("password={v}"))));
    cases.push(("object-key", json!({ "password": { "of": 1, "shop": v } }).to_string(), v.clone()));
    cases.push(("named-pair", json!({ "name": "PASSWD", "value": v }).to_string(), v.clone()));
    let packed = format!("H4sI{}", seed.word(60));
    cases.push(("gzip", format!("applied: {packed}"), packed));
    let der = format!("MIIEpAIBAAKCAQEA{}", seed.word(80));
    cases.push(("key-der", format!("key {der} is bad"), der));
    cases.push(("no-text", "\0a\0 \0b\0c".to_owned(), "\0b\0c".to_owned()));
    cases.push(("presigned-query", "https://a.blob.example/c?sv=2&sig=abc&se=1".to_owned(), "sig=abc".to_owned()));
    cases.push(("cookie", "Set-Cookie: s=a1b2; Secure".to_owned(), "s=a1b2".to_owned()));
    cases
}

fn only_by_words(seed: &mut Seed, cases: &mut Vec<(&'static str, String, String)>) {
    let v = seed.word(9);
    // Letters alone: a weak name in front of them is not enough.
    let letters = seed.of(b"abcdefghijklmnopqrstuvwxyz", 9);
    for (rule, text) in [
        ("smb-user", "smbclient h -U shop%§"),
        ("redis-config", "requirepass §"),
        ("mongo-auth", "db.auth('shop', '§')"),
        ("sqlcmd-flag", "sqlcmd -U sa -P §"),
        ("oracle-user", "sqlplus shop/§@db"),
        ("ldap-flag", "ldapsearch -w §"),
        ("login-flag", "docker login -p §"),
        ("htpasswd", "htpasswd -nb shop §"),
        ("ceph-flag", "rbd map x --key §"),
        ("rabbitmq-user", "rabbitmqctl add_user shop §"),
        ("zip-flag", "zip -P § x"),
        ("7z-flag", "7z a -y -p§ x"),
        ("client-flag", "cypher-shell -p §"),
        ("sql-user", "ALTER USER shop IDENTIFIED BY \"§\""),
        ("aws-configure", "aws configure set aws_session_token §"),
        ("prose", "with password § in it"),
        ("pgpass", "db.shop.svc:5432:shop:shop:§"),
    ] {
        cases.push((rule, text.replace('§', &v), v.clone()));
    }
    cases.push(("vault-login", format!("vault login {v}7a"), v.clone()));
    // Shorter than the values that are judged in a sentence.
    let short = seed.word(7);
    cases.push(("netrc", format!("machine h login shop password {short}"), short));
    cases.push(("openssl-pass", format!("x -passin pass:{letters}"), letters));
    let long = seed.word(60);
    cases.push(("vendor-token", format!("sk-proj-{long}"), long.clone()));
    cases.push(("webhook", format!("https://discord.com/api/webhooks/1/{long}"), long.clone()));
    cases.push(("ceph-key", format!("AQ{}==", &long[..36]), long[..36].to_owned()));
}

#[test]
fn sec_x62_each_rule_is_needed() {
    let cases = only_by(&mut seed());
    let mut by = Arc::into_inner(redactor(&[], &[])).expect("ours alone");
    let check = Detector::new([]);
    for (rule, text, gone) in &cases {
        by.off = None;
        assert!(!by.text(text).contains(gone.as_str()), "{rule}: {text}");
        by.off = Some(rule);
        let out = by.text(text);
        assert!(out.contains(gone.as_str()), "without {rule} another rule masks {text}: {out}");
        if CHECKED.contains(rule) {
            assert!(check.alarm(&out).is_some(), "without {rule} the self-check misses {out}");
            let token = "[REDACTED:jwt:01234567]";
            let beside = format!("https://{token}:{token}@h.example {token} {out} {token}");
            assert!(check.alarm(&beside).is_some(), "beside tokens the self-check misses {beside}");
        }
    }
    let tried: Vec<&str> = cases.iter().map(|(rule, ..)| *rule).collect();
    for shape in shapes::TABLE {
        assert!(tried.contains(&shape.id), "no case for {}", shape.id);
    }
    let v = "a b c d e";
    for (rule, mut object) in [
        (location_config::RULE, json!({ "provider": "x", "config": { "odd": v } })),
        (arguments::RULE, json!({ "args": ["--token", v] })),
        (object::URL, json!({ "downloadURL": format!("https://h.example/?{v}") })),
    ] {
        by.off = Some(rule);
        assert!(by.object(&mut object) && !object.to_string().contains("[REDACTED:"), "{rule}: {object}");
        by.off = None;
        assert!(by.object(&mut object) && object.to_string().contains("[REDACTED:"), "{rule}: {object}");
    }
    let block = "- value: a b c\n  name: DB_PASSWORD\n";
    assert!(!masked_settings(&mut by, None, block).contains("a b c"));
    assert!(masked_settings(&mut by, Some(settings::RULE), block).contains("a b c"));
}

fn masked_settings(by: &mut Redactor, off: Option<&'static str>, text: &str) -> String {
    by.off = off;
    let mut object = json!({ "kind": "ConfigMap", "data": { "x": text } });
    assert!(by.counted_config_map(&mut object, &mut Tally::default()));
    object["data"]["x"].to_string()
}

#[test]
fn sec_x62_the_rules_that_are_no_patterns_are_needed_too() {
    let mut by = Arc::into_inner(redactor(&["acme-[a-z]+"], &["the-known-value"])).expect("ours alone");
    for (rule, gone) in [("location-key", "the-known-value"), ("user-0", "acme-prod")] {
        by.off = None;
        assert!(!by.text(&format!("a {gone} b")).contains(gone), "{rule}");
        by.off = Some(rule);
        assert!(by.text(&format!("a {gone} b")).contains(gone), "{rule}");
    }
    let secret = json!({ "kind": "Secret", "data": { "k": "hidden" } });
    for object in [
        secret.clone(),
        json!({ "kind": "List", "items": [secret] }),
        json!({ "objects": [secret] }),
        json!({ "one": secret }),
    ] {
        let goes = |by: &Redactor| {
            let mut object = object.clone();
            !by.object(&mut object) || !object.to_string().contains("hidden")
        };
        by.off = None;
        assert!(goes(&by), "{object}");
        by.off = Some(object::SECRET);
        assert!(!goes(&by), "{object}");
    }
    by.off = None;
    let line = format!("{}the-end-of-it\n", "x".repeat(MAX_LINE + 100));
    assert!(!by.text(&line).contains("the-end-of-it"));
    by.off = Some(token::LONG);
    assert!(by.text(&line).contains("the-end-of-it"));
}
