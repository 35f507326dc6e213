//! Lines with which somebody got a secret through, or lost a harmless word, each as the tool or program writes it. `§` stands
//! for a secret that is made for the run. What the rules promise in general is tried in `leaks`, `forms` and `written`.

use super::{leaks::seed, *};

/// The text in the frames in which it reaches a bundle.
fn in_frames(text: &str) -> [String; 3] {
    let logrus = format!("time=\"2026-11-22T10:00:00Z\" level=info msg={} logSource=\"a.go:1\"", json!(text));
    [text.to_owned(), logrus, json!({ "level": "info", "msg": text }).to_string()]
}

/// Every `§` of every text is masked, whatever carries it, and twice changes nothing.
fn go(texts: &[&str]) {
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

/// Nothing of the texts is masked.
fn stay(texts: &[&str]) {
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

/// The same of whole objects, and of the JSON that is written of them.
fn objects_go(objects: &[serde_json::Value]) {
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

fn objects_stay(objects: &[serde_json::Value]) {
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

#[test]
fn sec_h12_tools_that_take_a_secret_by_a_short_flag_are_known() {
    go(&[
        "curl -su elastic:§ -XPOST localhost:9200/_flush",
        "curl -uelastic:§ localhost:9200",
        "curl -fsSLu \"elastic:§\" localhost:9200",
        "etcdctl --user root:§ snapshot save x",
        "/opt/mssql-tools/bin/sqlcmd -S localhost -U sa -P '§' -Q 'x'",
        "sqlcmd -S localhost -U sa -P§",
        "sqlplus shop/§@db",
        "mongosh -u root -p § admin",
        "mongodump -u root -p '§ x'",
        "mongosh --eval \"db.getSiblingDB('admin').auth('root','§'); db.fsyncLock()\"",
        "mongosh --eval 'db.auth(\"root\", \"§\")'",
        "ldapsearch -x -D cn=admin -w § -b dc=shop",
        "ldapmodify -xw '§'",
        "docker login -u shop -p § registry.example",
        "docker login registry.example --username shop --password §",
        "helm registry login -u shop -p § registry.example",
        "az login --service-principal -u x -p §",
        "redis-cli -a § save",
        "redis-cli -a '§ x' save",
        "requirepass §",
        "masterauth \"§\"",
        "redis-cli CONFIG SET requirepass §",
        "sentinel auth-pass mymaster §",
        "sshpass -p § ssh h",
        "sshpass -p'§ x' ssh h",
        "psql \"host=db user=shop password=§ dbname=shop\"",
        "psql \"host=db password='a §'\"",
        "htpasswd -b /etc/nginx/htpasswd shop §",
        "htpasswd -nbB shop § > /etc/htpasswd",
        "htpasswd -cb file shop §; nginx",
        "openssl pkcs12 -in x -passin pass:§ -passout pass:§ -out y",
        "openssl enc -aes-256-cbc -k § -in x",
        "mc alias set local http://minio:9000 minio §",
        "smbclient //host/share -U shop%§ -c ls",
        "rabbitmqctl add_user shop §",
        "aws configure set aws_secret_access_key § --profile x",
        "kopia repository create b2 --key-id x --storage-key §",
        "kopia repository connect azure --storage-account x --storage-key=§",
        "rbd map pool/image --id shop --key §",
        "rbd: executing [map pool/image --id shop --key=§]",
        "ceph auth add client.shop --key '§'",
        "set -e\ncurl -su elastic:§ h\nmysqldump -p§ shop\nldapsearch -w §\nrequirepass §",
    ]);
    let argv = |words: &[&str]| json!({ "command": words });
    objects_go(&[
        argv(&["curl", "-su", "elastic:§", "localhost:9200"]),
        argv(&["sqlcmd", "-S", "localhost", "-P", "§"]),
        argv(&["mongosh", "--eval", "db.auth('root','§')"]),
        argv(&["ldapsearch", "-x", "-w", "§"]),
        argv(&["docker", "login", "-u", "shop", "-p", "§"]),
        argv(&["htpasswd", "-nb", "shop", "§"]),
        argv(&["smbclient", "//h/s", "-U", "shop%§"]),
        argv(&["rbd", "map", "--key", "§"]),
        argv(&["redis-server", "--requirepass", "§"]),
        argv(&["redis-cli", "config", "set", "requirepass", "§"]),
        argv(&["sh", "-c", "htpasswd -b f shop §"]),
        json!({ "command": ["redis-server"], "args": ["--requirepass §"] }),
    ]);
    stay(&[
        "curl -s https://h.example/ -XPUT http://h:9200/_all -o out",
        "sqlcmd -S localhost -E -Q x; psql -P pager=off",
        "ldapsearch -x -W -b dc=shop; ldap is down; login failed: a -p b",
        "docker login registry.example; docker run -p 8080:80 nginx; helm -n shop upgrade -p x",
        "requirepass is not set; masterauth not found; auth-pass mymaster is missing",
        "htpasswd -b; htpasswd file shop",
        "mongodump --archive -p --host h; sshpass -e ssh h",
        "rbd map pool/image --id shop --keyfile /tmp/keyfile-1234567 --keyring=/etc/ceph/keyring",
        "openssl x509 -in cert.pem -noout; kopia snapshot create",
        "db.auth() failed, auth(user, pass) is called",
    ]);
}

#[test]
fn sec_x22_secrets_of_calls_to_a_csi_driver_go() {
    let v = seed().word(12);
    let ceph = format!("AQ{}==", seed().word(36));
    go(&[
        "I1122 10:00:00.1 1 utils.go:195] ID: 7 GRPC request: {\"secrets\":{\"userID\":\"shop\",\"userKey\":\"§\"},\"volume_id\":\"x\"}",
        "GRPC request: {\"volume_id\":\"x\",\"secrets\":{\"encryptionPassphrase\":\"§\"}}",
        "GRPC request: volume_id:\"x\" secrets:<key:\"userKey\" value:\"§\" > secrets:<key:\"b\" value:\"§\" >",
        "GRPC request: secrets:{key:\"userKey\" value:\"§\"} volume_id:\"x\"",
        "request: {VolumeId:x Secrets:map[userKey:§ userID:shop]}",
    ]);
    let by = redactor(&[], &[]);
    assert!(!by.text(&format!("key is {ceph} x")).contains(&ceph) && !v.is_empty());
    stay(&[
        "GRPC request: {\"volume_id\":\"x\",\"node_stage_secret_ref\":{\"name\":\"a-1\",\"namespace\":\"b\"}}",
        "GRPC request: {\"secrets\":\"***stripped***\",\"volume_id\":\"x\"}",
        "GRPC request: {\"secrets\":{\"userKey\":\"***stripped***\"}}",
        "GRPC response: {\"volume\":{\"capacity_bytes\":1073741824}}",
    ]);
}

#[test]
fn sec_h9_h10_tokens_of_vendors_and_addresses_that_are_secrets_go() {
    let mut seed = seed();
    let hex = |seed: &mut secrets::Seed, n| seed.of(b"0123456789abcdef", n);
    let by = redactor(&[], &[]);
    let mut failed = Vec::new();
    for (before, value, after) in [
        ("https://", hex(&mut seed, 32), "@sentry.example/1"),
        ("https://", seed.word(40), "@git.example/shop.git"),
        ("https://oauth2:", seed.word(40), "@git.example/shop.git"),
        (
            "https://x.webhook.office.com/webhookb2/",
            format!("{0}-{1}@{0}/IncomingWebhook/{0}/{1}", hex(&mut seed, 32), hex(&mut seed, 12)),
            " x",
        ),
        ("https://discord.com/api/webhooks/123456789012345678/", seed.word(68), " x"),
        ("https://api.telegram.org/bot", format!("123456789:{}", seed.word(35)), "/sendMessage"),
    ] {
        for line in in_frames(&format!("{before}{value}{after}")) {
            let out = by.text(&line);
            if out.contains(&value[..20]) || by.text(&out) != out {
                failed.push(format!("{line} became {out}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    stay(&[
        "ssh://git@git.example/x.git https://shop@h.example/x https://x-access-token@github.com/x",
        "abfss://velero-backups-1234567890abcdef@account1.dfs.core.windows.net/x",
        "https://discord.com/api/webhooks/ https://api.telegram.org/ https://x.webhook.office.com/",
        "https://8a1c3b52.example.com/a@b https://registry.example/shop@sha256:3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6",
    ]);
}

#[test]
fn sec_h14_files_of_credentials_in_text_go() {
    go(&[
        "machine git.example login shop password §",
        "default login shop password §\n",
        "machine git.example\nlogin shop\npassword §",
        "db.shop.svc:5432:shop:shop:§",
        "*:*:*:postgres:§",
        "echo 'localhost:5432:*:shop:§' > ~/.pgpass",
        "<property name=\"password\" value=\"§\"/>",
        "<password>§</password>",
        "<property><name>fs.s3a.secret.key</name><value>§</value></property>",
    ]);
    stay(&[
        "login failed for shop: password expired; machine x is down",
        "fd00:5432:abcd:ef01:2345:6789:1234:1 and 10.0.0.1:5432: connection refused",
        "<property><name>fs.s3a.endpoint</name><value>minio.shop.svc-1</value></property>",
        "db.shop.svc:5432:shop is a pair; a:*:b",
    ]);
}

#[test]
fn sec_x6_x17_a_secret_written_out_in_a_text_loses_its_values() {
    go(&[
        "kubectl apply -f - <<EOF\napiVersion: v1\nkind: Secret\nmetadata:\n  name: shop-db\nstringData:\n  conf: §\n  user: §\nEOF",
        "apiVersion: v1\nkind: Secret\ndata:\n  username: §\n  file: |\n    §\n    more §\n  last: \"§\"\nmetadata:\n  name: shop",
        "- apiVersion: v1\n  kind: Secret\n  data:\n    username: §\n",
        "applied {\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"username\":\"§\",\"x\":\"§\"}} to it",
        "applied {\"apiVersion\":\"v1\",\"data\":{\"username\":\"§\"},\"kind\":\"Secret\",\"metadata\":{\"name\":\"shop\"}}",
        "{\"items\":[{\"stringData\":{\"name\":\"§\"},\"kind\":\"Secret\"}]}",
    ]);
    let by = redactor(&[], &[]);
    let v = seed().word(12);
    for body in [
        "apiVersion: v1\ndata:\n  username: §\n  conf: |\n    §\n    a: §\nkind: Secret\nmetadata:\n  name: shop-db\n",
        "items:\n- apiVersion: v1\n  data:\n    username: §\n  kind: Secret\n",
        "x: 1\n---\nkind: Secret\nmetadata:\n  name: shop-db\nstringData: {user: §}\n",
        "{\"kind\":\"Secret\",\"data\":{\"username\":\"§\"}}",
    ] {
        let body = body.replace('§', &v);
        let mut map = json!({ "kind": "ConfigMap", "data": { "a.yaml": body } });
        let mut event = json!({ "kind": "Event", "message": body });
        assert!(by.counted_config_map(&mut map, &mut Tally::default()) && by.object(&mut event));
        for out in [map.to_string(), event.to_string()] {
            let out = by.text(&out);
            assert!(!out.contains(&v) && out.contains("[REDACTED:"), "{body} became {out}");
        }
    }
}

#[test]
fn sec_x17_x55_of_other_objects_written_out_in_a_text_the_values_stay() {
    stay(&[
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  username: shop-1234567\n  conf: |\n    a: b1234567\n",
        "kind: Secret\n---\nkind: ConfigMap\ndata:\n  username: shop-1234567",
        "{\"kind\":\"ConfigMap\",\"data\":{\"username\":\"shop-1234567\"}}",
        "{\"involvedObject\":{\"kind\":\"Secret\",\"name\":\"shop-1234567\"},\"data\":{\"a\":\"b1234567\"}}",
        "kind: Secret\nname: shop-1234567\nnamespace: shop",
    ]);
}

#[test]
fn sec_x27_a_password_in_a_sentence_goes_and_the_sentence_stays() {
    go(&[
        "the password is §.",
        "connecting as shop with password § to db",
        "the Password was changed to \"§\"",
        "passphrase '§' was refused",
        "the secret key is §",
    ]);
    stay(&[
        "the password is wrong, the password was not found, with password authentication, password is required",
        "the password of user12345 has ended; password authentication failed for user \"shop12345\"",
        "the password is in shop-db-1234567 and the passphrase of AZURE_KEY_1 is not; secret key shop.key-1",
        "password policy: 8 letters; password must have 12 letters; the access key with key AZURE_STORAGE_ACCOUNT_ACCESS_KEY1 is gone",
    ]);
    let out = redactor(&[], &[]).text(&format!("the password is {} and no other", seed().word(12)));
    assert!(out.starts_with("the password is [REDACTED:prose:") && out.ends_with("] and no other"), "{out}");
}
