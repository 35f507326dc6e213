//! Configuration in all formats, with secrets and without. `config_map` has the tests of whole ConfigMaps.

use regex::Regex;

use super::*;

fn masked(text: &str) -> String {
    let by = Redactor::new(&[], Vec::new()).unwrap();
    let mut tally = Tally::default();
    let once = mask(&by, text, &mut tally).unwrap_or_else(|| text.to_owned());
    assert_eq!(mask(&by, &once, &mut tally), None, "masking twice changes nothing:\n{once}");
    once
}

/// The text with tokens written as `<T>`.
fn shown(text: &str) -> String {
    let token = Regex::new(r"\[REDACTED:by-name:[0-9a-f]{8}\]").unwrap();
    token.replace_all(&masked(text), "<T>").into_owned()
}

#[test]
fn one_line_of_any_format_keeps_its_name_and_loses_its_value() {
    for (line, expected) in [
        ("password: hunter2", "password: \"<T>\""),
        ("  - password: 'hunter2' ", "  - password: '<T>'"),
        ("\"password\": \"hunter2\",", "\"password\": \"<T>\","),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=\"<T>\""),
        ("export AWS_SECRET_ACCESS_KEY=hunter2", "export AWS_SECRET_ACCESS_KEY=\"<T>\""),
        ("db.password = hunter2", "db.password = \"<T>\""),
        ("secret key = hunter2", "secret key = \"<T>\""),
        ("# password: hunter2", "# password: \"<T>\""),
        ("token => hunter2", "token => \"<T>\""),
        ("pin: 1\npassword: 12345", "pin: 1\npassword: \"<T>\""),
        ("url: jdbc:x://h/d?user=a&password=hunter2&x=1", "url: jdbc:x://h/d?user=a&password=<T>&x=1"),
        ("db: {user: a, password: hunter2}", "db: {user: a, password: <T>}"),
        ("cmd: run --password hunter2 --fast", "cmd: run --password <T> --fast"),
        ("cmd: run --secret-key=hunter2 --fast", "cmd: run --secret-key=<T> --fast"),
        ("PASSWORD=\"hunter\"2", "PASSWORD=\"<T>\""),
        ("db: {auth: {user: cow}, token: [a]}", "db: {auth: {user: cow}, token: [a]}"),
        ("url: x?password=hunter2=hunter2&a=b", "url: x?password=<T>&a=b"),
        ("args:\n- --password\n- hunter2\n- --fast", "args:\n- --password\n- \"<T>\"\n- --fast"),
        (r#"patchData: '{"spec":{"password":"hunter2"}}'"#, r#"patchData: '{"spec":{"password":"<T>"}}'"#),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn a_value_over_several_lines_goes_as_a_whole() {
    for text in [
        "password: |\n  hunter2\n\n  more: hunter2\nuser: cow\n",
        "password: >-\n    hunter2\n    hunter2\nuser: cow\n",
        "password:\n  hunter2\nuser: cow\n",
        "password:\n  aHVudGVyMg==hunter2\nuser: cow\n",
        "tokens: 1\ntoken:\n- hunter2\n- hunter2\nuser: cow\n",
        "token:\n  - 'hunter2'\nuser: cow\n",
        "password: \"hunter2\nhunter2\"\nuser: cow\n",
        "password: hunter2\n  hunter2\nuser: cow\n",
        "password:\n  hunter2   \nuser: cow\n",
        "password:\n# a: comment\n  hunter2\nuser: cow\n",
        "password = hunter2\\\nhunter2\\\nhunter2\nuser: cow\n",
        "password = \"\"\"\nhunter2\nhunter2\n\"\"\"\nuser: cow\n",
        "a:\n- name: DB_PASSWORD\n  value: hunter2\nuser: cow\n",
        "patches:\n- operation: replace\n  path: \"/data/password\"\n  value: hunter2\nuser: cow\n",
        "a:\n- value: hunter2\n  name: DB_PASSWORD\nuser: cow\n",
        "a:\n- value: hunter2\n  valueType: x\n  key: DB_PASSWORD\n- value: fine\nuser: cow\n",
        "a:\n- value: |\n    hunter2\n\n    hunter2\n  name: DB_PASSWORD\nuser: cow\n",
        "a:\n- value:\n  - hunter2\n  - hunter2\n  name: DB_PASSWORD\nuser: cow\n",
        "a:\n- name: DB_PASSWORD\n  value:\n  - hunter2\n  - hunter2\nuser: cow\n",
        "a:\n- value: [a, hunter2]\n  name: DB_PASSWORD\nuser: cow\n",
        "[a]\nvalue = hunter2\nname = DB_PASSWORD\nuser: cow\n",
        "list:\n  - password: |\n      hunter2\n    other: |\n      fine\nuser: cow\n",
    ] {
        let out = masked(text);
        assert!(!out.contains("hunter2"), "{out}");
        assert!(out.ends_with("user: cow\n"), "{out}");
    }
}

#[test]
fn a_value_above_the_name_of_another_element_stays() {
    for text in [
        "a:\n- value: fine1\n  name: HOST\n- value: \"<T>\"\n  name: DB_PASSWORD\n- value: fine2\n  name: PORT\n",
        "a:\n- value: fine1\n- name: DB_PASSWORD\n  valueFrom: x\n",
        "a:\n  value: fine1\nname: DB_PASSWORD\n",
        "value: fine1\nof:\n  name: DB_PASSWORD\nname: HOST\n",
    ] {
        assert_eq!(shown(&text.replace("<T>", "hunter2")), text);
    }
}

#[test]
fn json_stays_json_and_objects_are_walked() {
    let out = shown(
        r#"{"db": {"password": "hunter2", "port": 1}, "pwd": 42, "token": ["hunter2", {"a": "b"}], "secret": {"name": "x"},
            "env": [{"name": "API_KEY", "value": "hunter2"}, {"value": ["a", "hunter2"], "name": "API_KEY"}], "more": "{\"password\":\"hunter2\"}", "token_ttl": "1h"}"#,
    );
    let value: Value = serde_json::from_str(&out).unwrap();
    assert!(!out.contains("hunter2"), "{out}");
    assert_eq!((&value["db"]["port"], &value["secret"]["name"]), (&Value::from(1), &Value::from("x")));
    assert_eq!((&value["pwd"], &value["token_ttl"]), (&Value::from("<T>"), &Value::from("1h")));
    assert_eq!(value["more"], r#"{"password":"<T>"}"#);
}

#[test]
fn a_key_that_stands_twice_in_json_hides_nothing() {
    assert_eq!(masked("{\"password\": \"hunter2\", \"password\": \"\"}"), "{\"password\":\"\"}");
}

#[test]
fn a_long_line_takes_no_longer_than_its_length() {
    for piece in ["a=", "token=", "pwd=1 --pwd 1 ", "\"a\":", "a b:", "[REDACTED:"] {
        let line = piece.repeat((256 << 10) / piece.len());
        let began = std::time::Instant::now();
        mask(&Redactor::new(&[], Vec::new()).unwrap(), &line, &mut Tally::default());
        // A debug build takes a second; quadratic time would take many minutes.
        assert!(began.elapsed() < std::time::Duration::from_mins(1), "{piece}: {:?}", began.elapsed());
    }
}

#[test]
fn what_is_no_secret_stays_byte_for_byte() {
    for text in [
        "loadConcurrency:\n  globalConfig: 2\n  perNodeConfig:\n  - nodeSelector:\n      matchLabels:\n        a: b\n    number: 3\n",
        "{\"loadConcurrency\":{\"globalConfig\":2},\n  \"podResources\": {\"cpuRequest\": \"1\"}}",
        "version: v1\nvolumePolicies:\n- conditions:\n    storageClass: [gp2]\n  action:\n    type: skip\n",
        "secretName: cow\nsecret:\n  name: cow\n  key: milk\nautomountServiceAccountToken: false\ntokenExpirationSeconds: 3600\n",
        "password: \"\"\npassword:\ntoken: null\nuser: cow\n",
        "msg: unable to get key for secret: Secret \"x\" not found\r\nurl: https://shop.example/?a=b\n",
        "[default]\nregion = eu-west-1\nbypass = on\n",
        "old-image-1: new-image-1\ngp2: gp3\n",
        "",
    ] {
        assert_eq!(masked(text), text);
    }
}
