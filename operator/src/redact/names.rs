//! Whether a name says that its value is a secret: by its last words, however they are joined.
//! Where names stand, and where their values end, is told elsewhere.

/// How sure a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// May mean something harmless in prose: `token: expired`.
    Weak,
    /// Means a secret wherever it stands.
    Strong,
}

/// A text with none of these, in any case, holds no sensitive name.
pub(super) const HINTS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "auth",
    "sas",
    "sig",
    "dsn",
    "cookie",
    "accesskey",
    "access_key",
    "access-key",
    "access.key",
    "access key",
    "apikey",
    "api_key",
    "api-key",
    "api.key",
    "api key",
    "accountkey",
    "account_key",
    "account-key",
    "account.key",
    "account key",
    "privatekey",
    "private_key",
    "private-key",
    "private.key",
    "private key",
    "clientkey",
    "client_key",
    "client-key",
    "client.key",
    "client key",
    "connectionstring",
    "connection_string",
    "connection-string",
    "connection.string",
    "connection string",
    "encryptionkey",
    "encryption_key",
    "encryption-key",
    "encryption.key",
    "encryption key",
    "signingkey",
    "signing_key",
    "signing-key",
    "signing.key",
    "signing key",
    "masterkey",
    "master_key",
    "master-key",
    "master.key",
    "master key",
    "customerkey",
    "customer_key",
    "customer-key",
    "last-applied-configuration",
];

const STRONG: &[&str] = &["password", "passwords", "passwd", "passphrase", "pass", "pwd"];
const WEAK: &[&str] = &[
    "secret",
    "token",
    "credential",
    "credentials",
    "authorization",
    "auth",
    "sas",
    "sig",
    "signature",
    "dsn",
    "cookie",
];
/// Two words that are strong together, though neither need be alone.
const STRONG_PAIRS: &[(&str, &str)] = &[
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
/// The same, but an id of such a key is public: it is what a key management service calls it.
const KEY_PAIRS: &[(&str, &str)] = &[("encryption", "key"), ("signing", "key"), ("master", "key"), ("customer", "key")];
/// These written as one.
const JOINED_KEYS: &[&str] = &["encryptionkey", "signingkey", "masterkey", "customerkey"];
/// Words that are written as one, such as `PGPASSWORD`; no ordinary word ends with any of these.
const JOINED: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secretkey",
    "accesskey",
    "apikey",
    "accountkey",
    "privatekey",
    "clientkey",
    "clientsecret",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "connectionstring",
];
/// What may follow the word that counts: `accessKeyId`, `client-key-data`.
const MAY_FOLLOW: &[&str] = &["id", "value", "data"];
/// Which of several values of one name it is: `DB_PASSWORD_OLD`, `API_TOKEN_V2`, `SECRET_KEY_BASE`. Digits may always follow.
const WHICH_ONE: &[&str] = &["v", "old", "new", "base", "previous", "current", "backup"];
/// Of Velero's own: `name/key` of a Secret.
const REFERENCE: &[u8] = b"customerKeyEncryptionSecret";
/// Bytes of a name that are looked at; what counts stands at its end.
const LONGEST: usize = 96;

/// `None`: the name says nothing.
pub(super) fn judge(name: &[u8]) -> Option<Strength> {
    let name = &name[name.len().saturating_sub(LONGEST)..];
    if is_kind(name) || name == REFERENCE {
        return None;
    }
    if name.ends_with(b"last-applied-configuration") {
        return Some(Strength::Strong);
    }
    let mut words = Words(name).filter(|word| !word[0].is_ascii_digit());
    let is = |word: &[u8], other: &str| word.eq_ignore_ascii_case(other.as_bytes());
    let mut last = words.next()?;
    let mut of_id = false;
    while MAY_FOLLOW.iter().chain(WHICH_ONE).any(|word| is(last, word)) {
        of_id |= is(last, "id");
        last = words.next()?;
    }
    let ends = |other: &&str| last.len() >= other.len() && is(&last[last.len() - other.len()..], other);
    if STRONG.iter().any(|word| is(last, word)) || JOINED.iter().any(ends) || (!of_id && JOINED_KEYS.iter().any(ends)) {
        return Some(Strength::Strong);
    }
    let before = words.next().unwrap_or_default();
    let pair = |(first, second): &(&str, &str)| is(before, first) && is(last, second);
    if STRONG_PAIRS.iter().any(pair) || (!of_id && KEY_PAIRS.iter().any(pair)) {
        return Some(Strength::Strong);
    }
    WEAK.iter().any(|word| is(last, word)).then_some(Strength::Weak)
}

/// `v1/Secret`, as Velero's resource lists have it: a kind, and its value lists names.
fn is_kind(name: &[u8]) -> bool {
    let mut parts = name.rsplit(|b| *b == b'/');
    let kind = parts.next().is_some_and(|kind| kind.first().is_some_and(u8::is_ascii_uppercase));
    kind && parts.next().is_some_and(is_version)
}

/// `v1`, `v2alpha1`.
pub(super) fn is_version(text: &[u8]) -> bool {
    text.len() <= 12 && text.first() == Some(&b'v') && text.get(1).is_some_and(u8::is_ascii_digit)
}

/// The words of a name from its end: cut at what is no letter or digit, at digits, and where `camelCase` has its humps.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0;
        let end = rest.iter().rposition(u8::is_ascii_alphanumeric)? + 1;
        let mut start = end - 1;
        while start > 0 && joins(rest, start, end) {
            start -= 1;
        }
        self.0 = &rest[..start];
        Some(&rest[start..end])
    }
}

/// Whether the byte in front of `at` belongs to the word `at..end`.
fn joins(name: &[u8], at: usize, end: usize) -> bool {
    let (before, first) = (name[at - 1], name[at]);
    if !before.is_ascii_alphanumeric() || before.is_ascii_digit() != first.is_ascii_digit() {
        return false;
    }
    let hump = before.is_ascii_lowercase() && first.is_ascii_uppercase();
    // `AWSSecret`: the S belongs to the lower-case letters behind it.
    let last_capital = before.is_ascii_uppercase()
        && first.is_ascii_uppercase()
        && name[..end].get(at + 1).is_some_and(u8::is_ascii_lowercase);
    !hump && !last_capital
}

#[cfg(test)]
mod tests {
    use super::{Strength::*, *};

    #[test]
    fn sec_x25_names_are_judged_by_their_last_words() {
        for name in [
            "password",
            "PGPASSWORD",
            "MYSQL_PWD",
            "db.password2",
            "rootPass",
            "awsSecretAccessKey",
            "AWSSecretKey",
            "aws_access_key_id",
            "apikey",
            "AccountKey",
            "privateKeyId",
            "client-key-data",
            "s3SecretKey",
            "clientSecret",
            "CONNECTION_STRING",
            "x.io/api-key",
            "passwordValue",
            "passwd2",
            "DB_PASSWORD_OLD",
            "db.password.v3",
            "dbPasswordNew",
            "SECRET_KEY_BASE",
            "ENCRYPTION_KEY",
            "encryptionKey",
            "signingkey",
            "JWT_SIGNING_KEY_V2",
            "x-amz-server-side-encryption-customer-key",
        ] {
            assert_eq!(judge(name.as_bytes()), Some(Strong), "{name}");
        }
        for name in [
            "token",
            "x-vault-token",
            "sessionToken2",
            "API_TOKEN_V2",
            "auth_token_secret_base",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "Authorization",
            "sig",
            "DSN",
        ] {
            assert_eq!(judge(name.as_bytes()), Some(Weak), "{name}");
        }
        for name in [
            "secretName",
            "secretRef",
            "passwordFile",
            "credentialsFile",
            "tokenExpirationSeconds",
            "tokenreviews",
            "passwordLength",
            "token-type",
            "bypass",
            "compass",
            "passed",
            "tokenizer",
            "author",
            "key",
            "user",
            "database",
            "kmsKeyId",
            "imagePullSecrets",
            "storageAccountKeyEnvVar",
            "SignatureDoesNotMatch",
            "TOKEN_TTL",
            "PASSWORD_POLICY",
            "KEY_COUNT",
            "KEY_V2",
            "encryptionKeyId",
            "x-amz-server-side-encryption-aws-kms-key-id",
            "sigv4",
            "authorization.k8s.io/v1",
            "v2",
            "old",
            "v1/Secret",
            "",
            "id",
            "-_.",
        ] {
            assert_eq!(judge(name.as_bytes()), None, "{name}");
        }
    }
}
