//! Each shape of a secret in every encoding, next to texts that only look like it and must stay. `secrets` documents
//! the sources of the shapes.

use super::{
    leaks::{masks_all, seed},
    secrets::{self, ENCODINGS},
    *,
};

/// All shapes whose name begins with `shape` are masked in every encoding; the texts `stays` are not.
fn form(shape: &str, stays: &[&str]) {
    let by = redactor(&[], &[]);
    let mut planted = secrets::shapes(&mut seed());
    planted.retain(|planted| planted.shape.starts_with(shape));
    assert!(!planted.is_empty(), "no shape {shape}");
    let (cases, failed) = masks_all(&by, &planted, ENCODINGS);
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
    for text in stays {
        for (how, encode) in ENCODINGS {
            let text = encode(text);
            assert_eq!(by.text(&text), text, "{how}");
        }
    }
    println!("{shape}: {cases} that must go, {} that must stay", stays.len() * ENCODINGS.len());
}

macro_rules! forms {
    ($($name:ident: $shape:literal, $stays:expr;)*) => {
        $(#[test]
        fn $name() {
            form($shape, &$stays);
        })*

        /// The shapes with a test here.
        const TESTED: &[&str] = &[$($shape),*];
    };
}

forms! {
    sec_h1_aws_key_ids: "h1-", ["AROAEXAMPLEEXAMPLE", "AIDAEXAMPLEEXAMPLE", "AKIA is a prefix", "PLAKIARD", "asia-south1-a"];
    sec_h2_aws_secret_keys_by_their_name: "h2-", ["see the commit 3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f40", "etag 9b2cf535f27731c974343645a3985328"];
    sec_h3_aws_session_tokens: "h3-", ["IQoJ begins a token", "FwoGshort"];
    sec_h4_presigned_urls: "h4-", ["https://h.example/b/k?X-Amz-Date=1&X-Amz-Expires=600", "sig=TERM", "X-Amz-SignedHeaders=host"];
    sec_h5_azure_keys_and_signatures: "h5-", ["AccountName=shop;EndpointSuffix=core.example", "storageAccountKeyEnvVar=AZURE_STORAGE_ACCOUNT_ACCESS_KEY"];
    sec_h6_google_tokens: "h6-", ["AIza is a prefix", "ya29", "client_email: velero@shop.example"];
    sec_h7_json_web_tokens: "h7-", ["eyJ begins a token", "a.b.c", "github.com/vmware-tanzu/velero/pkg/backup"];
    sec_h8_private_keys: "h8-", ["-----BEGIN CERTIFICATE-----", "BEGIN PRIVATE matters", "no PRIVATE KEY was found"];
    sec_h9_vendors_tokens: "h9-", ["ghp_short", "npm_config_registry", "sk_live_", "https://hooks.slack.com/", "xoxo-kisses", "hvs.too-short"];
    sec_h10_urls_with_a_user: "h10-", ["http://minio:9000/bucket/mail@example.com", "ssh://git@git.example/x.git", "postgres://$(USER):$(PASS)@db/shop"];
    sec_h11_headers: "h11-", ["authorization: failed", "Bearer authentication-with-words-only", "basic authentication is required", "cookie: not set"];
    sec_h12_commands: "h12-", ["mysql -P 3306 -h db", "psql -p 5432", "curl -u $USER: x", "mysqladmin --port=3306 ping", "PGPASSWORD=$PGPASSWORD psql"];
    sec_h13_connection_strings: "h13-", ["host=db user=shop dbname=shop sslmode=require", "Server=db;Database=shop;Uid=shop"];
    sec_h14_kubeconfigs_and_registries: "h14-", ["auths: registry.example", "client-certificate: /run/cert", "tokenFile: /var/run/token"];
    sec_h16_password_hashes: "h16-", ["$1 and $2 and $5", "{SHA} of it", "sha256:3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6"];
}

#[test]
fn every_shape_has_a_test_here() {
    for planted in secrets::shapes(&mut seed()) {
        let tested = TESTED.iter().any(|shape| planted.shape.starts_with(shape)) || planted.shape.starts_with("x11-");
        assert!(tested, "{}", planted.shape);
    }
}

#[test]
fn sec_h15_base64_is_looked_into_wherever_it_begins() {
    let by = redactor(&[], &[]);
    let mut seed = seed();
    for round in 0..40 {
        let secret = format!("password={}", seed.word(9 + round % 7));
        for glued in ["", "a", "7f", "id3", "0a1b", "k8s/a/b/", "deadbeef5", "A_B-C0"] {
            for behind in ["", " x", "\"", ".b", "="] {
                let encoded = STANDARD.encode(&secret);
                for digits in [encoded.clone(), encoded.replace('=', ""), STANDARD.encode(&encoded)] {
                    let line = format!("level=info blob={glued}{digits}{behind}");
                    let out = by.text(&line);
                    assert!(out.contains("[REDACTED:base64:") && !out.contains(&digits[..20]), "{line} became {out}");
                    assert_eq!(by.text(&out), out, "twice");
                }
            }
        }
    }
    let harmless = STANDARD.encode("nothing in here but words, and the name of a file");
    for glued in ["", "a", "7f", "id3"] {
        let line = format!("level=info blob={glued}{harmless}");
        assert_eq!(by.text(&line), line);
    }
    for line in [
        "digest id/wUpUv3jp3Buxt9YvDWv8Yih3MjU/ICxJQ+hMrPsk= path /q7pQjqZr1Py1/k71yOs4l4kpQNJUtDigIil4b",
        "digest bNAiXO1XgBSs5dHYd3k/unzGrZbvgVJHv8r9Lse3Psk= path /f7Brhf03LrTU/h7fIKsmj5FngHKg5jxNM8GWs",
    ] {
        assert_eq!(by.text(line), line);
    }
    assert!(!by.text("wifi/Home2/psk= hunter2hunter2").contains("hunter2"));
    for _ in 0..2000 {
        let line = format!("digest {} path /{}/{}", STANDARD.encode(seed.bytes(32)), seed.word(12), seed.word(24));
        assert_eq!(by.text(&line), line);
    }
}

#[test]
fn sec_x60_there_are_enough_cases_both_ways() {
    let (shapes, named) = (secrets::shapes(&mut seed()), secrets::named(&mut seed()));
    let carriers = secrets::carriers("x").len();
    let leaks = shapes.len() * (ENCODINGS.len() + carriers) + named.len() * ENCODINGS.len();
    let stay = survivors::cases();
    println!("{leaks} cases that must be masked, {stay} that must survive");
    assert!(leaks >= 300 && stay >= 300, "{leaks} and {stay}");
}
