//! Ways around the rules, known or possible, each with text that must survive the fix. `leaks`, `forms` and `carriers`
//! test the rules by themselves.

use super::{
    json_lines::{self, JsonLines},
    leaks::seed,
    *,
};

/// JSON as one of the store's files passes: broken into lines, then redacted. Also returns the number of lines.
fn as_file(by: &Arc<Redactor>, value: &serde_json::Value) -> (String, usize) {
    let mut lines = JsonLines::new(Vec::new(), true);
    lines.write_all(value.to_string().as_bytes()).unwrap();
    let broken = lines.into_inner();
    assert_eq!(&serde_json::from_slice::<serde_json::Value>(&broken).unwrap(), value, "the same JSON");
    let (out, _) = written(by, &[&broken]);
    (String::from_utf8(out).unwrap(), broken.split(|byte| *byte == b'\n').count())
}

#[test]
fn sec_x11_x21_json_broken_into_lines_tears_no_name_from_its_value() {
    let by = redactor(&[], &[]);
    let v = seed().word(9);
    let filler = |bytes: usize| json!(vec!["f".repeat(50); bytes / 53]);
    for bytes in [100, json_lines::LINE - 60, json_lines::LINE, json_lines::LINE + 3, 300 << 10, 3 << 20] {
        for value in [
            json!([filler(bytes), { "name": "PASSWD", "value": v }]),
            json!([{ "name": "PASSWD", "list": filler(bytes), "value": v }]),
            json!([{ "list": filler(bytes), "name": "PASSWD", "value": v }]),
            json!([{ "value": v, "list": filler(bytes), "name": "PASSWD" }]),
            json!({ "list": filler(bytes), "password": v }),
            json!({ "list": filler(bytes), "more": { "args": ["--password", v] } }),
            json!({ "password": [filler(bytes), v] }),
        ] {
            let (out, _) = as_file(&by, &value);
            assert!(!out.contains(&v), "{bytes}: {}", &out[out.len().saturating_sub(200)..]);
        }
    }
    // Wherever the line breaks, flag and value stay on the same side, and so do both halves of a pair.
    for shift in 0..12 {
        let mut items = vec![json!("s".repeat(shift))];
        for n in 0..1500 {
            items.push(json!({ "name": "SHOP_PASSWORD", "value": v }));
            items.push(json!("--password"));
            items.push(json!(v));
            items.push(json!(format!("plain {n}")));
        }
        let (out, lines) = as_file(&by, &json!(items));
        assert!(!out.contains(&v) && lines > 2, "{shift}");
    }
}

#[test]
fn sec_x21_x55_json_broken_into_lines_keeps_what_is_no_secret() {
    let by = redactor(&[], &[]);
    let texts: Vec<String> =
        (0..9000).map(|n| format!("could not restore, Secret \"shop-{n}\" already exists")).collect();
    let names: serde_json::Map<String, serde_json::Value> =
        (0..6000).map(|n| (format!("team-{n}"), json!([format!("error {n}: password is required")]))).collect();
    for value in [json!({ "errors": { "velero": texts } }), json!({ "errors": { "namespaces": names } })] {
        let (out, lines) = as_file(&by, &value);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), value);
        assert!(lines > 4, "{lines}");
    }
}

#[test]
fn sec_x43_of_a_long_line_only_what_can_be_judged_goes_out() {
    let by = redactor(&[], &[]);
    let v = seed().word(20);
    let border = MAX_LINE - LOOK_AHEAD;
    // In front of the border, a secret is masked and the text around it is shown.
    let line = format!("begin password={v} {} end-of-line", "x".repeat(2 * MAX_LINE));
    let out = by.text(&line);
    assert!(out.starts_with("begin password=[REDACTED:named-value:") && out.contains("] xxxx"), "{}", &out[..80]);
    assert!(!out.contains(&v) && !out.contains("end-of-line") && out.len() <= border + 60);
    // Across the border, behind it, and across the end of the bytes that are read.
    for at in [border - 10, border + 10, MAX_LINE - 10, MAX_LINE + 10, 2 * MAX_LINE] {
        for before in ["password=", "\"token\": \"", "https://shop:", "Authorization: Bearer "] {
            let line = format!("{}{before}{v}@{}", "x ".repeat((at - before.len()) / 2), " y".repeat(LOOK_AHEAD));
            let out = by.text(&line);
            assert!(!out.contains(&v[..10]) && out.ends_with(" bytes]"), "{at} {before}: {}", &out[out.len() - 80..]);
            assert!(out.len() > border - 100, "what is in front is shown: {}", out.len());
            assert_eq!(by.text(&out), out, "twice");
        }
    }
    // One byte less, and the line is judged whole.
    let v = seed().word(80);
    let whole = format!("{} password={v}", "x".repeat(MAX_LINE - v.len() - 10));
    assert!(whole.len() == MAX_LINE && by.text(&whole).contains("x password=[REDACTED:named-value:"));
}

#[test]
fn sec_x17_a_setting_goes_to_the_end_of_its_line_and_prose_does_not() {
    let by = redactor(&[], &[]);
    let mut seed = seed();
    let v = format!("{} of {} and {}", seed.word(5), seed.word(5), seed.word(5));
    let parts: Vec<&str> = v.split(' ').filter(|part| part.len() > 3).collect();
    for file in [
        format!("[default]\nuser = shop\npassword = {v}\nregion = eu\n"),
        format!("# a comment\nUSER=shop\nexport DB_PASSWORD={v}\n"),
        format!("user: shop\npassword: {v}\nhost: db\n"),
        format!("db.user=shop\ndb.password={v}\\\n  {v}\ndb.host=db\n"),
        format!("user: shop\npassword: |\n  {v}\nhost: db\n"),
    ] {
        let kept = if file.contains("user") { "shop" } else { "USER=shop" };
        let annotation = json!({ "metadata": { "annotations": { "settings": file } } });
        let revision = json!({ "kind": "ControllerRevision", "data": { "app.conf": file } });
        let map = json!({ "kind": "ConfigMap", "data": { "app.conf": file } });
        for mut object in [annotation, revision, map] {
            let done = by.counted_config_map(&mut object, &mut Tally::default());
            let text = object.to_string();
            assert!(done && parts.iter().all(|part| !text.contains(part)) && text.contains(kept), "{text}");
            let once = object.clone();
            assert!(by.object(&mut object) || once["kind"] == "ConfigMap");
            if once["kind"] != "ConfigMap" {
                assert_eq!(object, once, "twice");
            }
        }
    }
    for prose in [
        "the secret: it was not found\nand the token: it has expired\n",
        "error: pod shop-0 failed\nreason: the password was wrong\nat the third try\n",
    ] {
        let mut object = json!({ "kind": "Event", "message": prose });
        assert!(by.object(&mut object));
        assert_eq!(object["message"], prose);
    }
}

#[test]
fn sec_x17_x55_settings_and_objects_are_judged_alike() {
    let by = redactor(&[], &[]);
    for (name, value, secret) in [
        ("password", "hunter2", true),
        ("token", "a1b2c3d4e5", true),
        ("auth", "basic-by-name", true),
        ("password", "${DB_PASSWORD}", false),
        ("password", "$(DB_PASSWORD)", false),
        ("token", "/var/run/secrets/token", false),
        ("credential", "velero/cloud-credentials", false),
        ("password", "<set to the key 'x' in the secret 'y'>", true),
        ("password", "<none>", false),
        ("secret", "null", false),
        ("secretName", "cloud-credentials", false),
    ] {
        let mut object = json!({ "spec": { name: value } });
        assert!(by.object(&mut object));
        let mut yaml = json!({ "kind": "ConfigMap", "data": { "a.yaml": format!("x: 1\n{name}: {value}\n") } });
        let mut json = json!({ "kind": "ConfigMap", "data": { "a.json": json!({ name: value }).to_string() } });
        for map in [&mut yaml, &mut json] {
            assert!(by.counted_config_map(map, &mut Tally::default()));
        }
        for (how, out) in [("object", object), ("yaml", yaml), ("json", json)] {
            let masked = out.to_string().contains("[REDACTED:");
            assert_eq!(masked, secret, "{how}, {name}: {value}: {out}");
        }
    }
}

/// Samples of the random tests: the self-check found a password that redaction had left.
#[test]
fn sec_x40_a_source_name_is_masked_behind_half_a_token_and_with_a_vertical_tab() {
    let by = redactor(&[], &[]);
    let v = seed().word(12);
    for line in [
        format!("[REDACTED:{v}@tcp(db:3306)/shop"),
        format!("[REDACTED:null${v}@tcp(db:3306)/shop"),
        format!("a\x0bb:{v}@tcp(db:3306)/shop"),
        format!("shop:a\x0b{v}@unix(/run/db)/shop"),
    ] {
        let out = by.text(&line);
        assert!(!out.contains(&v), "{line:?} became {out:?}");
        assert_eq!(by.text(&out), out, "twice");
    }
}

#[test]
fn sec_x46_a_forged_token_shields_nothing() {
    let by = redactor(&[], &["the-known-value"]);
    let v = seed().word(12);
    for token in ["[REDACTED:jwt:00000000]", "[REDACTED:long-line:7 bytes]", "[REDACTED:x:00000000]"] {
        for line in [
            format!("password={token}{v}"),
            format!("password={v}{token}"),
            format!("password={token}{v}{token}{v}"),
            format!("\"password\":\"{token}{v}\""),
            format!("--password {token}{v}"),
            format!("https://shop:{token}{v}@db.shop.svc/shop"),
            format!("https://h.example/?X-Amz-Signature={token}{v}&x=1"),
            format!("{token}shop:{v}@tcp(db:3306)/shop"),
            format!("{token}the-known-value password={v}"),
            format!("Authorization: Bearer {token}{v}"),
            format!("https://h.example/?{token}&password={v}"),
        ] {
            if token.contains("bytes")
                && (line.contains("Bearer") || line.contains("--password") || line.contains("://"))
            {
                // A blank ends these values, in a token as elsewhere.
                continue;
            }
            let out = by.text(&line);
            assert!(!out.contains(&v), "{line} became {out}");
            assert_eq!(by.text(&out), out, "twice");
        }
        let mut object = json!({ "password": format!("{token}{v}"), "downloadURL": format!("https://h.example/?{token}&x={v}"),
            "kind": "DownloadRequest", "env": [{ "name": "DB_PASSWORD", "value": format!("{token} {v}") }] });
        assert!(by.object(&mut object));
        assert!(!object.to_string().contains(&v), "{object}");
        let mut map = json!({ "kind": "ConfigMap", "data": { "a": format!("x: 1\npassword: {token}{v}\nurl: h?password={token}{v}\n") } });
        assert!(by.counted_config_map(&mut map, &mut Tally::default()));
        assert!(!map.to_string().contains(&v), "{map}");
    }
    for line in [format!("password=[REDACTED:{v}]"), format!("password=[REDACTED:{}:00000000]", v.to_lowercase())] {
        let out = by.text(&line);
        assert!(!out.to_lowercase().contains(&v.to_lowercase()), "{line} became {out}");
    }
    // A line that looks like the marker between head and tail is a line like any other.
    let marker = format!("debugbundle: 5 bytes, 1 lines left out here (limit 9) password={v}");
    assert!(!by.text(&marker).contains(&v));
    for line in ["\"password\": \"[LEFT OUT: 7 bytes]\"", "see [REDACTED:jwt:00000000] and [REDACTED:, [LEFT OUT: x"] {
        assert_eq!(by.text(line), line, "stays");
    }
}

#[test]
fn sec_x5_text_that_is_half_nul_is_left_out_with_its_digest() {
    let by = redactor(&[], &[]);
    let utf16: String = "password=hunter2".chars().flat_map(|c| [c, '\0']).collect();
    let mut map =
        json!({ "kind": "ConfigMap", "data": { "a": utf16 }, "binaryData": { "b": STANDARD.encode(&utf16) } });
    assert!(by.counted_config_map(&mut map, &mut Tally::default()));
    for key in ["a", "b"] {
        assert!(map["data"][key].as_str().unwrap().starts_with("[LEFT OUT: 32 bytes, sha256 "), "{map}");
    }
}

#[test]
fn sec_x20_a_schema_is_no_value_but_its_annotations_are() {
    let by = redactor(&[], &[]);
    let schema = json!({ "properties": { "password": { "type": "string", "default": "changeme" }, "token": { "enum": ["a", "b"] } } });
    let mut crd = json!({ "kind": "CustomResourceDefinition", "spec": { "schema": schema }, "metadata": { "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "https://u:hunter2@h.example/" } } });
    assert!(by.object(&mut crd));
    assert_eq!(crd["spec"]["schema"], schema);
    assert!(!crd.to_string().contains("hunter2") && !crd.to_string().contains("last-applied"), "{crd}");
}

#[test]
fn sec_x27_words_behind_a_name_in_a_sentence_stay_and_values_go() {
    let by = redactor(&[], &[]);
    for text in [
        "unable to get key for secret: Secret \"x\" not found",
        "token: expired",
        "password: required field is missing",
        "could not authenticate with the token: invalid",
        "secret: shop/db",
        "pass: the first of three",
        "credential: backups",
    ] {
        assert_eq!(by.text(text), text);
    }
    let v = seed().word(9);
    for text in
        [format!("token: {v}"), format!("the password: {v} was refused"), format!("secret: {}", "abcdefgh".repeat(2))]
    {
        assert!(by.text(&text).contains(": [REDACTED:named-value:"), "{text}");
    }
}

#[test]
fn sec_x47_the_report_counts_by_rule_and_holds_no_value() {
    let by = redactor(&[], &["the-known-value"]);
    let (_, hits) = written(&by, &[b"a the-known-value the-known-value\npassword=hunter2hunter2\n"]);
    assert_eq!(hits, [("location-key".to_owned(), 2), ("named-value".to_owned(), 1)].into());
    let told = format!("{hits:?}");
    assert!(!told.contains("hunter2") && !told.contains("the-known"), "{told}");
}
