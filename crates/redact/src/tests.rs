//! What must be masked, what must survive, and that neither depends on how the bytes arrive. The values are generated;
//! no literal looks like a credential.

use std::{collections::BTreeMap, io::Write as _, sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use debugbundle_redact_check::Detector;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::json;

use crate::*;

const KNOWN: &str = "k/8+n \"own\"&<valü>=";

fn redactor(rules: &[&str], known: &[&str]) -> Arc<Redactor> {
    let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    let known = known.iter().map(|value| ("location-key", Secret::new(*value))).collect();
    Arc::new(Redactor::new(&rules, known).expect("good rules"))
}

fn masked(by: &Redactor, text: &str, secret: &str) -> String {
    let out = by.text(text);
    assert!(!out.contains(secret) && out.contains("[REDACTED:"), "{text} became {out}");
    out
}

/// What is left of these pieces, and the hits by rule.
fn written(by: &Redactor, pieces: &[&[u8]]) -> (Vec<u8>, BTreeMap<String, u64>) {
    let mut lines = LineRedactor::new(by, Rules::All);
    let mut out = Vec::new();
    let mut keep = |block: &[u8]| {
        out.extend_from_slice(block);
        Ok(())
    };
    for piece in pieces {
        lines.feed(piece, &mut keep).expect("memory");
    }
    lines.end(&mut keep).expect("memory");
    (out, lines.into_counts())
}

#[test]
fn sec_h4_presigned_queries_lose_their_values_and_nothing_else() {
    let by = redactor(&[], &[]);
    let url = "https://minio.shop:9000/bucket/backups/b1/b1-logs.gz?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260908%2Feu%2Fs3%2Faws4_request&X-Amz-Date=20260908T030412Z&X-Amz-Signature=5a1e0b&X-Amz-SignedHeaders=host";
    let out = masked(&by, url, "5a1e0b");
    assert!(!out.contains("AKID"), "{out}");
    for kept in [
        "https://minio.shop:9000/bucket/backups/b1/b1-logs.gz?",
        "X-Amz-Date=20260908T030412Z&",
        "&X-Amz-SignedHeaders=host",
    ] {
        assert!(out.contains(kept), "{out}");
    }
    for case in [
        "x-amz-security-token=S3CRET&a=b",
        "X-AMZ-SIGNATURE=S3CRET rest",
        "\"https://h/p?X-Goog-Signature=S3CRET\"",
        "X-Goog-Credential=S3CRET\\u0026X-Goog-Date=1",
        "url=https%3A%2F%2Fh%2Fp%3FX-Amz-Signature%3DS3CRET%26X-Amz-Date%3D1",
        "https%253A%252F%252Fh%253FX-Amz-Signature%253DS3CRET%2526X-Amz-Date%253D1",
        "X%2DAmz%2DSignature%3DS3CRET",
        "https://b.s3.amazonaws.com/k?AWSAccessKeyId=ID&Expires=1&Signature=S3CRET",
        "https://storage.googleapis.com/k?GoogleAccessId=a@b&Signature=S3CRET&Expires=1",
        "?Signature=S3CRET&Expires=1&AWSAccessKeyId=ID",
        "https://a.blob.core.windows.net/c/b?sv=2024&sig=S3CRET&se=2026",
        "https%3A%2F%2Fa.blob%2Fc%3Fsv%3D2024%26sig%3DS3CRET%26se%3D1",
        "sig=S3CRETS3CRETS3CRETS3CRETS3CRETS3CRETS3CRETS3CRET",
    ] {
        let out = masked(&by, case, "S3CRET");
        assert_eq!(by.text(&out), out, "twice changes nothing");
    }
    let out = by.text("X-Amz-Signature%3DS3CRET%26X-Amz-Date%3D1");
    assert!(out.ends_with("]%26X-Amz-Date%3D1"), "{out}");
}

#[test]
fn issue_32_a_sentence_keeps_the_operators_words_whatever_the_users_rules_match() {
    let by = redactor(&[".*", "[a-z ]+"], &["the-known-value"]);
    let quote = by.text("customer 4711 has no room");
    assert!(quote.starts_with("[REDACTED:user-0:") && quote.ends_with(']'), "{quote}");
    let sentence = format!("PVR r1-x is Failed: {quote}");
    assert_eq!(by.sentence(&sentence), sentence);
    let (known, shape) =
        (by.sentence("it said the-known-value"), by.sentence("it said https://a:hunter2-x7@b.example/"));
    assert!(known.starts_with("it said [REDACTED:location-key:"), "{known}");
    assert!(shape.starts_with("it said https://[REDACTED:") || shape.contains(":[REDACTED:"), "{shape}");
    assert!(!shape.contains("hunter2"), "{shape}");
}

#[test]
fn sec_h4_what_only_looks_like_a_query_survives() {
    let by = redactor(&[], &[KNOWN]);
    for text in [
        "SignatureDoesNotMatch: The request signature we calculated does not match",
        "Signature=abc without the company of a key id",
        "received signal sig=TERM, config=x, X-Amz-Date=1",
        "time=\"2026-09-08T03:04:12Z\" level=error logSource=\"pkg/a.go:1\" signature checked",
        "",
    ] {
        assert_eq!(by.text(text), text);
    }
}

#[test]
fn sec_x28_the_known_value_is_masked_in_every_form() {
    let by = redactor(&[], &[KNOWN]);
    let percent = utf8_percent_encode(KNOWN, NON_ALPHANUMERIC).to_string();
    let json = json!({ "a": KNOWN }).to_string();
    let json_twice = json!({ "a": json }).to_string();
    let go = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let plain =
        [KNOWN.to_owned(), percent.clone(), percent.to_lowercase(), percent.replace('%', "%25"), json, json_twice, go];
    for text in plain {
        let out = masked(&by, &format!("before {text} after"), "own");
        assert!(out.starts_with("before ") && out.ends_with(" after"), "{out}");
    }
}

#[test]
fn sec_x28_the_known_value_is_masked_within_base64_wherever_it_begins() {
    let by = redactor(&[], &[KNOWN]);
    for before in ["", "a", "ab", "abc", "abcd"] {
        for after in ["", "z", "zz", "zzz"] {
            let blob = format!("{before}{KNOWN}{after}");
            for text in [
                STANDARD.encode(&blob),
                URL_SAFE.encode(&blob),
                STANDARD_NO_PAD.encode(&blob),
                URL_SAFE_NO_PAD.encode(&blob),
            ] {
                let out = masked(&by, &format!("data: {text}"), "no such text");
                let rest: String =
                    out.split("[REDACTED").map(|part| part.split(']').next_back().unwrap_or_default()).collect();
                assert!(rest.len() <= "data: ".len() + 4 * 4, "{text} became {out}");
            }
            let twice = STANDARD.encode(STANDARD.encode(KNOWN));
            masked(&by, &twice, &twice[4..20]);
        }
    }
}

#[test]
fn sec_x46_equal_values_have_equal_tokens_in_every_encoding_and_others_in_other_bundles() {
    let (by, other) = (redactor(&[], &[KNOWN]), redactor(&[], &[KNOWN]));
    let percent = utf8_percent_encode(KNOWN, NON_ALPHANUMERIC).to_string();
    let token = by.text(KNOWN);
    assert_eq!(by.text(&percent), token);
    assert_eq!(by.text(&format!("?X-Amz-Security-Token={percent}")).rsplit(':').next(), token.rsplit(':').next());
    assert_ne!(other.text(KNOWN), token);
    assert_eq!(token.len(), "[REDACTED:location-key:01234567]".len());
}

#[test]
fn sec_x28_a_private_key_is_found_line_by_line() {
    let key =
        format!("-----BEGIN KEY-----\n{}\n{}\n-----END KEY-----\n", "QUJDREVGR0g1".repeat(4), "SUpLTE1OT1A2".repeat(4));
    let by = redactor(&[], &[&key]);
    let out = by.text(&format!("begin\n  {}", key.replace('\n', "\n  ")));
    assert!(!out.contains("QUJDREVGR0g1") && !out.contains("SUpLTE1OT1A2"), "{out}");
    assert!(out.contains("-----BEGIN KEY-----\n  [REDACTED"), "{out}");
    masked(&by, &json!({ "private_key": key }).to_string(), "QUJDREVGR0g1");
}

#[test]
fn sec_x29_a_short_value_counts_only_as_a_whole_value_behind_a_name() {
    let by = redactor(&[], &["hunter"]);
    for text in [
        "password=hunter",
        "password: hunter",
        "{\"p\":\"hunter\"}",
        "--password hunter x",
        "p=\\\"hunter\\\"",
        "a=hunter&b=c",
        "p: aHVudGVy",
    ] {
        masked(&by, text, "hunter");
    }
    for text in ["the hunter runs", "host=hunter.shop.svc", "path=/hunter", "hunter: x", "name=headhunter"] {
        assert_eq!(by.text(text), text);
    }
    let mut object = json!({ "env": [{ "name": "P", "value": "hunter" }], "text": "a hunter" });
    assert!(by.object(&mut object));
    assert!(object["env"][0]["value"].as_str().is_some_and(|v| v.starts_with("[REDACTED:")), "{object}");
    assert_eq!(object["text"], "a hunter");
}

#[test]
fn sec_x7_user_rules_add_and_are_bounded() {
    let by = redactor(&["acme-[a-z]+", "a*", "grün\\w"], &[]);
    assert!(by.text("for acme-prod only").starts_with("for [REDACTED:user-0:"));
    assert!(by.text("bbb aa").starts_with("bbb [REDACTED:user-1:"));
    assert!(by.text("grünx").contains("[REDACTED:user-2:"));
    let once = by.text("acme-prod aaa");
    assert_eq!(by.text(&once), once);
    let (out, hits) = written(&redactor(&["t=\\S+"], &[]), &[b"t=ab\xff\xfecd e\n"]);
    assert!(out.starts_with(b"[REDACTED:user-0:") && out.ends_with(b"] e\n"), "{out:?}");
    assert_eq!(hits.get("user-0"), Some(&1));

    let refused = |rules: Vec<String>| Redactor::new(&rules, Vec::new()).expect_err("a bad rule").to_string();
    let secret = "(s3cr3t-of-the-user";
    let why = refused(vec!["fine".into(), secret.into()]);
    assert_eq!(why, "redaction.rules[1]: is not a regular expression in RE2 syntax: unclosed group");
    assert!(refused(vec!["(a{1000}){1000}".into()]).contains("once compiled"));
    assert!(refused(vec!["x".repeat(513)]).contains("513 bytes"));
    assert!(refused(vec!["x".into(); 65]).contains("one rule too many"));
}

#[test]
fn sec_x1_x4_objects_lose_what_must_not_be_there() {
    let by = redactor(&[], &[]);
    for kind in ["Secret", "SecretList"] {
        assert!(!by.object(&mut json!({ "kind": kind, "apiVersion": "v1", "items": [] })), "{kind}");
    }
    let meta = json!({ "name": "n", "managedFields": [{}], "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes" } });
    let mut list = json!({ "kind": "List", "items": [
        { "kind": "Deployment", "metadata": meta, "spec": { "template": { "metadata": meta } } },
        { "kind": "Secret", "metadata": { "name": "s" } },
        { "kind": "Event", "involvedObject": { "kind": "Secret", "name": "kept" } },
        { "kind": "Template", "objects": [{ "kind": "Secret", "data": { "k": "hidden" } }], "one": { "kind": "Secret", "stringData": {"k": "hidden" } } },
    ] });
    assert!(by.object(&mut list));
    let text = list.to_string();
    for gone in ["managedFields", "last-applied", "hidden", "\"name\":\"s\""] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert_eq!(text.matches("\"kept\"").count(), 3, "{text}");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    let mut crd =
        json!({ "properties": { "managedFields": { "type": "array" }, "downloadURL": { "type": "string" } } });
    let before = crd.clone();
    assert!(by.object(&mut crd));
    assert_eq!(crd, before);
}

#[test]
fn sec_x3_x16_a_download_url_keeps_only_where_it_points() {
    let by = redactor(&[], &[]);
    let mut request = json!({ "kind": "DownloadRequest", "status": { "downloadURL": "https://u:p4ss@minio:9000/b/k.gz?token=wxyz#f", "phase": "Processed" } });
    assert!(by.object(&mut request));
    let url = request["status"]["downloadURL"].as_str().expect("a string").to_owned();
    assert!(url.starts_with("https://minio:9000/b/k.gz?[REDACTED:download-url:"), "{url}");
    assert!(!url.contains("wxyz") && !url.contains("p4ss"));
    let once = request.clone();
    assert!(by.object(&mut request));
    assert_eq!(request, once);
    let mut ours = json!({ "kind": "DebugBundle", "spec": { "redaction": { "rules": ["s3cret", "x"], "configMaps": "Keys" } }, "status": { "downloadURL": "" } });
    assert!(by.object(&mut ours));
    assert_eq!(ours["spec"]["redaction"], json!({ "rules": 2, "configMaps": "Keys" }));
}

#[test]
fn sec_x44_without_a_hit_every_byte_stays() {
    let by = redactor(&[], &[KNOWN]);
    for body in
        [&b""[..], b"\n\n\r\n", b"no end", b"a\r\nb\r", b"\xff\xfe\0 x-amz- \x1b[31m\nk/8+", b"x-amz-date=1\r\n\n"]
    {
        let (out, hits) = written(&by, &[body]);
        assert_eq!(out, body);
        assert!(hits.is_empty());
    }
}

#[test]
fn sec_x43_of_a_line_that_is_too_long_the_end_is_masked_and_counted() {
    let by = redactor(&[], &["the-known-value"]);
    let border = MAX_LINE - LOOK_AHEAD;
    let mut line = vec![b'x'; 3 << 20];
    line[border - 5..border + 10].copy_from_slice(b"the-known-value");
    let body = [b"first the-known-value\n", &line[..], b"\nlast"].concat();
    let (out, hits) = written(&by, &[&body]);
    let text = String::from_utf8(out.clone()).expect("ascii");
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!((lines.len(), lines[2]), (3, "last"));
    assert!(!text.contains("the-known"));
    let masked = line.len() - (border - 5);
    assert!(
        lines[1].ends_with(&format!("x[REDACTED:long-line:{masked} bytes]")),
        "{}",
        &lines[1][lines[1].len() - 80..]
    );
    assert_eq!(lines[0], by.text("first the-known-value"));
    assert_eq!(hits, [("location-key".to_owned(), 1), ("long-line".to_owned(), 1)].into());
    let chunks: Vec<&[u8]> = body.chunks(7919).collect();
    assert_eq!(written(&by, &chunks).0, out);
    assert_eq!(written(&by, &[&out]).0, out, "twice changes nothing");

    let whole = [vec![b'y'; MAX_LINE], b"\n".to_vec()].concat();
    assert_eq!(written(&by, &[&whole]).0, whole);
}

#[test]
fn sec_x43_a_line_that_tokens_make_too_long_stays_bounded() {
    let by = redactor(&[], &["a-known-value"]);
    let (out, _) = written(&by, &["a-known-value,".repeat(MAX_LINE / 14 - 1).as_bytes()]);
    assert!(out.len() <= MAX_LINE && out.ends_with(b" bytes]"), "{}", out.len());
    assert_eq!(written(&by, &[&out]).0, out);
}

#[test]
fn nothing_that_prints_shows_a_value() {
    let by = redactor(&["s3cret-rule"], &["the-known-value"]);
    let text = format!("{by:?}");
    assert!(!text.contains("s3cret") && !text.contains("the-known"), "{text}");
}

/// Cuts the bytes into pieces of these lengths, cyclically.
fn cut_up<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = body;
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

proptest! {
    #[test]
    fn sec_x40_any_cut_of_the_input_gives_the_same_output(
        parts in prop::collection::vec(prop_oneof![
            "[a-z \n\r]{0,30}",
            Just("the-known-value".to_owned()),
            Just("&X-Amz-Signature=abc&".to_owned()),
            Just("sig=\u{0}\u{1b}[1m".to_owned()),
            Just("p=hunter\n".to_owned()),
        ], 0..40),
        cuts in prop::collection::vec(1_usize..50, 1..40),
        noise in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let by = redactor(&["ru[le]+"], &["the-known-value", "hunter"]);
        let body = [parts.concat().as_bytes(), &noise].concat();
        let (whole, _) = written(&by, &[&body]);
        prop_assert_eq!(&written(&by, &cut_up(&body, &cuts)).0, &whole);
        prop_assert_eq!(&written(&by, &[&whole]).0, &whole, "twice changes nothing");
        prop_assert!(memchr::memmem::find(&whole, b"the-known-value").is_none());
    }
}

mod by_hand;
mod carriers;
mod crossed;
mod forms;
mod fuzz;
mod hinted;
mod leaks;
mod mended;
mod properties;
mod secrets;
mod spread;
mod streams;
mod survivors;
mod torn;
mod tried;
mod tried_again;
mod tried_texts;
mod ways_around;
mod wrapped;
mod written;
