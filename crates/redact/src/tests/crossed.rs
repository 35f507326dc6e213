//! Carriers crossed with encodings, both ways: each shape, in each encoding, in each kind of line that Velero, its
//! plugins, Kubernetes and their runtimes log, and in each place of an object; next to it the texts that must survive
//! there. `secrets` makes the shapes; `leaks` tests shapes and encodings by themselves.

use super::{
    leaks::seed,
    secrets::{self, ENCODINGS, Encoding, Planted},
    *,
};

/// How a message is logged: name of the format, and the line.
const LINES: &[Encoding] = &[
    ("klog", |text| format!("E0908 03:04:12.123456       1 exec.go:99] {text}")),
    ("klog with keys", |text| {
        format!(r#"I0908 03:04:12.123456       1 hook.go:221] "Ran the hook" err={text:?} pod="shop/db-0" took="1.2s""#)
    }),
    ("hclog", |text| format!("2026-09-08T03:04:12.123Z [ERROR] plugin.velero-plugin-for-aws: failed: {text}")),
    ("hclog with keys", |text| {
        format!("2026-09-08T03:04:12.123Z [WARN]  plugin: exited: error={text:?} cmd=/plugins/velero-plugin-for-aws")
    }),
    ("hclog in JSON", |text| {
        json!({ "@level": "error", "@message": text, "@module": "plugin", "@timestamp": "2026-09-08T03:04:12.123456Z" })
            .to_string()
    }),
    ("logfmt", |text| format!("ts=2026-09-08T03:04:12Z caller=main.go:17 level=error err={text:?} attempt=3")),
    ("logrus of a plugin", |text| {
        format!(
            "time=\"2026-09-08T03:04:12Z\" level=error msg={text:?} backup=velero/nightly cmd=/plugins/velero-plugin-for-aws \
             logSource=\"/go/src/velero-plugin-for-aws/object_store.go:141\" pluginName=velero-plugin-for-aws"
        )
    }),
    ("zap in JSON", |text| {
        json!({ "level": "error", "ts": 1_789_000_000.5, "logger": "controller", "msg": "it failed", "error": text })
            .to_string()
    }),
    ("Go's %q", |text| format!("the answer {text:?} was not what was expected")),
    ("Go's %+v", |text| {
        format!("&{{Container:db Command:[/bin/sh -c {text}] OnError:Fail Timeout:{{Duration:3m0s}}}}")
    }),
    ("Go's %#v", |text| {
        format!("v1.ExecHook{{Container:\"db\", Command:[]string{{\"/bin/sh\", \"-c\", {text:?}}}, OnError:\"Fail\"}}")
    }),
    ("the container runtime", |text| format!("2026-09-08T03:04:12.123456789Z stderr F {text}")),
    ("colours", |text| format!("\u{1b}[31mERRO\u{1b}[0m[0007] {text}")),
];

/// The first piece of the secret that is still in the output.
fn left<'a>(planted: &'a Planted, write: &'a impl Fn(&str) -> String, out: &str) -> Option<String> {
    let trace = |gone: &'a String| [gone.clone(), secrets::trace(&planted.text, gone, write)];
    planted.gone.iter().flat_map(trace).find(|gone| out.contains(gone.as_str()))
}

/// The digits of 64 bytes have H5's shape of a storage account's key, whatever the bytes are; after two encodings the
/// bytes may be digits themselves.
fn is_as_long_as_a_key(text: &str) -> bool {
    text.len() == 64 || STANDARD.encode(text).len() == 64
}

fn told(failed: &[String], cases: usize) {
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn sec_x22_x60_every_shape_is_masked_in_every_encoding_in_every_kind_of_line() {
    let by = redactor(&[], &[]);
    let (mut failed, mut cases) = (Vec::new(), 0);
    for planted in secrets::shapes(&mut seed()) {
        for (kind, line) in LINES {
            for encoding in ENCODINGS.iter().filter(|encoding| secrets::is_promised(encoding, &planted.text)) {
                cases += 1;
                let write = |text: &str| line(&encoding.1(text));
                let out = by.text(&write(&planted.text));
                if let Some(left) = left(&planted, &write, &out) {
                    failed.push(format!("{} as {} in {kind}: {out} has {left}", planted.shape, encoding.0));
                } else if by.text(&out) != out {
                    failed.push(format!("{} as {} in {kind}, twice: {out}", planted.shape, encoding.0));
                }
            }
        }
    }
    told(&failed, cases);
    println!("{cases} cases");
    assert!(cases > 5000, "{cases}");
}

#[test]
fn sec_x10_to_x19_x60_every_shape_is_masked_in_every_encoding_in_every_place_of_an_object() {
    let by = redactor(&[], &[]);
    let (mut failed, mut cases) = (Vec::new(), 0);
    for planted in secrets::shapes(&mut seed()) {
        for encoding in ENCODINGS.iter().filter(|encoding| secrets::is_promised(encoding, &planted.text)) {
            for (at, (place, mut object)) in secrets::carriers(&encoding.1(&planted.text)).into_iter().enumerate() {
                cases += 1;
                let write = |text: &str| secrets::carriers(&encoding.1(text)).swap_remove(at).1.to_string();
                assert!(by.object(&mut object));
                let out = object.to_string();
                if let Some(left) = left(&planted, &write, &out) {
                    failed.push(format!("{} as {} in {place}: {out} has {left}", planted.shape, encoding.0));
                }
            }
        }
    }
    told(&failed, cases);
    println!("{cases} cases");
    assert!(cases > 5000, "{cases}");
}

#[test]
fn sec_x55_x60_x61_what_names_a_failure_survives_in_every_encoding_in_every_kind_of_line() {
    let by = redactor(&[], &[]);
    let (mut failed, mut cases) = (Vec::new(), 0);
    for text in survivors::all() {
        for (kind, line) in LINES {
            for (how, encode) in
                ENCODINGS.iter().filter(|(how, _)| !(how.contains("base64") && is_as_long_as_a_key(text)))
            {
                cases += 1;
                let text = line(&encode(text));
                let out = by.text(&text);
                if out != text {
                    failed.push(format!("{how} in {kind}: {text}\n    became {out}"));
                }
            }
        }
    }
    told(&failed, cases);
    println!("{cases} cases");
    assert!(cases > 5000, "{cases}");
}
