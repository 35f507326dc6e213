//! Pairs, URLs and carriers as people and programs write them into lines of text: each with a harmless neighbour that
//! stays byte for byte. `spread` tests values over several lines.

use super::*;

/// Values that represent all others, among them a short one and one that must be escaped in many places.
const VALUES: [&str; 3] = ["hunter2", "Tr0ub4dor+3/xyz==", "a1-b2_c3.d4~e5f6g7h8"];

fn gone(by: &Redactor, text: &str, value: &str) {
    let out = by.text(text);
    assert!(!out.contains(value) && out.contains("[REDACTED:"), "{text}\n became {out}");
    assert_eq!(by.text(&out), out, "twice changes nothing");
}

/// As Go's loggers and encoders write the text into a string.
fn in_frames(text: &str) -> [String; 5] {
    let quoted = json!(text).to_string();
    [
        text.to_owned(),
        format!("time=\"2026-09-08T03:04:12Z\" level=error msg={quoted} logSource=\"pkg/a.go:1\""),
        json!({ "level": "error", "msg": text, "n": 1 }).to_string(),
        format!("level=error error={} n=1", json!(format!("x: {quoted}, y"))),
        json!({ "msg": format!("x: {quoted}, y") }).to_string(),
    ]
}

#[test]
fn sec_x11_x14_a_pair_is_masked_however_its_fields_are_written() {
    let by = redactor(&[], &[]);
    for v in VALUES {
        for text in [
            format!(r#"x: {{"name":"DB_PASSWORD","value":"{v}"}}"#),
            format!(r#"x: {{"value": "{v}", "name": "DB_PASSWORD"}}"#),
            format!(r#"x: {{"name":"DB_PASSWORD","kind":"env","from":{{"a":[1]}},"value":"{v}"}}"#),
            format!("x: {{\n\t\"name\": \"DB_PASSWORD\",\n\t\"value\": \"{v}\"\n}}"),
            format!(r#"core.EnvVar{{Name:"DB_PASSWORD", Value:"{v}"}}"#),
            format!(r#"v1.EnvVar{{Name:"DB_PASSWORD", Value:"{v}", ValueFrom:(*v1.EnvVarSource)(nil)}}"#),
            format!("[{{HOME /root nil}} {{Name:DB_PASSWORD Value:{v} ValueFrom:nil}}]"),
            format!("{{Key:DB_PASSWORD Value:{v}}}"),
            format!("EnvVar{{Name:SHOP_TOKEN,Value:{v},ValueFrom:nil,}}"),
            format!("env: [{{name: API_KEY, value: {v}}}]"),
            format!("set name=DB_PASSWORD value={v} in shop"),
            format!("set value={v} name=DB_PASSWORD"),
            format!("{{'name': 'DB_PASSWORD', 'value': '{v}'}}"),
            format!("<property name=\"password\" value=\"{v}\"/>"),
            format!("<add key='DbPassword' value='{v}' />"),
            format!("- name: DB_PASSWORD\n  value: {v}"),
            format!("- name: DB_PASSWORD\r\n  value: \"{v}\"\r\n- name: b\r\n"),
        ] {
            for line in in_frames(&text) {
                if !line.contains('\n') {
                    gone(&by, &line, v);
                }
            }
        }
    }
    let out = by.text("{Name:DB_PASSWORD Value:open sesame 2 ValueFrom:nil} and on");
    assert!(!out.contains("sesame") && out.ends_with("] ValueFrom:nil} and on"), "{out}");
    let out = by.text("{Name:DB_PASSWORD Value:open sesame 2} and on");
    assert!(!out.contains("sesame") && out.ends_with("]} and on"), "{out}");
}

#[test]
fn sec_x14_arrays_in_escaped_json_are_judged_to_their_last_element() {
    let by = redactor(&[], &[]);
    for v in VALUES {
        for text in [
            format!(r#"x: {{"password":["a","{v}"]}}"#),
            format!(r#"x: {{"args":["--verbose","--password","{v}"]}}"#),
            format!(r#"ran ["mysqldump", "--password", "{v}"] in shop"#),
            format!(r#"x: [{{"name":"DB_PASSWORD","value":["a","{v}"]}}]"#),
            format!(r#"x: [{{"value":["a","{v}"],"name":"DB_PASSWORD"}}]"#),
        ] {
            for line in in_frames(&text) {
                gone(&by, &line, v);
            }
        }
    }
    let mut object = json!({ "env": [{ "name": "DB_PASSWORD", "value": ["a", "hunter2"] }] });
    assert!(by.object(&mut object) && !object.to_string().contains("hunter2"), "{object}");
    let line = json!({ "msg": "x: {\"name\":\"DB_PASSWORD\",\"value\":48291}" }).to_string();
    let out = by.text(&line);
    let parsed: serde_json::Value = serde_json::from_str(&out).expect("still JSON");
    let inner = parsed["msg"].as_str().expect("a text").strip_prefix("x: ").expect("the same");
    assert!(serde_json::from_str::<serde_json::Value>(inner).expect("JSON inside")["value"].is_string(), "{out}");
}

#[test]
fn sec_x11_x46_a_value_has_the_same_token_however_often_it_is_escaped() {
    let by = redactor(&[], &[]);
    let text = r#"x: {"name":"DB_PASSWORD","value":"a\\b\"c1"}"#;
    let digits = |line: &str| {
        let out = by.text(line);
        let at = out.find("[REDACTED:named-pair:").unwrap_or_else(|| panic!("{out}")) + "[REDACTED:named-pair:".len();
        out[at..at + 8].to_owned()
    };
    let [plain, logrus, json, ..] = in_frames(text);
    assert_eq!(digits(&plain), digits(&logrus));
    assert_eq!(digits(&plain), digits(&json));
}

#[test]
fn sec_x55_pairs_that_are_none_stay() {
    let by = redactor(&[], &[]);
    for text in [
        r#"x: {"name":"DB_HOST","value":"db.shop.svc:5432"} and a password"#,
        r#"x: {"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db-password","key":"password"}}}"#,
        r#"core.EnvVar{Name:"DB_PASSWORD", Value:"", ValueFrom:(*core.EnvVarSource)(0xc000a1b2)}"#,
        "{Name:DB_PASSWORD Value: ValueFrom:&EnvVarSource{SecretKeyRef:db}}",
        "restored name=shop-token namespace=shop, then Invalid value: 30080",
        "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated name=shop-token namespace=shop",
        "secrets \"a\": Invalid value: 48291077: name=shop-token",
        "- name: TOKEN_TTL\n  value: 3600s1234567",
        "secretName=a1b2c3d4e5 value=a1b2c3d4e5",
        "name=DB_PASSWORD value=$(DB_PASSWORD)",
        "name=DB_PASSWORD value=<nil>",
        "{'name': 'replicas', 'value': '3'}, {'name': 'password', 'valueFrom': 'x'}",
        "<property name=\"url\" value=\"jdbc:postgresql://db/shop\"/><property name=\"password\"/>",
        "key: shop/auth, operator: Equal, value: \"true\"",
        "the value: of a secret, its name: and the key: of it",
        r#"time="x" msg="could not restore [{\"a\": 1}] of Secret shop/token-abc1234567\n" name=shop value=1"#,
    ] {
        for line in in_frames(text) {
            assert_eq!(by.text(&line), line);
        }
    }
    let list = "- value: plain1\n  name: HOST\n- value: hunter2\n  name: DB_PASSWORD\n- value: plain2\n  name: PORT";
    let out = by.text(&json!({ "msg": list }).to_string());
    assert!(out.contains("plain1") && out.contains("plain2") && !out.contains("hunter2"), "{out}");
}

#[test]
fn sec_h4_h10_urls_are_judged_as_go_and_html_write_them() {
    let by = redactor(&[], &[]);
    for v in ["hunter2", "5a1e0bd7c3"] {
        for text in [
            format!(r"https://x/?a=b\u0026X-Amz-Signature={v}\u0026c=d"),
            format!(r"https://x/?a=b\\u0026X-Amz-Signature={v}\\u0026c=d"),
            format!(r"https://x/?a=b\u0026sig={v}\u0026c=d"),
            format!(r"https://x/?a=b\\u0026sig={v}\\u0026c=d"),
            format!(r"https://x/?sig={v}\u0026c=d"),
            format!(r"https://x/?AWSAccessKeyId=a\u0026Signature={v}\u0026c=d"),
            format!(r"https://x/?a=b\u0026password={v}\u0026c=d"),
            format!(r"https://x/?a=b\u0026sig\u003d{v}\u0026c=d"),
            format!(r"https://x/?a=b&amp;X-Amz-Signature={v}&amp;c=d"),
            format!(r"https://x/?a=b&amp;sig={v}&amp;c=d"),
            format!(r"https://x/?a=b&amp;password={v}&amp;c=d"),
            format!(r"https://x/?AWSAccessKeyId=a&amp;Signature={v}&amp;c=d"),
            format!(r"postgres://shop:a\u0026{v}@db.shop.svc/x?c=d"),
            format!(r"postgres://shop:{v}\u0026b@db.shop.svc/x?c=d"),
            format!(r"postgres://shop:{v}\u003d@db.shop.svc/x?c=d"),
            format!(r"postgres://shop:a\\u0026{v}\\u003d@db.shop.svc/x?c=d"),
            format!(r"postgres://shop:a&amp;{v}@db.shop.svc/x?c=d"),
        ] {
            gone(&by, &text, v);
            assert!(by.text(&text).ends_with("c=d"), "{}", by.text(&text));
            gone(&by, &json!({ "url": text }).to_string(), v);
        }
    }
    let of = |text: &str| by.text(text).split(':').nth(4).expect("digits")[..8].to_owned();
    assert_eq!(of("a://u:p&q@h/"), of(r"a://u:p\u0026q@h/"), "one token for one value");
    for text in [
        r"https://minio:9000/b?list-type=2\u0026prefix=a\u0026mail=a@b.example",
        r"https://minio:9000/b?list-type=2&amp;prefix=backups&amp;sign=none",
        r#"{"a":"https://minio:9000/b","b":"shop@example.com"}"#,
        r"http://minio:9000\u003c/a\u003e mail@example.com",
        r"http://minio:\u0022a@b.example",
    ] {
        assert_eq!(by.text(text), text);
    }
}

#[test]
fn sec_x25_names_with_a_version_or_an_age_are_names_all_the_same() {
    let by = redactor(&[], &[]);
    for v in VALUES {
        for name in
            ["SECRET_KEY_BASE", "API_TOKEN_V2", "DB_PASSWORD_OLD", "DB_PASSWORD_NEW", "ENCRYPTION_KEY", "passwd2"]
        {
            gone(&by, &format!("export {name}={v}"), v);
            gone(&by, &format!("\"{name}\": \"{v}\""), v);
            gone(&by, &json!({ "name": name, "value": v }).to_string(), v);
            let mut object = json!({ "env": [{ "name": name, "value": v }], "data": { name: v } });
            assert!(by.object(&mut object) && !object.to_string().contains(v), "{object}");
        }
    }
    for text in [
        "TOKEN_TTL=3600s12345 PASSWORD_POLICY=strict-1234567 secretName=a1b2c3d4e5 KEY_COUNT=12345678a",
        "encryptionKeyId: 8a1c3b52-77aa-4f0e-9d61-0c2f6f2e1b11, the master key: not found, base=a1b2c3d4 old: a1b2c3d4e5",
        "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id: arn:aws:kms:eu:1:key/8a1c3b52",
        "customerKeyEncryptionSecret: sse/key-32a1b2c3d4, customerKeyEncryptionFile=/run/key-a1b2c3d4",
    ] {
        assert_eq!(by.text(text), text);
    }
}

#[test]
fn sec_h15_gzip_in_base64_is_masked_whole() {
    let by = redactor(&[], &[]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let manifest = json!({ "kind": "Deployment", "env": [{ "name": "DB_PASSWORD", "value": "hunter2" }], "more": vec!["x y z"; 50] });
    gzip.write_all(manifest.to_string().as_bytes()).expect("memory");
    let packed = gzip.finish().expect("memory");
    for text in
        [STANDARD.encode(&packed), URL_SAFE_NO_PAD.encode(&packed), STANDARD.encode(&packed).replace('/', "\\/")]
    {
        assert!(text.starts_with("H4sI"), "{text}");
        for line in [
            format!("objectset.rio.cattle.io/applied: {text}"),
            format!("RELEASE={text} and on"),
            json!({ "annotations": { "objectset.rio.cattle.io/applied": text } }).to_string(),
            format!("data: {}", STANDARD.encode(&text)),
        ] {
            let out = by.text(&line);
            assert!(!out.contains(&text[4..30]) && out.contains("[REDACTED:"), "{line} became {out}");
            assert_eq!(by.text(&out), out, "twice");
        }
        let mut object =
            json!({ "metadata": { "annotations": { "applied": text } }, "env": [{ "name": "A", "value": text }] });
        assert!(by.object(&mut object) && !object.to_string().contains(&text[4..30]), "{object}");
    }
    for text in [
        "H4sI begins gzip in base64",
        "name=H4sIa1b2",
        "xH4sIAAAAAAAAA0a1b2c3d4e5f6g7h8i9j0k1l2m3",
        "h4siabcdefghijklmnopqrstuvwxyzabcdefgh",
    ] {
        assert_eq!(by.text(text), text);
    }
}

#[test]
fn sec_x5_lines_that_are_no_text_are_not_passed_on() {
    let by = redactor(&[], &[]);
    let text = "starting\r\nDB_PASSWORD=hunter2\nand the end\n";
    for (what, units) in [("LE", u16::to_le_bytes as fn(u16) -> [u8; 2]), ("BE", u16::to_be_bytes)] {
        for mark in ["", "\u{feff}"] {
            let body: Vec<u8> = format!("{mark}{text}").encode_utf16().flat_map(units).collect();
            let with_others = [b"before\n", &body[..], b"\nafter, with one \0 in it\n"].concat();
            let (out, hits) = written(&by, &[&with_others]);
            let seen: Vec<u8> = out.iter().copied().filter(|byte| *byte != 0).collect();
            let seen = String::from_utf8_lossy(&seen);
            assert!(!seen.contains("hunter2") && !seen.contains("starting"), "{what}: {seen}");
            assert!(out.starts_with(b"before\n") && out.ends_with(b"\nafter, with one \0 in it\n"), "{what}: {seen}");
            assert!(hits.contains_key("no-text"), "{what}: {hits:?}");
            assert_eq!(written(&by, &[&out]).0, out, "twice");
        }
    }
    let long: Vec<u8> = "x".repeat(MAX_LINE).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (out, _) = written(&by, &[&long]);
    assert!(out.len() < 200 && out.ends_with(b" bytes]"), "{}", out.len());
}
