//! The hints that make a line a candidate: for each, a text that only this hint makes a candidate and that is masked,
//! and a text that contains the hint and stays. Detects unnecessary and missing hints.

use super::{leaks::seed, secrets::Seed, *};

/// Digits and letters of which no hint is made: a random text must not contain a second hint.
const PLAIN: &[u8] = b"234567KQUVWXZkquvwxz";

/// A hint of a shape, a text that it leads to, and a text that only looks like it.
fn of_shapes(seed: &mut Seed) -> Vec<(&'static str, String, String)> {
    let upper = seed.of(&PLAIN[..13], 16);
    let (short, long) = (seed.word(11), seed.word(60));
    let blob = STANDARD.encode(seed.bytes(240)).replace(['G', 'g'], "K");
    let key = STANDARD.encode(seed.bytes(64));
    let basic = STANDARD.encode(format!("shop:{}", seed.word(13)));
    let mut all = Vec::new();
    let mut add = |hint: &'static str, fires: String, stays: &str| all.push((hint, fires, stays.to_owned()));
    for hint in ["AKIA", "ASIA"] {
        add(hint, format!("{hint}{upper}"), &format!("{hint} begins an id"));
    }
    for hint in ["FwoG", "IQoJ", "FQoG"] {
        add(hint, format!("{hint}{blob}"), &format!("{hint}short"));
    }
    for (hint, end) in [("==", "=="), ("%3d%3d", "%3D%3D")] {
        add(hint, format!("key AQ{}{end}", &long[..36]), &format!("a {end} b"));
    }
    add("login", format!("docker login -u shop -p {short} h"), "login failed");
    add("login", format!("machine h login shop password {short}"), "login failed");
    add("==", format!("key {key}"), "a == b");
    add("%3d%3d", format!("key {}%3D%3D", &key[..86]), "a%3D%3Db");
    add("sharedaccesssignature", format!("SharedAccessSignature=sv=1&sr={short}"), "SharedAccessSignature is not set");
    add("ya29.", format!("ya29.{long}"), "ya29. begins one");
    add("AIza", format!("AIza{}", &long[..35]), "AIza begins one");
    add("eyJ", format!("eyJ{0}.{0}.{0}", &long[..30]), "eyJ begins one");
    for hint in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_"] {
        add(hint, format!("{hint}{}", &long[..36]), &format!("{hint}short"));
    }
    for hint in ["github_pat_", "glpat-", "sk_live_", "rk_live_", "hvs.", "hvb."] {
        add(hint, format!("{hint}{long}"), &format!("{hint}short"));
    }
    for hint in ["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"] {
        add(hint, format!("{hint}{long}"), &format!("{hint}kisses"));
    }
    add("hooks.slack.com", format!("https://hooks.slack.com/services/{long}"), "https://hooks.slack.com/");
    add("authorization", format!("Authorization: Negotiate {short}"), "authorization: failed");
    add("bearer", format!("sent Bearer {long}"), "bearer tokens are refused");
    add("basic ", format!("sent Basic {basic} to it"), "basic authentication is required");
    add("cookie", format!("Cookie: session={short}"), "cookie: not set");
    for hint in ["$2a$", "$2b$", "$2x$", "$2y$"] {
        add(hint, format!("{hint}10${}", &long[..53]), &format!("{hint} begins one"));
    }
    for hint in ["$1$", "$5$", "$6$", "$y$", "$apr1$"] {
        add(hint, format!("{hint}salt${}", &long[..43]), &format!("{hint} begins one"));
    }
    add("$argon2", format!("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA${}", &long[..43]), "$argon2 begins one");
    for (hint, scheme) in [("{ssha", "{SSHA}"), ("{sha", "{SHA}"), ("{smd5", "{SMD5}")] {
        add(hint, format!("{scheme}{}", &long[..32]), &format!("{scheme} of it"));
    }
    for (hint, tool) in [("mysql", "mysqldump"), ("mariadb", "mariadb-dump"), ("xtrabackup", "xtrabackup")] {
        add(hint, format!("{tool} -p{short} shop"), &format!("{tool} -P 3306 shop"));
    }
    add("curl", format!("curl -u shop:{short} h"), "curl -s https://h.example/");
    add("wget", format!("wget --user shop:{short} h"), "wget -q https://h.example/");
    for (hint, words) in [("alias set", "alias set"), ("host add", "host add")] {
        add(hint, format!("mc {words} local http://minio:9000 minio {short}"), &format!("mc {words} takes four words"));
    }
    for (hint, words) in [("alias\",", "alias\",\"set"), ("host\",", "host\",\"add")] {
        let fires = format!("\"mc\",\"{words}\",\"local\",\"http://minio:9000\",\"minio\",\"{short}\"");
        add(hint, fires, &format!("\"mc\",\"{words}\""));
    }
    add("identified", format!("IDENTIFIED BY '{short}'"), "identified by its name");
    add("password '", format!("ALTER USER shop WITH PASSWORD '{short}'"), "the password 'of old");
    add("password \\'", format!("ALTER USER shop WITH PASSWORD \\'{short}\\'"), "the password \\'of old");
    add("value:", format!("{{Name:SHOP_TOKEN Value:{short}}}"), "Name:REPLICAS Value:3");
    add("H4sI", format!("H4sI{}", &blob[..64]), "H4sIAAAA begins one");
    for (hint, begin) in [
        ("IBAAKB", "MIICXAIBAAKB"),
        ("IBAAKC", "MIIEpAIBAAKC"),
        ("IBADANBgkqhkiG9w0BAQEF", "MIIEvgIBADANBgkqhkiG9w0BAQEF"),
        ("MHcCAQEEI", "MHcCAQEEI"),
        ("AgEAMB", "MIGHAgEAMB"),
        ("AgEBBD", "MIGkAgEBBD"),
        ("MC4CAQAwBQYDK2VwBCIE", "MC4CAQAwBQYDK2VwBCIE"),
    ] {
        add(hint, format!("key {begin}{}", &long[..44]), &format!("{hint} begins one"));
    }
    add("sshpass", format!("sshpass -p {short} ssh h"), "sshpass -e ssh h");
    add("redis-cli", format!("redis-cli -a {short} save"), "redis-cli -h cache save");
    add("mongo", format!("mongodump -p {short}"), "mongodump --archive");
    of_tools(&short, &mut add);
    of_vendors(seed, &mut add);
    all
}

fn of_tools(short: &str, add: &mut impl FnMut(&'static str, String, &str)) {
    add("etcdctl", format!("etcdctl --user root:{short} get x"), "etcdctl get x");
    for tool in ["smbclient", "smbget", "rpcclient"] {
        add(tool, format!("{tool} h -U shop%{short}"), &format!("{tool} h -U shop"));
    }
    add("requirepass", format!("requirepass {short}"), "requirepass is not set");
    add("masterauth", format!("masterauth {short}"), "masterauth is not set");
    add("auth-pass", format!("sentinel auth-pass main {short}"), "auth-pass main is missing");
    add("auth(", format!("db.auth('shop', '{short}')"), "db.auth() failed");
    add("sqlcmd", format!("sqlcmd -U sa -P {short}"), "sqlcmd -E");
    for tool in ["sqlplus", "expdp", "impdp"] {
        add(tool, format!("{tool} shop/{short}@db"), &format!("{tool} /nolog"));
    }
    add("ldap", format!("ldapsearch -w {short}"), "ldap is down");
    add("cqlsh", format!("cqlsh -u shop -p {short}"), "cqlsh h 9042");
    add("htpasswd", format!("htpasswd -nb shop {short}"), "htpasswd file shop");
    add("pass:", format!("x -passin pass:{short}"), "let it pass: bounded");
    add("openssl", format!("openssl enc -k {short} -in x"), "openssl version");
    for flag in ["--key", "--secret"] {
        add(flag, format!("rbd map x {flag} {short}"), &format!("{flag}s of it"));
    }
    for word in ["add_user", "change_password"] {
        add(word, format!("rabbitmqctl {word} shop {short}"), &format!("{word} is no command"));
    }
    add("vault", format!("vault login {short}7a"), "vault login failed");
    add("zip", format!("zip -P {short} x"), "zip x");
    for (hint, tool) in [
        (" 7z", "+ 7z a x.7z"),
        ("/7z", "/usr/bin/7z e"),
        ("\"7z", "\"7z\",\"a\",\"x\""),
        ("'7z", "'7z','a'"),
        ("7z a -", "7z a -y"),
        ("7z x -", "7z x -y"),
    ] {
        add(hint, format!("{tool} -p{short} x"), &format!("{tool} x"));
    }
    for tool in ["cypher-shell", "rabbitmqadmin"] {
        add(tool, format!("{tool} -p {short}"), &format!("{tool} -P 7687"));
    }
    add("identified", format!("ALTER USER shop IDENTIFIED BY \"{short}\""), "identified by its name");
    add("configure set", format!("aws configure set aws_session_token {short}"), "aws configure set region eu");
    for word in ["password ", "passphrase ", "passwd ", "secret key ", "access key "] {
        add(word, format!("the {word}is {short}"), &format!("the {word}is not known"));
    }
    for word in [":5432:", ":*:"] {
        add(word, format!("db.shop.svc{word}shop:shop:{short}"), &format!("db.shop.svc{word} x"));
    }
}

fn of_vendors(seed: &mut Seed, add: &mut impl FnMut(&'static str, String, &str)) {
    let word = seed.of(PLAIN, 70);
    let letters = seed.of(b"abcdefghijklmnopqrstuvwxyz", 34);
    let hex = seed.of(b"0123456789abcdef", 64);
    let upper = seed.of(&PLAIN[..13], 64);
    for hint in vendors::TOKEN.hints {
        let rest = match *hint {
            "SG." => format!("{}.{}", &word[..22], &word[..43]),
            "dop_v1_" | "doo_v1_" | "dor_v1_" => hex.clone(),
            "hf_" => letters.clone(),
            "glsa_" => format!("{}_{}", &word[..32], &hex[..8]),
            "dapi" | "shpat_" | "shpss_" => hex[..32].to_owned(),
            "NRAK-" => upper[..27].to_owned(),
            "PMAK-" => format!("{}-{}", &hex[..24], &hex[..34]),
            "lin_api_" => word[..40].to_owned(),
            "pul-" | "sbp_" => hex[..40].to_owned(),
            "rubygems_" => hex[..48].to_owned(),
            "AGE-SECRET-KEY-1" => upper[..58].to_owned(),
            "dt0c01." => format!("{}.{upper}", &upper[..24]),
            "xapp-" => format!("1-{word}"),
            "sha256~" => word[..43].to_owned(),
            _ => word.clone(),
        };
        let front = if *hint == ".atlasv1." { &word[..14] } else { "" };
        add(hint, format!("{front}{hint}{rest}"), &format!("{hint} begins one"));
    }
    add(
        "webhook.office.com",
        format!("https://x.webhook.office.com/webhookb2/{word}"),
        "https://x.webhook.office.com/",
    );
    add("/api/webhooks/", format!("https://discord.com/api/webhooks/1/{word}"), "https://discord.com/api/webhooks/");
    add(
        "\\/api\\/webhooks\\/",
        format!("https:\\/\\/discord.com\\/api\\/webhooks\\/1\\/{word}"),
        "discord.com\\/api\\/webhooks\\/",
    );
    add("outlook.office", format!("https://outlook.office.com/webhook/{word}"), "https://outlook.office.com/webhook/");
    add(
        "events.pagerduty.com",
        format!("https://events.pagerduty.com/integration/{word}/enqueue"),
        "https://events.pagerduty.com/integration/",
    );
    add("api.telegram.org", format!("https://api.telegram.org/bot1234567:{word}/x"), "https://api.telegram.org/");
}

fn has(text: &str, hint: &str) -> bool {
    text.to_ascii_lowercase().contains(&hint.to_ascii_lowercase())
}

#[test]
fn sec_x63_each_hint_of_a_shape_has_a_text_that_it_leads_to_and_one_that_it_does_not() {
    let by = redactor(&[], &[]);
    let samples = of_shapes(&mut seed());
    for (index, shape) in shapes::TABLE.iter().enumerate() {
        for hint in shape.hints {
            // Two shapes may share a word.
            let of_this = |fires: &str| {
                let mut spans = Vec::new();
                shapes::find(index, fires.as_bytes(), &mut spans);
                !spans.is_empty()
            };
            let of_hint = samples.iter().find(|(of, fires, _)| of == hint && of_this(fires));
            let (_, fires, stays) = of_hint.unwrap_or_else(|| panic!("no texts for {hint:?} of {}", shape.id));
            assert!(has(fires, hint) && has(stays, hint), "{hint}: {fires}, {stays}");
            let others = shape.hints.iter().filter(|other| *other != hint && has(fires, other) && !has(hint, other));
            assert_eq!(others.count(), 0, "{fires} is found by another hint of {}, too", shape.id);
            let mut spans = Vec::new();
            shapes::find(index, fires.as_bytes(), &mut spans);
            assert_eq!(spans.len(), 1, "{} by itself: {fires}", shape.id);
            let out = by.text(fires);
            let leads = by.hints.of(fires.as_bytes()).shapes & 1 << index != 0;
            assert!(leads && out.contains("[REDACTED:"), "{hint} leads to no {}: {fires} became {out}", shape.id);
            assert_eq!(&by.text(stays), stays, "{hint}");
        }
    }
}

#[test]
fn sec_x63_each_hint_of_a_name_a_url_and_a_query_has_a_text_that_it_leads_to() {
    let by = redactor(&[], &[]);
    let mut seed = seed();
    for (rule, hints) in
        [("named-value", names::HINTS), ("presigned-query", presigned::HINTS), ("url-userinfo", url::HINTS)]
    {
        for hint in hints {
            let value = seed.word(43);
            let fires = match (rule, *hint) {
                ("named-value", _) => format!("x {hint}=\"{value}\""),
                ("url-userinfo", "@tcp(" | "@unix(") => format!("shop:{value}{hint}db:3306)/shop"),
                ("url-userinfo", "%3a%2f%2f") => format!("x=postgres{hint}shop%3A{value}%40db.example%2Fshop"),
                ("url-userinfo", "_proxy") => format!("http{hint}=shop:{value}@db.example:3128"),
                ("url-userinfo", _) => format!("postgres{hint}shop:{value}@db.example/shop"),
                (_, "awsaccesskeyid" | "googleaccessid") => format!("h?{hint}=x&Signature={value}"),
                (_, hint) if hint.starts_with('x') => format!(
                    "h?{hint}{}{value}",
                    if hint.contains("25") {
                        "%252DSignature%253D"
                    } else if hint.contains('%') {
                        "%2DSignature%3D"
                    } else {
                        "signature="
                    }
                ),
                (_, hint) => format!("h?{hint}{value}"),
            };
            let out = by.text(&fires);
            assert!(!out.contains(&value), "{rule}, {hint}: {fires} became {out}");
        }
    }
    for hint in [names::HINTS, presigned::HINTS, url::HINTS].concat() {
        let stays = format!("level=info msg=done {hint}");
        assert_eq!(by.text(&stays), stays, "the hint alone is no secret");
    }
}
