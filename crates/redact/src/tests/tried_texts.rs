//! Like `tried`, for commands, for texts that contain the text of another program or file, and for sentences.

use super::{
    leaks::seed,
    tried::{go, in_frames, objects_go, objects_stay, stay},
    *,
};

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
        "kind: Secret\n---\napiVersion: v1\ndata:\n  username: shop-1234567\nkind: ConfigMap",
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

#[test]
fn sec_x25_short_flags_and_names_of_two_words_are_known() {
    go(&[
        "passPhrase=§ pass_phrase: \"§\" pass-phrase=§",
        "wifi_psk=§",
        "PRESHARED_KEY=§ PresharedKey=§",
        "heketi: restuserkey: §, resturl: x",
        "run [\"nodetool\",\"-pw\",\"§\",\"flush\"] now",
    ]);
    objects_go(&[
        json!({ "command": ["nodetool", "-u", "shop", "-pw", "§", "flush"] }),
        json!({ "command": ["nodetool"], "args": ["-pw=§", "flush"] }),
        json!({ "passPhrase": "§", "pass-phrase": "§", "psk": "§", "presharedKey": "§", "parameters": { "restuserkey": "§" } }),
    ]);
    stay(&["phrase=shop-1234567 userkey=shop-1234567", "oopsk=shop-1234567, psk: not found"]);
    objects_stay(&[json!({ "command": ["x", "-pwx", "shop-1234567", "-p", "8080"], "catchphrase": "shop-1234567" })]);
}

#[test]
fn sec_x10_below_passwords_stand_those_who_have_them() {
    go(&[
        "passwords: {admin: §, user: §}",
        "passwords:\n  admin: §\n  user: §\nhost: db\n",
        "config {\"passwords\":{\"user\":\"§\",\"host\":\"§\"}}",
        "userPasswords: map[admin:§ user:§]",
    ]);
    objects_go(&[json!({ "auth": { "passwords": { "user": "§", "username": "§" } } })]);
    let v = seed().word(12);
    let by = redactor(&[], &[]);
    for values in
        ["auth:\n  passwords:\n    admin: §\n    user: §\n", "{\"passwords\":{\"user\":\"§\",\"admin\":\"§\"}}"]
    {
        let mut map = json!({ "kind": "ConfigMap", "data": { "values.yaml": values.replace('§', &v) } });
        assert!(by.counted_config_map(&mut map, &mut Tally::default()));
        assert!(!map.to_string().contains(&v) && map.to_string().contains("user"), "{map}");
    }
    stay(&["{password: {user: shop-1234567, secretKeyRef: shop-1234567}}"]);
    objects_stay(&[json!({ "passwords": { "secretName": "shop-1234567", "policy": "shop-1234567" } })]);
}

#[test]
fn sec_x17_a_secret_written_out_on_one_line_loses_its_values() {
    go(&[
        "apply kind: Secret, metadata: {name: x}, stringData: {foo: §, user: §}",
        "{apiVersion: v1, data: {foo: §, user: §}, kind: Secret}",
        "creating &Secret{ObjectMeta:{x  shop    0},Data:map[string][]byte{},StringData:map[string]string{foo: §,b,bar: §,},Type:Opaque,}",
        "x &Secret{ObjectMeta:v1.ObjectMeta{Name:\"x\"}, StringData:map[string]string{\"foo\":\"§\", \"b\":\"§\"}}",
        "secret {Name:x StringData:map[foo:§ bar:§]}",
        "kubectl patch secret s -p '{\"stringData\":{\"pw\":\"§\",\"user\":\"§\"}}'",
        "kubectl patch secret s --type merge -p '{\"data\":{\"user\":\"§\"}}'",
        "kubectl create secret generic x --from-literal=dbkey=§ --from-literal='b=a §' --from-literal c=\"a §\"",
        "x=1; kubectl create secret generic x --from-literal=a='§;b' --from-literal=b=§",
    ]);
    objects_go(&[
        json!({ "command": ["kubectl", "create", "secret", "generic", "x", "--from-literal=dbkey=a §", "--from-literal", "b=§"] }),
    ]);
    stay(&[
        "{involvedObject: {kind: Secret, name: x}, data: {a: b1234567}}",
        "{kind: ConfigMap, data: {user: shop1234567}}; secret x is gone",
        "{kind: Secret, name: x} {kind: ConfigMap, metadata: {data: {user: shop1234567}}}",
        "kubectl create secret generic x --from-file=a; kubectl create configmap x --from-literal=dbkey=shop1234567",
        "patch secret x, data: 12 bytes, metadata: {name: shop1234567}",
    ]);
}

#[test]
fn sec_x27_a_value_goes_to_its_end() {
    go(&[
        "login with password=a,§ failed",
        "password=a;§",
        "password=a&§ x",
        "PASSWORD='a'\"§\" psql",
        "PASSWORD=$'a\\'§' psql",
        "{password: 'a '' §'}",
        "password: 'a''§'",
        "config &{Password:a,§ Host:db}",
    ]);
    stay(&["{auth: 'it''s so', b: c}, pass=3,fail=0, password=,x1 auth=on,x1"]);
    let by = redactor(&[], &[]);
    for (before, value, after) in [
        ("https://h/x?password=", "", "&a1=b1"),
        ("Server=h;Password=", "", ";Encrypt1"),
        ("username=shop,password=", "", ",ro1"),
        ("PGPASSWORD=", "", ";pg_dump -U shop"),
        ("password=", "", ",host=db1"),
        ("{password: ", "", ",host: db1}"),
        ("x password='", "", "' host1"),
    ] {
        let value = format!("{value}{}", seed().word(12));
        let out = by.text(&format!("{before}{value}{after}"));
        assert!(!out.contains(&value) && out.starts_with(before) && out.ends_with(after), "{out}");
    }
}

#[test]
fn sec_x11_comments_anchors_and_signs_of_a_diff_are_no_way_around() {
    go(&[
        "kind: Secret # generated\nstringData:\n  foo: §\n",
        "password: |-  # of the shop\n  a §\nhost: db\n",
        "kind: Secret\nmetadata:\n  name: x\ndata: {foo: §, user: §}\n",
        "- name: DB_PASSWORD\n  # of the shop\n  value: §\n",
        "password:\n  # of the shop\n  §\n",
        "password: \"a b\n  c §\"\nhost: db\n",
        "password: &db §\nhost: db\n",
        "password: !!binary §\nhost: db\n",
        "password: &db |\n  a §\nhost: db\n",
        "+kind: Secret\n+stringData:\n+  foo: §\n+  user: §\n",
        " apiVersion: v1\n kind: Secret\n stringData:\n+  foo: §\n-  bar: §\n",
    ]);
    stay(&[
        "kind: SecretStore # generated\ndata:\n  foo: shop-1234567\n",
        "kind: ConfigMap\ndata: {foo: shop-1234567}\n",
        "- name: DB_PASSWORD\n# of the shop\n- name: HOST\n  value: shop-1234567\n",
        "+kind: ConfigMap\n+data:\n+  foo: shop-1234567\n",
    ]);
}
