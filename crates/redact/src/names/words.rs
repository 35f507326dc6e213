//! The words that make a name sensitive, and the words in front of and behind them that change this. `names` applies
//! them.

/// The words themselves, and each word of a key in the spellings that join it to `key`.
macro_rules! hints {
    ($($word:literal),*; $($of_key:literal),*) => {
        &[
            $($word,)*
            $(
                concat!($of_key, "key"),
                concat!($of_key, "_key"),
                concat!($of_key, "-key"),
                concat!($of_key, ".key"),
                concat!($of_key, " key"),
            )*
        ]
    };
}

/// A text with none of these, in any case, contains no sensitive name.
#[rustfmt::skip]
pub(in crate) const HINTS: &[&str] = hints![
    "pass", "pwd", "_pw", "-pw", ".pw", "adminpw", "bindpw", "psk", "restuserkey", "secret", "token", "credential", "creds", "auth", "sas", "sig", "dsn", "cookie",
    "connectionstring", "connection_string", "connection-string", "connection.string", "connection string",
    "customer_key", "customer-key", "customerkey", "last-applied-configuration";
    "access", "api", "account", "private", "client", "encryption", "signing", "master",
    "app", "application", "storage", "shared", "session", "deploy", "license", "jwt", "hmac", "ssh", "fernet", "cipher",
    "crypto", "stripe", "openai", "subscription", "functions"
];

pub(super) const STRONG: &[&str] = &["password", "passwords", "passwd", "passphrase", "passcode", "pass", "pwd", "psk"];
pub(super) const WEAK: &[&str] = &[
    "secret",
    "token",
    "credential",
    "credentials",
    "creds",
    "authorization",
    "auth",
    "sas",
    "sig",
    "signature",
    "dsn",
    "cookie",
];
/// Also at the end of a joined word: `identitytoken`.
pub(super) const TOKEN: &str = "token";
/// Pairs of words that are strong together, though neither must be strong alone.
pub(super) const STRONG_PAIRS: &[(&str, &str)] = &[
    ("pass", "phrase"),
    ("preshared", "key"),
    ("secret", "key"),
    ("access", "key"),
    ("api", "key"),
    ("account", "key"),
    ("private", "key"),
    ("client", "key"),
    ("client", "secret"),
    ("auth", "token"),
    ("access", "token"),
    ("refresh", "token"),
    ("connection", "string"),
];
/// The same in front of `key`, but the id of such a key is public: a key management service uses it as a name.
pub(super) const KEYS: &[&str] = &["encryption", "signing", "master", "customer"];
/// Like `KEYS`, but such a key may also be one of a map.
#[rustfmt::skip]
pub(super) const WEAK_KEYS: &[&str] = &[
    "auth", "app", "application", "storage", "shared", "session", "deploy", "license", "jwt", "hmac", "ssh", "fernet",
    "cipher", "crypto", "stripe", "openai", "subscription", "functions",
];
/// Plural names: `API_KEYS`.
pub(super) const SEVERAL: &[(&str, &[&str])] = &[
    ("keys", &["access", "api", "account", "private", "encryption", "signing", "master"]),
    ("tokens", &["access", "api", "auth", "refresh"]),
];
/// In capitals, as variables are written, these hold values and not names of objects, unless counted or pulled.
pub(super) const IN_CAPITALS: &[&[u8]] = &[b"SECRETS", b"TOKENS"];
/// The same for a name that is a program's, too.
pub(super) const STRONG_IN_CAPITALS: &[u8] = b"SSHPASS";
pub(super) const COUNTED: &[&[u8]] = &[b"MAX", b"MIN", b"TOTAL", b"NUM", b"USED", b"PULL"];
/// Words written as one, such as `PGPASSWORD`; no ordinary word ends with any of these.
pub(super) const JOINED: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secretkey",
    "accesskey",
    "apikey",
    "accountkey",
    "privatekey",
    "clientkey",
    "presharedkey",
    // A parameter of heketi's StorageClass.
    "restuserkey",
    "clientsecret",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "connectionstring",
    "pgpass",
    "dbpass",
    "userpass",
    "rootpass",
    "adminpass",
    "redispass",
    "storepass",
    "keypass",
    "requirepass",
    "masterauth",
    "dbpwd",
    "userpwd",
    "adminpwd",
    "adminpw",
    "bindpw",
];
/// Words that may follow the decisive word: `accessKeyId`, `client-key-data`.
pub(super) const MAY_FOLLOW: &[&str] = &["id", "value", "data"];
/// Which of several values it is: `DB_PASSWORD_OLD`, `API_TOKEN_V2`, `SECRET_KEY_BASE`. Digits may always follow.
pub(super) const WHICH_ONE: &[&str] = &["v", "old", "new", "base", "previous", "current", "backup"];
/// Where it is used: `DB_PASSWORD_PROD`. Behind a word that may be harmless, only in capitals.
#[rustfmt::skip]
pub(super) const WHERE: &[&str] = &[
    "prod", "production", "stage", "staging", "dev", "test", "qa", "uat", "live", "db", "ro", "rw", "enc", "primary",
    "secondary",
];
/// Velero's own: `name/key` of a Secret.
pub(super) const REFERENCE: &[u8] = b"customerKeyEncryptionSecret";
/// In front of a capitalized `Secret`, these make the name of an object, as charts write it: `passwordSecret`.
pub(super) const OF_OBJECT: &[&str] =
    &["password", "credential", "credentials", "pull", "tls", "cert", "certificate", "ca"];
/// The value is the name of a Secret for basic authentication.
pub(super) const OF_INGRESS: &[u8] = b"ingress.kubernetes.io/auth-secret";
/// The value is a digest, which restarts the pods when the Secret changes.
pub(super) const DIGEST: &[u8] = b"checksum/";
/// A PostgreSQL file.
pub(super) const FILE: &[u8] = b".pgpass";
