//! Lines that once leaked a secret or lost a harmless word, each as the tool or program writes it. `§` stands for a
//! secret generated for the run. `leaks`, `forms` and `written` test the rules in general.

use super::{leaks::seed, *};

/// The text in the log formats in which it reaches a bundle.
pub(super) fn in_frames(text: &str) -> [String; 3] {
    let logrus = format!("time=\"2026-11-22T10:00:00Z\" level=info msg={} logSource=\"a.go:1\"", json!(text));
    [text.to_owned(), logrus, json!({ "level": "info", "msg": text }).to_string()]
}

/// Every `§` of every text is masked in every frame, and redacting twice changes nothing.
pub(super) fn go(texts: &[&str]) {
    let by = redactor(&[], &[]);
    let v = seed().word(12);
    let mut failed = Vec::new();
    for text in texts {
        let text = text.replace('§', &v);
        for line in in_frames(&text) {
            let out = by.text(&line);
            if out.contains(&v) || !out.contains("[REDACTED:") {
                failed.push(format!("{line}\n    became {out}"));
            } else if by.text(&out) != out {
                failed.push(format!("{line}\n    became {out}\n    twice {}", by.text(&out)));
            }
        }
        let mut object = json!({ "kind": "Event", "message": text });
        assert!(by.object(&mut object));
        if object.to_string().contains(&v) {
            failed.push(format!("the message {text:?}\n    became {object}"));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), texts.len() * 4, failed.join("\n"));
}

/// Nothing in the texts is masked.
pub(super) fn stay(texts: &[&str]) {
    let by = redactor(&[], &[]);
    let mut failed = Vec::new();
    for text in texts {
        for line in in_frames(text) {
            let out = by.text(&line);
            if out != line {
                failed.push(format!("{line}\n    became {out}"));
            }
        }
        let object = json!({ "kind": "Event", "message": text });
        let mut after = object.clone();
        assert!(by.object(&mut after));
        if after != object {
            failed.push(format!("the message {text:?}\n    became {after}"));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), texts.len() * 4, failed.join("\n"));
}

/// The same for whole objects, and for the JSON written from them.
pub(super) fn objects_go(objects: &[serde_json::Value]) {
    let by = redactor(&[], &[]);
    let v = seed().word(12);
    let mut failed = Vec::new();
    for object in objects {
        let text = object.to_string().replace('§', &v);
        let mut object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let line = by.text(&text);
        let kept = by.object(&mut object);
        let once = by.text(&object.to_string());
        for (how, out) in [("as an object", once), ("as a line", line)] {
            if !kept || out.contains(&v) || serde_json::from_str::<serde_json::Value>(&out).is_err() {
                failed.push(format!("{how}: {text}\n    became {out}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), objects.len() * 2, failed.join("\n"));
}

pub(super) fn objects_stay(objects: &[serde_json::Value]) {
    let by = redactor(&[], &[]);
    let mut failed = Vec::new();
    for object in objects {
        let mut after = object.clone();
        assert!(by.object(&mut after));
        let text = object.to_string();
        for out in [after.to_string(), by.text(&text)] {
            if out != text {
                failed.push(format!("{text}\n    became {out}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), objects.len() * 2, failed.join("\n"));
}

#[test]
fn sec_x55_the_kind_and_name_of_what_velero_restores_survive() {
    stay(&[
        "Attempting to restore Secret: default-token-x7k2p.",
        "Attempting to restore Secret: sh.helm.release.v1.postgresql.v12.",
        "Attempting to restore Secret: db-password.",
        "Attempting to restore ExternalSecret: shop-db-credentials-7.",
        "Skipping restore of Secret: default-token-x7k2p because a registered plugin discarded it",
        "error restoring secrets/app/default-token-x7k2p: x",
    ]);
    go(&["could not restore it with Secret: §", "Attempting to restore Secret: x with password=§"]);
}

#[test]
fn sec_x55_words_and_references_under_sensitive_names_survive() {
    objects_stay(&[
        json!({ "annotations": { "checksum/secret": "3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6", "checksum/auth": "3a1c5e7f90b2d4c6" } }),
        json!({ "auth": { "existingSecret": "velero-creds-2", "secretKeys": { "adminPasswordKey": "postgres-password" }, "enabled": true } }),
        json!({ "passwordSecret": "redis-auth-1", "passwordSecretKey": "password", "existingSecretKey": "redis-password", "pullSecret": "registry-1" }),
        json!({ "labels": { "auth": "enabled", "secret": "true", "token": "required", "signature": "disabled" } }),
        json!({ "annotations": { "nginx.ingress.kubernetes.io/auth-secret": "basic-auth-1", "nginx.ingress.kubernetes.io/auth-tls-secret": "default/ca-secret" } }),
        json!({ "imagePullSecrets": ["regcred-1", "other"] }),
    ]);
    stay(&[
        "existingSecret: velero-creds-2, passwordSecret: redis-auth-1",
        "checksum/secret: 3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6",
        "auth=enabled signature=disabled token: required",
        "credentials:gs_secret_access_key=[REDACTED:named-value:0123abcd]",
        "{auth: enabled, secret: \"true\"}",
    ]);
    objects_go(&[
        json!({ "labels": { "token": "§" } }),
        json!({ "env": [{ "name": "AUTH_SECRET", "value": "§" }, { "name": "ACCESS_TOKEN_SECRET", "value": "§" }] }),
        json!({ "auth-secret": "§", "x.io/secret": "§" }),
    ]);
}

#[test]
fn sec_x55_a_count_of_passes_and_the_kind_of_a_key_survive() {
    stay(&[
        "pass=3 fail=0",
        "summary: pass: 12, fail: 0, skip: 1",
        "{\"pass\":3,\"fail\":0}",
        "privateKey: {algorithm: RSA, size: 2048}",
        "privateKey:\n  algorithm: RSA\n  encoding: PKCS1\n  size: 2048\n  rotationPolicy: Always\nsecretName: shop-tls",
    ]);
    objects_stay(&[
        json!({ "kind": "Certificate", "spec": { "privateKey": { "algorithm": "RSA", "encoding": "PKCS1", "rotationPolicy": "Always", "size": 2048 } } }),
        json!({ "kind": "PolicyReport", "summary": { "pass": 3, "fail": 0, "warn": 0, "error": 0, "skip": 0 } }),
    ]);
    go(&["pass=§ fail=0", "pass=§", "privateKey: {value: §, size: 2048}"]);
    objects_go(&[json!({ "privateKey": { "algorithm": "RSA", "value": "§" } })]);
}

#[test]
fn sec_x25_names_of_environments_that_people_use_are_known() {
    const NAMES: &[&str] = &[
        "PGPASS",
        "DBPASS",
        "DB_PASS",
        "DB_PW",
        "DB_PWD",
        "DBPWD",
        "ADMINPW",
        "LDAP_BIND_PW",
        "DB_CREDS",
        "API_KEYS",
        "SECRETS",
        "TOKENS",
        "APP_SECRETS",
        "AUTH_TOKENS",
        "AUTH_KEY",
        "APP_KEY",
        "JWT_KEY",
        "HMAC_KEY",
        "SSH_KEY",
        "STORAGE_KEY",
        "AZURE_STORAGE_KEY",
        "B2_APPLICATION_KEY",
        "SIGNING_KEY",
        "SHARED_KEY",
        "STRIPE_KEY",
        "OPENAI_KEY",
        "DB_PASSWORD_PROD",
        "DB_PASSWORD_DB",
        "DB_PASSWORD_RO",
        "DB_PASSWORD_RW",
        "DB_PASSWORD_ENC",
        "API_TOKEN_STAGING",
        "DB_PASSWORD_1",
        "APP_SECRET_1",
        "dbPass",
        "adminpass",
        "keyStorePass",
        "requirepass",
        "apiKeys",
        "authKey",
        "hmacKey",
        "storageKey",
        "applicationKey",
        "db_creds",
        "user_pw",
        "accessTokens",
    ];
    let by = redactor(&[], &[]);
    let v = seed().word(12);
    let mut failed = Vec::new();
    for name in NAMES {
        for text in [
            format!("export {name}={v}"),
            format!("level=info {name}={v} x=1"),
            json!({ *name: v }).to_string(),
            json!({ "env": [{ "name": name, "value": v }] }).to_string(),
            json!({ "msg": json!({ *name: v }).to_string() }).to_string(),
            format!("- name: {name}\n  value: {v}"),
        ] {
            let out = by.text(&text);
            if out.contains(&v) || by.text(&out) != out {
                failed.push(format!("{text} became {out}"));
            }
        }
        let mut object = json!({ "env": [{ "name": name, "value": v }], "more": { *name: v } });
        assert!(by.object(&mut object));
        if object.to_string().contains(&v) {
            failed.push(format!("{name}: {object}"));
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    go(&["API_KEYS=§,§ x=1", "SECRETS=one:§,two:§", "TOKENS=abcdef1234,§,§"]);
}

#[test]
fn sec_x25_names_that_only_sound_like_those_stay() {
    stay(&[
        "KEY_COUNT=12345678a PUBLIC_KEY=a1b2c3d4e5 SSH_PUBLIC_KEY=a1b2c3d4e5 secretName=a1b2c3d4e5 tokenTTL=3600s12345",
        "STORAGE_KEY_ID=a1b2c3d4e5 applicationKeyId=a1b2c3d4e5 APP_KEY_NAME=a1b2c3d4e5 primaryKey=a1b2c3d4e5 idempotency_key: a1b2c3d4e5",
        "cannot open /root/.pgpass: permission denied; sshpass: command not found",
        "maxTokens=4096 tokens=128 \"tokens\": 3607, secrets: 10, count/secrets: 12, resources=secrets, groupResource=secrets",
        "resources: secrets, configmaps; listing secrets: Unauthorized; tokens: none",
        "the storage key: not found, the app key: unset, upward pw, spw=1",
        "PASSWORD_PROD_FILE=/run/a1b2c3 PASSWORD_RO_COUNT=12345678a",
    ]);
    objects_stay(&[
        json!({ "secretKeys": { "adminPasswordKey": "postgres-password" }, "userPasswordKey": "password-1", "tokenKeys": "x-1" }),
        json!({ "rules": [{ "resources": ["secrets", "tokens"], "verbs": ["get"] }], "secrets": [{ "name": "shop-token-x7k2p" }] }),
        json!({ "secrets": ["shop-token-x7k2p"], "maxTokens": 4096, "labelKey": "a1b2c3d4e5", "topologyKey": "kubernetes.io/hostname" }),
    ]);
}

#[test]
fn sec_x10_x17_what_stands_below_a_sensitive_key_goes() {
    objects_go(&[
        json!({ "password": { "value": "§" } }),
        json!({ "passwords": [{ "value": "§" }, { "admin": "§" }] }),
        json!({ "password": { "admin": { "current": "§" } } }),
        json!({ "credentials": { "user": "shop", "pass": "§" } }),
        json!({ "token": { "value": "§" }, "auth": [{ "data": "§" }] }),
        json!({ "msg": json!({ "password": { "value": "§" } }).to_string() }),
        json!({ "secrets": { "userKey": "§" } }),
    ]);
    go(&[
        "password: {value: §}",
        "credentials: {user: shop, pass: §}",
        "credentials: {user: shop, more: {pass: §}, last: 1}",
        "map[password:map[value:§ x:y]]",
        "{Password:{Value:§ Set:true}}",
        "password:\n  value: §\nuser: shop",
        "spec:\n  password:\n    admin:\n      current: §\n    second: §\n  user: shop",
        "credentials:\n- user: shop\n  pass: §",
        "passwords:\n  admin: §\n  users:\n  - §\nhost: db",
        "passwords: [abc, §, x§]",
        "password: [\"a1\", \"§\"]",
        "secrets:\n  userKey: §\nhost: db",
    ]);
    for body in [
        "a: 1\npassword:\n  value: §\nb: 2\n",
        "password: {value: §}\nb: 2\n",
        "passwords:\n  a:\n    x: §\n  b: §\nc: 1\n",
        "{\"password\":{\"value\":\"§\"}}",
    ] {
        let by = redactor(&[], &[]);
        let v = seed().word(12);
        let mut map = json!({ "kind": "ConfigMap", "data": { "a.yaml": body.replace('§', &v) } });
        assert!(by.counted_config_map(&mut map, &mut Tally::default()));
        assert!(!map.to_string().contains(&v) && map.to_string().contains("[REDACTED:"), "{map}");
    }
}

#[test]
fn sec_x17_x55_references_below_a_sensitive_key_stay() {
    let selector =
        json!({ "valueFrom": { "secretKeyRef": { "name": "db-password-1", "key": "password-1", "optional": false } } });
    objects_stay(&[
        json!({ "password": selector, "token": selector, "basicAuth": { "username": { "name": "a-1", "key": "user-1" }, "password": { "name": "a-1", "key": "password-1" } } }),
        json!({ "s3Credentials": { "accessKeyId": { "name": "s-1", "key": "ACCESS_KEY_ID" }, "secretAccessKey": { "name": "s-1", "key": "SECRET_KEY" } } }),
        json!({ "auth": { "enabled": true, "method": "ldap-over-tls-1", "existingSecret": "x-1", "ldap": { "bindDN": "cn=x-1" } } }),
        json!({ "credential": { "name": "cloud-credentials", "key": "cloud" }, "secrets": [{ "name": "shop-token-x7k2p" }] }),
        json!({ "password": { "type": "string", "description": "The password, see the documentation.", "minLength": 8 } }),
    ]);
    stay(&[
        "password:\n  valueFrom:\n    secretKeyRef:\n      name: db-password-1\n      key: password-1\nhost: db",
        "password: {valueFrom: {secretKeyRef: {name: db-password-1, key: password-1}}}",
        "secrets:\n- name: shop-token-x7k2p\n- name: other-1234567",
        "auth:\n  enabled: true\n  method: ldap-over-tls-1",
        "Credential:\n  Name: cloud-credentials-1\n  Key: cloud",
        "map[auth:map[enabled:true method:ldap-over-tls-1]]",
    ]);
}

#[test]
fn sec_x26_a_value_is_masked_to_its_end() {
    go(&[
        "PGPASSWORD='a'\\''§' pg_dump",
        "PGPASSWORD='a'\"'\"'§' pg_dump",
        "PGPASSWORD='a §' pg_dump",
        "mysqldump -uroot -p'a §' shop",
        "mysqldump -uroot \"-pa §\" shop",
        "mysqldump -uroot -p\"a §\" shop",
        "curl -u \"u:a §\" https://h.example/",
        "curl -u 'u:a §' https://h.example/",
        "Server=db;Password=\"a;§\";Encrypt=true",
        "Server=db;User Id=sa;Password=a §;Encrypt=true",
        "Server=db;User Id=sa;Password='a;§'",
        "map[password:[104 117 110 116 101 114 50 §] user:[1 2 3]]",
    ]);
    let by = redactor(&[], &[]);
    for text in [
        "map[password:[104 117 110 116 101 114 50] user:x]",
        "map[token:[104 117 110 116 101 114 50] user:x]",
        "\"token\":[]byte{0x68, 0x75, 0x6e, 0x74, 0x65, 0x72, 0x32}, \"user\":x",
    ] {
        let out = by.text(text);
        assert!(!out.contains("117") && !out.contains("0x75") && !out.contains("101") && out.contains("user"), "{out}");
    }
    objects_go(&[
        json!({ "command": ["env", "PGPASSWORD=a b,§", "pg_dump"] }),
        json!({ "command": ["mysqldump", "-uroot", "-pa b,§"] }),
        json!({ "command": ["mysqldump", "--password=a b,§"] }),
        json!({ "command": ["curl", "-u", "u:a b,§", "https://h.example/"] }),
        json!({ "annotations": { "pre.hook.backup.velero.io/command": "[\"env\",\"PGPASSWORD=a b,§\",\"pg_dump\"]" } }),
        json!({ "annotations": { "pre.hook.backup.velero.io/command": "[\"mysqldump\",\"-pa b,§\"]" } }),
        json!({ "env": [{ "name": "Default", "value": "Server=db;User Id=sa;Password=a §;Encrypt=true" }] }),
    ]);
    stay(&[
        "PGPASSWORD=$PGPASSWORD pg_dump; it's done",
        "Server=db;Database=shop;Uid=shop app; retry=1",
        "map[name:shop secretName:x-1 sizes:[104 117]]",
        "token: [basic digest negotiate]",
    ]);
    let out = by.text("Uid=sa;Password=a7b8c9d0 failed to connect; retry later");
    assert!(out.ends_with("] failed to connect; retry later"), "{out}");
}
