//! Values that must be masked because of their place: each carrier in the objects of Velero and Kubernetes. `forms`
//! tests shapes by themselves, `survivors` what must survive.

use super::{leaks::seed, secrets, *};

#[test]
fn sec_x18_x60_every_shape_is_masked_in_every_carrier() {
    let by = redactor(&[], &[]);
    let mut failed = Vec::new();
    let mut cases = 0;
    for planted in secrets::shapes(&mut seed()) {
        for (carrier, mut object) in secrets::carriers(&planted.text) {
            cases += 1;
            assert!(by.object(&mut object));
            let text = object.to_string();
            let once = object.clone();
            if planted.gone.iter().any(|gone| text.contains(gone.as_str())) {
                failed.push(format!("{} in {carrier}: {text}", planted.shape));
            } else if by.object(&mut object) && object != once {
                failed.push(format!("{} in {carrier}, twice: {once} became {object}", planted.shape));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn sec_x10_x11_x12_x13_x14_x15_x16_x19_values_are_masked_by_the_place_in_which_they_stand() {
    let by = redactor(&[], &[]);
    let mut seed = seed();
    // With a blank inside, so that only the whole string is the value.
    let v = format!("{} {}", seed.word(5), seed.word(5));
    let mut cases = vec![
        ("x10 string", json!({ "password": v })),
        ("x10 weak", json!({ "token": v })),
        ("x10 strings", json!({ "passwd": [v, v] })),
        ("x10 deeper", json!({ "auth": { "client-secret": v } })),
        ("x11", json!({ "env": [{ "name": "SHOP_TOKEN", "value": v }] })),
        (
            "x11 header",
            json!({ "httpHeaders": [{ "name": "Authorization", "value": v }, { "value": v, "name": "Cookie" }] }),
        ),
        ("x11 podConfig", json!({ "podConfig": { "env": [{ "name": "DB_PASSWORD", "value": v }] } })),
        ("patch", json!({ "patches": [{ "op": "replace", "path": "/data/password", "value": v }] })),
        ("x12 two", json!({ "args": ["--user", "shop", "--password", v] })),
        ("x12 one", json!({ "args": [format!("--db-password={v}")] , "command": ["server"] })),
        (
            "x12 tool",
            json!({ "command": ["mysqldump", "-u", "root"], "args": [format!("-p{}", v.replace(' ', "-")), "shop"] }),
        ),
        ("x12 hook", json!({ "hooks": [{ "exec": { "command": ["redis-cli", "-a", v.replace(' ', "-"), "save"] } }] })),
        (
            "x13",
            json!({ "annotations": { "pre.hook.backup.velero.io/command": json!(["tool", "--password", v]).to_string() } }),
        ),
        ("x14", json!({ "annotations": { "a": json!({ "b": [{ "name": "API_KEY", "value": v }] }).to_string() } })),
        (
            "x14 lines",
            json!({ "annotations": { "a": serde_json::to_string_pretty(&json!([{ "value": v, "name": "API_KEY" }])).unwrap() } }),
        ),
        (
            "x14 twice",
            json!({ "a": json!({ "b": json!({ "passwords": 1, "password": [v] }).to_string() }).to_string() }),
        ),
        ("x15", json!({ "provider": "x", "config": { "odd": v, "region": "eu", "more": { "b": v } } })),
        (
            "x15 kept",
            json!({ "provider": "aws", "config": { "s3Url": format!("https://u:{}@h.example/?x={}", v.replace(' ', ""), v.replace(' ', "")) } }),
        ),
        ("x16", json!({ "downloadURL": format!("https://h.example/b?x={}", v.replace(' ', "")) })),
        ("x19", json!({ "kind": "PersistentVolume", "csi": { "volumeAttributes": { "accountKey": v } } })),
    ];
    for (_, case) in &mut cases {
        assert!(by.object(case));
    }
    let forms = [v.clone(), v.replace(' ', "-"), v.replace(' ', "")];
    let half = v.split(' ').next().unwrap_or_default();
    for (name, out) in &cases {
        let text = out.to_string();
        assert!(forms.iter().all(|form| !text.contains(form)) && !text.contains(half), "{name}: {text}");
        assert!(text.contains("[REDACTED:"), "{name}: {text}");
        let mut twice = out.clone();
        assert!(by.object(&mut twice));
        assert_eq!(&twice, out, "{name}");
    }
    let mut number =
        json!({ "pin": { "password": 482_910_337 }, "env": [{ "name": "PASSWORD", "value": 482_910_337 }] });
    assert!(by.object(&mut number));
    assert!(!number.to_string().contains("482910337"), "{number}");
}
