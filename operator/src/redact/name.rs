//! Whether a name says that its value is secret: `awsSecretAccessKey`, `DB_PASSWORD`, `token`, but not `secretName`.
//! What becomes of the value is up to the carrier in which the name stands.

/// How sure a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// The word is used for other things too.
    Weak,
    /// Nothing but a secret is called so.
    Strong,
}

/// Words at the end of a name, joined.
const STRONG: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secretkey",
    "accesskey",
    "apikey",
    "accountkey",
    "privatekey",
    "clientsecret",
    "authtoken",
    "refreshtoken",
    "accesstoken",
    "connectionstring",
];
const WEAK: [&str; 10] =
    ["secret", "token", "credential", "credentials", "authorization", "auth", "sas", "sig", "signature", "dsn"];
/// Long enough to be no part of another word: `PGPASSWORD`.
const ENDINGS: [&str; 6] = ["password", "passwd", "passphrase", "secretkey", "accesskey", "privatekey"];
/// May follow the word without changing what it means.
const MAY_FOLLOW: [&str; 3] = ["id", "value", "data"];
/// A longer name is none (bytes).
const LONGEST: usize = 256;

/// What a name says of its value; `None`: nothing.
pub(super) fn strength(name: &str) -> Option<Strength> {
    if name.len() > LONGEST {
        return None;
    }
    let mut words = words(name);
    while words.len() > 1 && words.last().is_some_and(|word| may_follow(word)) {
        words.pop();
    }
    let last = words.last()?;
    let joined = |count: usize| words.len().checked_sub(count).map(|from| words[from..].concat());
    let strong = |word: &String| STRONG.contains(&word.as_str());
    if (1..=2).filter_map(joined).any(|word| strong(&word)) || ENDINGS.iter().any(|ending| last.ends_with(ending)) {
        return Some(Strength::Strong);
    }
    WEAK.contains(&last.as_str()).then_some(Strength::Weak)
}

fn may_follow(word: &str) -> bool {
    MAY_FOLLOW.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `awsSecretKey2`, `AWS_SECRET_KEY_2` and `aws.secret-key.2` are aws, secret, key, 2.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(at + 1);
        let begins = before.is_some_and(|before| {
            let hump = before.is_lowercase() && letter.is_uppercase();
            let after_acronym =
                before.is_uppercase() && letter.is_uppercase() && after.is_some_and(|c| c.is_lowercase());
            hump || after_acronym || before.is_ascii_digit() != letter.is_ascii_digit()
        });
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_their_last_words() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbPassword2",
            "PGPASSWORD",
            "aws_secret_access_key",
            "awsAccessKeyId",
            "api-key",
            "APIKey",
            "apikey",
            "client_secret",
            "storageAccountKey",
            "connectionString",
            "proxy.pass",
            "/spec/data/password",
            "passphrase_value",
        ] {
            assert_eq!(strength(name), Some(Strength::Strong), "{name}");
        }
        for name in ["token", "oauth2Token", "secret", "credentials", "X-Signature", "dsn", "tokenId"] {
            assert_eq!(strength(name), Some(Strength::Weak), "{name}");
        }
        for name in [
            "secretName",
            "secretKeyRef",
            "credentialsFile",
            "tokenExpirationSeconds",
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
            "tokenreviews",
            "data",
            "id",
            "",
            "42",
        ] {
            assert_eq!(strength(name), None, "{name}");
        }
    }
}
