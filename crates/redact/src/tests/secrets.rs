//! Makes secrets of each shape and writes them in each way that a bundle's files contain. All values come from a seed,
//! and no literal here is a credential: anything that looks like one is assembled from parts.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// Random enough for values that must not repeat; the same seed gives the same values (splitmix64).
pub(super) struct Seed(pub(super) u64);

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

impl Seed {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .map(|_| char::from(alphabet[usize::try_from(self.next() % alphabet.len() as u64).unwrap()]))
            .collect()
    }

    /// Letters and digits, at least one of each.
    pub(super) fn word(&mut self, length: usize) -> String {
        format!("{}7{}", self.of(&LETTERS[..26], 1), self.of(LETTERS, length - 2))
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    fn hex(&mut self, length: usize) -> String {
        self.of(b"0123456789abcdef", length)
    }

    fn base64(&mut self, length: usize) -> String {
        STANDARD.encode(self.bytes(length))
    }

    fn url64(&mut self, length: usize) -> String {
        self.of(LETTERS, length)
    }

    pub(super) fn pem(&mut self, kind: &str, lines: usize) -> String {
        let mut body = String::new();
        for _ in 0..lines {
            body += &self.base64(48);
            body.push('\n');
        }
        format!("-----{} {kind}-----\n{body}{}\n-----END {kind}-----\n", "BEGIN", self.base64(16))
    }
}

/// A text that contains a secret, and the pieces of it that must not come out.
#[derive(Clone, Debug)]
pub(super) struct Planted {
    pub(super) shape: &'static str,
    pub(super) text: String,
    pub(super) gone: Vec<String>,
}

/// One of each shape.
pub(super) fn shapes(seed: &mut Seed) -> Vec<Planted> {
    let mut all = bare(seed);
    surrounded(seed, &mut all);
    of_putty(seed, &mut all);
    all
}

/// Shapes that are recognized by themselves.
fn bare(seed: &mut Seed) -> Vec<Planted> {
    let mut all = Vec::new();
    let mut bare = |shape, text: String| {
        let gone = vec![text.clone()];
        all.push(Planted { shape, text, gone });
    };
    bare("h1-akia", format!("{}IA{}", "AK", seed.of(&LETTERS[26..], 16)));
    bare("h1-asia", format!("{}IA{}", "AS", seed.of(&LETTERS[26..], 16)));
    for begin in ["FwoG", "IQoJ", "FQoG"] {
        bare("h3-session", format!("{begin}{}", seed.base64(240)));
    }
    bare("h5-azure-account", seed.base64(64));
    bare("h6-oauth", format!("ya{}.a0{}", 29, seed.url64(60)));
    bare("h6-api", format!("AI{}{}", "za", seed.url64(35)));
    let header = STANDARD.encode(r#"{"alg":"RS256","typ":"JWT"}"#).replace('=', "");
    bare("h7-jwt", format!("{header}.{}.{}", seed.url64(80), seed.url64(86)));
    bare("h7-jwe", format!("{header}.{}.{}.{}.{}", seed.url64(40), seed.url64(16), seed.url64(50), seed.url64(22)));
    bare("h7-jwe-direct", format!("{header}..{}.{}.{}", seed.url64(16), seed.url64(50), seed.url64(22)));
    for begin in ["ghp", "gho", "ghu", "ghs", "ghr"] {
        bare("h9-github", format!("{begin}_{}", seed.url64(36)));
    }
    bare("h9-github-fine", format!("github_{}_{}", "pat", seed.url64(60)));
    bare("h9-gitlab", format!("gl{}-{}", "pat", seed.url64(20)));
    for kind in ["b", "p", "a"] {
        bare("h9-slack", format!("xox{kind}-{}-{}", seed.of(b"0123456789", 12), seed.url64(24)));
    }
    bare("h9-stripe", format!("sk_{}_{}", "live", seed.url64(24)));
    bare("h9-stripe-restricted", format!("rk_{}_{}", "live", seed.url64(24)));
    bare("h9-npm", format!("np{}_{}", "m", seed.url64(36)));
    bare("h9-vault", format!("hv{}.{}", "s", seed.url64(30)));
    bare("h16-bcrypt", format!("$2{}$10${}", "y", seed.url64(53)));
    bare("h16-sha512", format!("${}${}${}", 6, seed.url64(16), seed.url64(86)));
    bare("h16-sha256", format!("${}$rounds=5000${}${}", 5, seed.url64(16), seed.url64(43)));
    bare("h16-ssha", format!("{{SS{}}}{}", "HA", seed.base64(24)));
    all
}

/// Shapes that are recognized by the text in front of them.
fn surrounded(seed: &mut Seed, all: &mut Vec<Planted>) {
    let mut with = |shape, before: &str, value: String, after: &str| {
        let text = format!("{before}{value}{after}");
        all.push(Planted { shape, text, gone: vec![value] });
    };
    for name in ["X-Amz-Signature", "x-amz-credential", "X-Amz-Security-Token", "X-Goog-Signature"] {
        with("h4-presigned", &format!("https://h.example/b/k?X-Amz-Date=1&{name}="), seed.hex(64), "&x=1");
    }
    for before in ["aws_secret_access_key = ", "AWS_SECRET_ACCESS_KEY=", "secretAccessKey: "] {
        with("h2-secret-key", before, seed.base64(30), "");
    }
    with("h6-key-id", r#"{"type":"service_account","private_key_id":""#, seed.hex(40), r#""}"#);
    with("h4-azure", "https://a.blob.example/c/b?sv=2024&sig=", seed.url64(43), "&se=2026");
    with("h4-aws-v2", "https://h.example/b/k?AWSAccessKeyId=x&Signature=", seed.url64(27), "&Expires=1");
    with(
        "h5-sas",
        "BlobEndpoint=https://a.example/;SharedAccessSignature=sv=1&sr=",
        format!("b/{}", seed.url64(30)),
        ";x=1",
    );
    with("h5-shared", "Endpoint=sb://a.example/;SharedAccessKey=", seed.url64(43), ";EntityPath=x");
    with("h5-account", "AccountName=shop;AccountKey=", seed.base64(64), ";EndpointSuffix=core.example");
    with(
        "h9-slack-hook",
        "https://hooks.slack.com/services/",
        format!("T{}/B{}/{}", seed.url64(9), seed.url64(9), seed.url64(24)),
        "",
    );
    with("h10-userinfo", "postgres://shop:", seed.word(14), "@db.shop.svc:5432/shop?sslmode=require");
    with("h10-userinfo-at", "amqp://shop:", format!("{}@{}", seed.word(7), seed.word(7)), "@mq.shop.svc");
    with("h10-userinfo-slash", "redis://shop:", format!("{}/{}", seed.word(7), seed.word(7)), "@mq.shop.svc/0");
    with("h10-source-name", "shop:", seed.word(14), "@tcp(db.shop.svc:3306)/shop");
    with("h10-source-name-in-a-list", "[shop:", seed.word(14), "@tcp(db.shop.svc:3306)/shop]");
    with("h11-bearer", "Authorization: Bearer ", seed.word(12), "");
    with("h11-bearer-alone", "sent Bearer ", seed.word(30), " to the server");
    with("h11-basic", "Proxy-Authorization: Basic ", STANDARD.encode(format!("shop:{}", seed.word(13))), "");
    with("h11-basic-alone", "sent Basic ", STANDARD.encode(format!("shop:{}", seed.word(13))), " to it");
    with(
        "h11-aws4",
        "Authorization: AWS4-HMAC-SHA256 Credential=",
        format!("{}/20260908/eu/s3/aws4_request, SignedHeaders=host, Signature={}", seed.word(16), seed.hex(64)),
        "",
    );
    with("h11-cookie", "Cookie: theme=dark; session=", seed.word(5), "");
    with("h11-set-cookie", "Set-Cookie: sid=", seed.word(6), "; Secure; HttpOnly");
    with("h11-vault", "X-Vault-Token: ", seed.word(24), "");
    with("h11-api", "X-Api-Key: ", seed.word(6), "");
    with("h11-amz", "X-Amz-Security-Token: ", seed.word(40), "");
    for (before, after) in [
        ("PGPASSWORD=", " pg_dump -U shop"),
        ("MYSQL_PWD=", " mysqldump shop"),
        ("RESTIC_PASSWORD=", " restic snapshots"),
        ("KOPIA_PASSWORD=", " kopia snapshot list"),
        ("mysqldump -u root -p", " shop > /backup/shop.sql"),
        ("mariadb-dump --host db -p", " shop"),
        ("curl -s -u shop:", " https://shop.example/api"),
        ("curl --user shop:", " https://shop.example/api"),
        ("sshpass -p ", " ssh shop@db"),
        ("redis-cli -h cache -a ", " save"),
        ("mongodump -u shop -p ", " --archive"),
        ("kopia repository connect s3 --bucket b --secret-access-key=", " --endpoint h"),
        ("kopia repository connect s3 --password ", " --bucket b"),
        ("kopia repository connect s3 --access-key ", " --bucket b"),
        ("kopia repository connect s3 --s3-secret-key=", " --bucket b"),
    ] {
        with("h12-command", before, seed.word(11), after);
    }
    with("h12-sql", "psql -c \"ALTER USER shop WITH PASSWORD '", seed.word(6), "'\"");
    with("h12-sql", "CREATE USER shop IDENTIFIED BY '", seed.word(6), "';");
    with("h12-mc", "mc alias set local http://minio:9000 minio ", seed.word(9), " --api s3v4");
    with("x11-struct", "&{Name:DB_PASSWORD Value:", seed.word(6), " ValueFrom:nil}");
    with("x11-struct", "EnvVar{Name:SHOP_TOKEN,Value:", seed.word(6), ",ValueFrom:nil,}");
    with("x11-flow", "env: [{name: API_KEY, value: ", seed.word(6), "}]");
    with("x11-logfmt", "set name=DB_PASSWORD value=", seed.word(6), " in shop");
    with("x11-python", "{'name': 'DB_PASSWORD', 'value': '", seed.word(6), "'}");
    with("x11-xml", "<property name=\"password\" value=\"", seed.word(6), "\"/>");
    with("x11-go", "core.EnvVar{Name:\"API_TOKEN_V2\", Value:\"", seed.word(6), "\"}");
    with("x11-yaml", "- name: ENCRYPTION_KEY\n  value: ", seed.word(6), "\n- name: b");
    with("x11-block", "a: 1\npassword: |\n  one\n  ", seed.word(6), "\nb: 2");
    with("h10-userinfo-escaped", "postgres://shop:a\\u0026", seed.word(9), "@db.shop.svc/shop");
    with("h12-quoted", "mysql -u root -p'", format!("{} {}", seed.word(6), seed.word(6)), "' shop");
    with("h13-ado", "Server=db;Database=shop;Uid=shop;Pwd=", seed.word(9), ";SslMode=Required");
    with("h13-jdbc", "jdbc:sqlserver://db:1433;databaseName=shop;user=shop;password=", seed.word(9), ";");
    with("h13-libpq", "host=db user=shop password=", seed.word(9), " dbname=shop");
    with(
        "h14-registry",
        r#"{"auths":{"registry.example":{"auth":""#,
        STANDARD.encode(format!("shop:{}", seed.word(9))),
        r#""}}}"#,
    );
    with("h14-client-key", "client-key-data: ", seed.base64(60), "");
    with("h14-kubeconfig", "    token: ", seed.word(32), "");
    let key = seed.pem(["RSA", "PRIVATE", "KEY"].join(" ").as_str(), 3);
    let gone = key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    all.push(Planted { shape: "h8-pem", text: key, gone });
}

/// Keys of PuTTY, with the lines that are private.
fn of_putty(seed: &mut Seed, all: &mut Vec<Planted>) {
    for (shape, version, lines) in [("h8-putty-2", 2, 3), ("h8-putty-3", 3, 1)] {
        let text = putty(seed, version, lines);
        let private = text.find("Private-Lines").expect("it has a private part");
        let value = |line: &str| line.strip_prefix("Private-MAC: ").unwrap_or(line).to_owned();
        let gone = text[private..].lines().skip(1).map(value).collect();
        all.push(Planted { shape, text, gone });
    }
}

/// A key as PuTTY writes it, with this many full private lines.
pub(super) fn putty(seed: &mut Seed, version: u8, lines: usize) -> String {
    let mut private: Vec<String> = (0..lines).map(|_| seed.base64(48)).collect();
    private.push(seed.base64(25));
    format!(
        "PuTTY-User-Key-File-{version}: ssh-rsa\nEncryption: none\nComment: team@shop\nPublic-Lines: 2\n{}\n{}\n\
         Private-Lines: {}\n{}\nPrivate-MAC: {}\n",
        seed.base64(48),
        seed.base64(20),
        private.len(),
        private.join("\n"),
        seed.hex(64)
    )
}

/// A value under each kind of name.
pub(super) fn named(seed: &mut Seed) -> Vec<Planted> {
    let mut all = Vec::new();
    for name in [
        "password",
        "db_passwd",
        "spring.datasource.password",
        "rootPass",
        "MYSQL_PWD",
        "passphrase",
        "aws_secret_access_key",
        "secretKey",
        "accessKeyId",
        "apikey",
        "STORAGE_ACCOUNT_KEY",
        "privateKey",
        "clientSecret",
        "auth_token",
        "refreshToken",
        "connection-string",
        "SMTP_PASSWORD_2",
        "private_key_id",
        "api.key",
    ] {
        separated(&mut all, "name-strong", name, &seed.word(7));
    }
    for name in
        ["secret", "sessionToken", "DB_CREDENTIALS", "authorization", "sas", "signature", "SENTRY_DSN", "x-token"]
    {
        separated(&mut all, "name-weak", name, &seed.word(9));
    }
    all
}

fn separated(all: &mut Vec<Planted>, shape: &'static str, name: &str, value: &str) {
    for (before, middle, after) in [
        ("", "=", ""),
        ("", ": ", ""),
        ("x=1&", "=", "&y=2"),
        ("{\"", "\":\"", "\"}"),
        ("{ \"", "\" : \"", "\", \"user\": \"shop\" }"),
        ("msg=\"{\\\"", "\\\": \\\"", "\\\"}\""),
        ("{'", "': '", "'}"),
        ("map[a:1 ", ":", " z:2]"),
        ("[", " => ", "]"),
        ("url=%3Fa%3D1%26", "%3D", "%26b%3D2"),
        ("\\u0026", "\\u003d", "\\u0026x"),
        ("tool --", "=", " --verbose"),
        ("\u{1b}[36m", "\u{1b}[0m=\u{1b}[33m", "\u{1b}[0m end"),
        ("line one\\n", "=", "\\nline three"),
        ("url=%7B", "%3A%20", "%7D"),
        ("<Error><", ">", "</Error>"),
    ] {
        let text = format!("{before}{name}{middle}{value}{after}");
        all.push(Planted { shape, text, gone: vec![value.to_owned()] });
    }
}

/// How a text is encoded where it stands.
pub(super) type Encoding = (&'static str, fn(&str) -> String);

pub(super) const ENCODINGS: &[Encoding] = &[
    ("plain", str::to_owned),
    ("base64", |text| format!("data: {}", STANDARD.encode(text))),
    ("base64 without padding", |text| format!("data: {}", STANDARD_NO_PAD.encode(text))),
    ("base64 of the URL alphabet", |text| format!("data: {}", URL_SAFE.encode(text))),
    ("base64 of the URL alphabet without padding", |text| format!("data: {}", URL_SAFE_NO_PAD.encode(text))),
    ("base64 twice", |text| format!("data: {}", STANDARD.encode(STANDARD.encode(text)))),
    ("base64 twice without padding", |text| format!("data: {}", URL_SAFE_NO_PAD.encode(STANDARD_NO_PAD.encode(text)))),
    ("JSON string", |text| json!({ "message": text }).to_string()),
    ("JSON in JSON", |text| json!({ "message": json!({ "inner": text }).to_string() }).to_string()),
    ("logrus", |text| {
        format!("time=\"2026-09-08T03:04:12Z\" level=error msg={} logSource=\"pkg/a.go:1\"", json!(text))
    }),
];

/// Whether a secret in a text with this encoding must be masked: H15 asks for runs of twenty base64 digits, padding
/// included; without padding, a run is recognized only if it is that long.
pub(super) fn is_promised((how, _): &Encoding, text: &str) -> bool {
    const TWENTY_DIGITS: usize = 15;
    !how.contains("without padding") || text.len() >= TWENTY_DIGITS
}

/// The part of an encoded text that depends on a value in it: the value or its digits. None of it may come out.
///
/// Encodes the text again with another value of the same length, so it needs no knowledge of the encoding; digits equal
/// in both are left out at either end.
pub(super) fn trace(text: &str, value: &str, write: impl Fn(&str) -> String) -> String {
    let other = |letter: char| match letter {
        'a'..='y' | 'A'..='Y' | '0'..='8' => char::from(u8::try_from(letter).unwrap() + 1),
        'z' => 'a',
        'Z' => 'A',
        '9' => '0',
        letter => letter,
    };
    let changed = text.replace(value, &value.chars().map(other).collect::<String>());
    let (written, changed) = (write(text), write(&changed));
    assert_eq!(written.len(), changed.len(), "the other value is as long: {written}");
    let differs = |at: &usize| written.as_bytes()[*at] != changed.as_bytes()[*at];
    let first = (0..written.len()).find(differs).expect("the value is in the text");
    let last = (0..written.len()).rfind(differs).expect("the value is in the text");
    written[first..=last].to_owned()
}

/// The places in an object where a text may stand.
pub(super) fn carriers(text: &str) -> Vec<(&'static str, Value)> {
    let json_text = json!({ "a": [text] }).to_string();
    vec![
        (
            "x11 environment",
            json!({ "kind": "Pod", "spec": { "containers": [{ "env": [{ "name": "NOTE", "value": text }] }] } }),
        ),
        (
            "x12 arguments",
            json!({ "kind": "Pod", "spec": { "containers": [{ "command": ["sh", "-c"], "args": [text] }] } }),
        ),
        (
            "x12 probe",
            json!({ "kind": "Pod", "spec": { "containers": [{ "livenessProbe": { "exec": { "command": ["sh", "-c", text] } } }] } }),
        ),
        (
            "x13 hook",
            json!({ "metadata": { "annotations": { "pre.hook.backup.velero.io/command": json!(["/bin/sh", "-c", text]).to_string() } } }),
        ),
        ("x13 plain hook", json!({ "metadata": { "annotations": { "post.hook.restore.velero.io/command": text } } })),
        (
            "x13 spec.hooks",
            json!({ "kind": "Backup", "spec": { "hooks": { "resources": [{ "pre": [{ "exec": { "command": ["/bin/sh", "-c", text] } }] }] } } }),
        ),
        ("x14 annotation", json!({ "metadata": { "annotations": { "note": json_text } } })),
        (
            "x14 annotation twice",
            json!({ "metadata": { "annotations": { "note": json!({ "inner": json_text }).to_string() } } }),
        ),
        (
            "x15 location",
            json!({ "kind": "BackupStorageLocation", "spec": { "provider": "aws", "config": { "region": "eu", "mistyped": text } } }),
        ),
        ("x18 event", json!({ "kind": "Event", "message": text })),
        (
            "x18 termination",
            json!({ "status": { "containerStatuses": [{ "lastState": { "terminated": { "message": text } } }] } }),
        ),
        ("x19 parameters", json!({ "kind": "StorageClass", "parameters": { "mountOptions": text } })),
    ]
}
