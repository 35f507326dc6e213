//! Values within something else: a type, a call or a pointer, an element of XML, a Go struct, a URL that is partly
//! encoded, a script of several lines. Each stands beside texts that only look like it.

use super::{tried::*, *};

#[test]
fn sec_x26_a_value_within_a_type_a_call_or_a_pointer_goes() {
    go(&[
        "password=Some(\"§\")",
        "password: Some( \"§\" )",
        "Config { password: Some(SecretString(\"§\")), user: \"x\" }",
        "Config { token: Some(Token { inner: \"§\" }) }",
        "password=Some(\\\"§\\\")",
        "password=Some(\\\\\\\"§\\\\\\\")",
        "Password: Optional[§]",
        "password=Some(§)",
        "password=(§)",
        "Password:(string)(0xc000a1b2c3)(§)",
        "Password: Optional[\"§\"]",
        "Password=Optional.of(§)",
        "token=&\"§\"",
        "token: &\"§\"",
        "password=[&\"§\"]",
        "password:&[abc §]",
        "password: Just(\"§\")",
        "password: Just \"§\"",
        "password: Just §",
        "secret=String(\"§\")",
        "secret: String(\"§\")",
        "password = new String(\"§\")",
        "password=b\"§\" user=x",
        "password=b'§'",
        "password=u'§'",
        "password=N'§'",
        "password: r\"§\"",
        "password=SecretStr('§')",
        "password: Secret(Some(\"§\"))",
        "passwd=Cow::Borrowed(\"§\")",
        "api_key=Key::new(\"§\")",
        "password=(\"§\")",
        "password: (\"§\")",
        "password=NullString{\"§\", true}",
        "Password:sql.NullString{String:\"§\", Valid:true}",
        "passwords=[]string{\"a\", \"§\"}",
        "password=pointer.String(\"§\")",
        "SecretAccessKey: aws.String(\"§\"),",
        "Password:(*string)(0xc000123450)(\"§\")",
        "Password: (*string)(0xc00001) \"§\"",
        "Password:(string) (len=12) \"§\"",
        "password=(*string)(\"§\")",
        "PASSWORD=$(echo \"§\")",
        "PASSWORD=$(echo -n '§' | base64)",
        "PASSWORD=$(printf '%s' '§')",
    ]);
    let by = redactor(&[], &[]);
    let out = by.text("password=Some(\"hunter2-x7\") user=Some(\"shop\")");
    assert!(out.starts_with("password=Some(\"[REDACTED:") && out.ends_with("]\") user=Some(\"shop\")"), "{out}");
    stay(&[
        "password=Some(\"\") user=Some(\"shop-1\")",
        "password: None, token: Some(true), secret=None",
        "token: Some(\"enabled\") auth=String(\"basic\")",
        "password=$(cat /run/secrets/db-1)",
        "auth=(none) token=(unset) password: (not set), password=Some(redacted) token: Some(\"<redacted>\")",
        "Credential:(*v1.SecretKeySelector)(0xc000a1b2c3) Credential:0xc000a1b2c3",
        "secret: unknown(\"kind is not registered\") token: http.Get(\"https://auth.docker.io/token\") failed",
        "failed to get secret: Secret \"cloud-credentials\" not found (\"velero-1\")",
        "error getting credentials: rpc error: code = Unknown desc = stat /credentials/cloud: (\"no such file\")",
    ]);
}

#[test]
fn sec_x26_the_text_of_an_element_goes_whatever_its_tag_contains() {
    go(&[
        "<password>§</password>",
        "<password>a §</password>",
        "<ns:password attr=\"1\">§</ns:password>",
        "<password attr='1' b=\"2\">a §</password>",
        "<password><![CDATA[§]]></password>",
        "<password> <![CDATA[a <§]]> </password>",
        "<wsse:Password Type=\"http://docs.oasis-open.org/x#PasswordText\">§</wsse:Password>",
        "\\u003cpassword\\u003e§\\u003c/password\\u003e",
        "\\u003ctoken\\u003e§\\u003c/token\\u003e",
        "\\u003cns:password attr=\\\"1\\\"\\u003e§\\u003c/ns:password\\u003e",
        "\\u003cpassword\\u003e\\u003c![CDATA[§]]\\u003e\\u003c/password\\u003e",
        "&lt;password&gt;§&lt;/password&gt;",
        "<Credentials><SecretAccessKey>§</SecretAccessKey><SessionToken>§</SessionToken></Credentials>",
        "\\u003cSecretAccessKey\\u003e§\\u003c/SecretAccessKey\\u003e",
        "<password value=\"§\"/>",
        "<entry key=\"password\">§</entry>",
        "<property name='password' type=\"x\">a §</property>",
        "<setting name=\"Password\" serializeAs=\"String\"><value>§</value></setting>",
        "\\u003cstring name=\\\"api_key\\\"\\u003e§\\u003c/string\\u003e",
        "<ApiKey xsi:type=\"string\">§</ApiKey>",
    ]);
    let by = redactor(&[], &[]);
    for (before, after) in
        [("<password a=\"1\">", "</password><host>db1</host>"), ("\\u003cpwd\\u003e", "\\u003c/pwd\\u003e x")]
    {
        let out = by.text(&format!("{before}hunter2-x7{after}"));
        assert!(out.starts_with(before) && out.ends_with(after) && out.contains("[REDACTED:"), "{out}");
    }
    stay(&[
        "<password/><host>db-1234567</host>",
        "<password attr=\"1\"/><host>db-1234567</host>",
        "<password></password>",
        "<entry key=\"password\"/><host>db-1234567</host>",
        "<entry key=\"host\">db-1234567</entry> if a < b, name=\"password\" > db-1234567</x>",
        "<token>${TOKEN_OF_SHOP}</token>",
        "curl -X POST https://<host>/<token> -o x1y2z3w4",
        "\\u003csecretName\\u003eshop-1\\u003c/secretName\\u003e",
        "<Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not exist</Message>",
    ]);
}

#[test]
fn sec_x1_a_secret_as_go_prints_it_loses_its_values_whatever_stands_in_front() {
    go(&[
        "Secret{Data:map[string][]uint8{\"foo\":\"§\"}}",
        "&v1.Secret{Data:map[foo:§]}",
        "corev1.Secret{Data:map[foo:§ bar:x]}",
        "Secret{StringData: map[foo:§]}",
        "v1.Secret{ObjectMeta:v1.ObjectMeta{Name:\"x\"}, Data:map[string][]uint8{\"foo\":\"§\"}}",
        "&corev1.Secret{Data:map[string][]byte{\"foo\":[]byte(\"§\"), \"bar\":[]byte(\"§\")}}",
        "&v1.Secret{TypeMeta:v1.TypeMeta{Kind:\"\", APIVersion:\"\"}, ObjectMeta:v1.ObjectMeta{Name:\"x\", Labels:map[string]string(nil)}, Immutable:(*bool)(nil), Data:map[string][]uint8{\"foo\":[]uint8(\"§\")}}",
    ]);
    let by = redactor(&[], &[]);
    let out = by.text("v1.Secret{Data:map[string][]uint8{\"foo\":[]uint8{0x68, 0x75, 0x6e}}, Type:\"Opaque\"}");
    assert!(!out.contains("0x75") && out.ends_with("}, Type:\"Opaque\"}"), "{out}");
    stay(&[
        "&v1.ConfigMap{Data:map[foo:bar-1]}",
        "ExternalSecret{Data:map[foo:bar-1]}",
        "v1.Secret{ObjectMeta:v1.ObjectMeta{Name:\"x-1\"}} and v1.ConfigMap{Data:map[foo:bar-1]}",
    ]);
}

#[test]
fn sec_h10_a_password_in_a_url_goes_whichever_of_its_signs_are_encoded() {
    go(&[
        "https:%2F%2Fuser:§@host/x",
        "https%3A//user:§@host/x",
        "https%3A%2F%2Fuser:§@host/x",
        "https%3A%2F%2Fuser%3A§@host/x",
        "https%3A%2F%2Fuser:§%40host/x",
        "https://user%3A§@host/x",
        "https://user%3A§%40host/x",
        "https://user:§%40host/x",
        "postgres%3A%2F%2Fshop:§@db:5432/shop",
        "GET /login?redirect=https%253A%252F%252Fuser%253A§%2540host&x=1",
        "s3Url=s3%3a%2f%2fkey:§@minio:9000",
    ]);
    stay(&[
        "GET /?url=https%3A%2F%2Fminio%3A9000%2Fbucket&mail=ops@shop.example",
        "GET /?url=https%3A%2F%2Fminio.shop%2Fa%3Ab@c",
        "GET /?url=https%3A%2F%2Fminio.shop&note=a:b@c",
        "https://minio.shop:9000/a%3Ab%40c?mail=a%40b",
        "https://minio.shop/a%3Ab@c",
        "https%3A%2F%2F(user): mail ops@shop.example",
        "see https://velero.io/docs: write to (ops: x) team@shop.example",
        "https://shop%40corp.example:8080/x",
    ]);
}

#[test]
fn sec_x25_passcodes_and_the_variable_of_sshpass_are_known() {
    go(&[
        "userPasscode=§",
        "passcode: §",
        "\"userPasscode\":\"§\"",
        "USERPASSCODE=§",
        "SSHPASS=§ sshpass -e rsync a b",
    ]);
    objects_go(&[json!({ "env": [{ "name": "SSHPASS", "value": "§" }, { "name": "userPasscode", "value": "§" }] })]);
    stay(&["sshpass: rsync-3 is not found", "passcodeLength=6123456 passcode: required"]);
}

#[test]
fn sec_x18_a_value_that_the_api_server_refuses_goes() {
    go(&[
        "admission webhook denied: spec.password: Invalid value: \"§\": too short",
        "X \"x\" is invalid: spec.db.adminPassword: Invalid value: \"§\": spec.db.adminPassword in body should be longer",
        "auth.clientSecret: Unsupported value: \"§\": supported values: \"a\"",
        "auth.password: Invalid type. Given: \"§\"",
    ]);
    stay(&[
        "spec.password: Invalid value: \"integer\": spec.password in body must be of type string: \"integer\"",
        "spec.secretName: Invalid value: \"X1-secret\": a lowercase RFC 1123 subdomain",
        "spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not be less than 10 minutes",
        "spec.credential: Invalid value: \"null\": spec.credential in body must be of type object: \"null\"",
    ]);
}

#[test]
fn sec_h11_an_escape_behind_a_scheme_stays_whole() {
    let by = redactor(&[], &[]);
    let text = json!({ "message": "Authorization: Bearer \u{0}Authorization: Bearer x", "next": 1 }).to_string();
    let out = by.text(&text);
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{text} became {out}");
    go(&["Bearer \"§§\"", "Bearer \\n§§", "bearer: '§§'"]);
}

/// A container and a hook that run this script.
fn scripts(texts: &[&str]) -> Vec<serde_json::Value> {
    let of = |text: &&str| {
        let hook = json!(["/bin/sh", "-c", text]).to_string();
        json!({ "kind": "Pod", "metadata": { "annotations": { "pre.hook.backup.velero.io/command": hook } },
            "spec": { "containers": [{ "command": ["sh", "-c", text] }, { "command": ["sh"], "args": ["-ec", text] }] } })
    };
    texts.iter().map(of).collect()
}

/// The object by itself: as a line of text, a command is not joined.
fn cleaned(mut object: serde_json::Value) -> String {
    assert!(redactor(&[], &[]).object(&mut object));
    object.to_string()
}

#[test]
fn sec_x12_a_script_of_several_lines_is_judged_as_a_shell_reads_it() {
    let v = leaks::seed().word(12);
    let mut failed = Vec::new();
    for object in scripts(&[
        "set -e\nexport PASSWORD=§\n./run",
        "set -e\n  export PASSWORD='a §'\n./run",
        "set -e\r\nexport PASSWORD=\"a §\"\r\n./run",
        "export A=1\nexport PASSWORD='a\n§'\n./run",
        "export PASSWORD=\"a\n§\n\"\n./run",
        "export PASSWORD=\\\n'§'\n./run",
        "if true; then\n  TOKEN='§ x'\nfi",
        "mysqldump \\\n  -uroot \\\n  -p§ \\\n  db\n",
        "mysqldump \\\n  -uroot \\\n  --password \\\n  § \\\n  db\n",
        "curl \\\n  -su \\\n  shop:§ \\\n  https://h.example/\n",
        "curl -X POST \\\n  --data '{\n\"password\":\n \"§\"}' \\\n  https://h.example/\n",
        "kubectl create secret generic x \\\n  --from-literal=foo=§ \\\n  --from-literal=bar=§\n",
        "cat > x.yaml <<EOF\npassword:\n  §\nEOF\n",
        "cat > x.yaml <<EOF\npasswords:\n- §\n- §\nEOF\n",
        "cat > .pgpass <<EOF\nlocalhost:5432:shop:shop:§\nEOF\n",
        "cat > aws <<EOF\n[default]\naws_secret_access_key = §\nEOF\n",
        "kubectl apply -f - <<EOF\napiVersion: v1\ndata:\n  foo: §\nkind: Secret\nEOF\n",
        "kubectl apply -f - <<EOF\n{\"apiVersion\": \"v1\",\n\"stringData\": {\n  \"foo\": \"§\"\n},\n\"kind\": \"Secret\"}\nEOF\n",
    ]) {
        let text: serde_json::Value = serde_json::from_str(&object.to_string().replace('§', &v)).expect("JSON");
        let out = cleaned(text.clone());
        let twice = cleaned(serde_json::from_str(&out).expect("JSON"));
        if out.contains(&v) || out != twice {
            failed.push(format!("{text}\n    became {out}\n    twice {twice}"));
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    for object in scripts(&[
        "set -e\nexport PASSWORD=$(cat /run/secrets/db-1)\nmysqldump \\\n  -uroot \\\n  -P 3306 \\\n  shop1\n",
        "echo \"it's done\"\nA='x1\ny2'\nkubectl get secret \\\n  -n velero \\\n  cloud-credentials-1\n",
        "export PASSWORD=\"${DB_PASSWORD}\"\nHOST='db-1\ndb-2'\n",
    ]) {
        assert_eq!(cleaned(object.clone()), object.to_string());
    }
}

#[test]
fn sec_h8_a_private_key_in_der_is_masked_without_its_pem_lines() {
    let mut seed = leaks::seed();
    // RFC 8017 (RSA), 5958 (PKCS #8), 5915 (elliptic curves), 8410 (Ed25519): the fixed bytes, then the secret ones.
    for (head, length) in [
        ([&[0x30, 0x82, 0x04, 0xa4, 2, 1, 0, 2, 0x82, 1, 1, 0][..], &[]].concat(), 1180),
        ([&[0x30, 0x82, 0x02, 0x5c, 2, 1, 0, 2, 0x81, 0x81, 0][..], &[]].concat(), 600),
        (
            [&[0x30, 0x82, 0x04, 0xbe, 2, 1, 0, 0x30, 13, 6, 9, 42, 0x86, 72, 0x86][..], &[0xf7, 13, 1, 1, 1, 5, 0]]
                .concat(),
            1190,
        ),
        ([&[0x30, 0x77, 2, 1, 1, 4, 0x20][..], &[]].concat(), 114),
        ([&[0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7][..], &[42, 0x86, 72, 0xce, 61, 2, 1]].concat(), 121),
        ([&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3][..], &[0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20]].concat(), 32),
    ] {
        let key = STANDARD.encode([head, seed.bytes(length)].concat());
        let by = redactor(&[], &[]);
        for text in
            [key.clone(), format!("level=info msg=\"{key}\" x=1"), json!({ "x": format!("a\n{key}\nb") }).to_string()]
        {
            assert!(!by.text(&text).contains(&key[24..]), "{text} became {}", by.text(&text));
        }
        let args = cleaned(json!({ "kind": "Pod", "spec": { "containers": [{ "args": [key] }] } }));
        assert!(!args.contains(&key[24..]), "{args}");
    }
    let public =
        STANDARD.encode([&[0x30, 0x59, 0x30, 0x13, 6, 7, 42, 0x86, 72, 0xce, 61, 2, 1][..], &seed.bytes(78)].concat());
    stay(&[&format!("public key {public}"), "MIIEpAIBAAKCAQEA begins one"]);
}

#[test]
fn sec_h8_a_private_key_in_a_script_is_masked() {
    let key = leaks::seed().pem("RSA PRIVATE KEY", 4);
    let indented = key.replace('\n', "\n    ");
    for object in scripts(&[
        &format!("set -e\ncat > /tmp/key <<EOF\n{key}EOF\nssh -i /tmp/key h\n"),
        &format!("set -e\ncat > /tmp/x.yaml <<'EOF'\ntls:\n  key: |\n    {indented}\nEOF\nrun\n"),
        &format!("export KEY='{key}'\nrun\n"),
        &format!("KEY=\"{}\"\nrun\n", key.replace('\n', "\\n\\\n")),
    ]) {
        let out = cleaned(object);
        for line in key.lines().filter(|line| !line.contains('-')) {
            assert!(!out.contains(line), "{line} in {out}");
        }
        assert!(out.contains("run") || out.contains("ssh -i /tmp/key h"), "{out}");
    }
}
