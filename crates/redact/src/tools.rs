//! Commands whose short flags or plain arguments are secrets: `mysql -p…`, `curl -u user:…`, `htpasswd -b file user …`.
//! A command may begin behind an escaped line end, whose letter `\\b` does not separate from the command's. `names`
//! handles flags with sensitive names, `shapes` all other shapes.

use crate::{
    shapes::{Shape, shape},
    value,
};

/// The value behind a flag, perhaps after blanks: in quotes, as the next argument, or a word that is no flag.
macro_rules! value {
    () => {
        value!(r"\s*=?\s*")
    };
    ($gap:literal) => {
        concat!(
            r#"(?:\\*["']\s*,\s*\\*["']([^"'\\\n]+)|(?:"#,
            $gap,
            r#")"#,
            r#"(?:'([^'\n,:}\]\s][^'\n]*)|\\*"([^"\\\n,:}\]\s][^"\\\n]*)|([^\s"'\\|;&,\]})=-][^\s"'\\|;&,\]})]*)))"#,
        )
    };
}
/// The same, if the secret is the part behind a colon or another sign: `user:secret`.
macro_rules! of_user {
    ($sign:literal) => {
        concat!(
            r#"(?:[\s=]*'[^\s"'\\,"#,
            $sign,
            r#"]+"#,
            $sign,
            r#"([^'\n]+)"#,
            r#"|(?:[\s=]*|\\*["']\s*,\s*)\\*"[^\s"'\\,"#,
            $sign,
            r#"]+"#,
            $sign,
            r#"([^"\\\n]+)"#,
            r#"|[\s"',=\\]*[^\s"'\\,"#,
            $sign,
            r#"]+"#,
            $sign,
            r#"([^\s"'\\,|;]+))"#,
        )
    };
}

pub(super) const MYSQL: Shape = shape(
    "mysql-flag",
    &["mysql", "mariadb", "xtrabackup"],
    concat!(
        r#"(?i:(?:\b|\\[nrt])(?:mysql[a-z]*|mariadb[a-z-]*|xtrabackup)\b)[^|;&\n]*?"#,
        r#"(?:"-p([^"\\\n,:}\]\s][^"\\\n]*)|'-p([^'\n]+)|[\s"',]-p(?:'([^'\n]+)|\\*"([^"\\\n,:}\]\s][^"\\\n]*)|([^\s"'\\|;&,\]]+)))"#,
    ),
);
pub(super) const CURL: Shape = shape(
    "curl-user",
    &["curl", "wget", "etcdctl"],
    concat!(
        r#"(?i:(?:\b|\\[nrt])(?:curl|wget|etcdctl)\b)[^|;\n]*?[\s"',](?:-[A-Za-z]*[uU]|--user|--proxy-user)"#,
        of_user!(":"),
    ),
);
pub(super) const SMB: Shape = shape(
    "smb-user",
    &["smbclient", "smbget", "rpcclient"],
    concat!(r#"(?:\b|\\[nrt])(?:smbclient|smbget|rpcclient)\b[^|;\n]*?[\s"',](?:-U|--user)"#, of_user!("%")),
);
pub(super) const MC: Shape = shape(
    "mc-alias",
    &["alias set", "host add", "alias\",", "host\","],
    concat!(
        r#"(?:\b|\\[nrt])mc[\s"',][^|;\n]*?(?:alias[\s"',]+set|host[\s"',]+add)(?:[\s"',]+[^\s"',]+){3}[\s"',]+"#,
        r#"([^\s"'\\,|;&]+)"#,
    ),
);
pub(super) const SSHPASS: Shape =
    shape("sshpass-flag", &["sshpass"], concat!(r"(?:\b|\\[nrt])sshpass[\s'\x22,\\]+-p", value!()));
pub(super) const REDIS: Shape =
    shape("redis-flag", &["redis-cli"], concat!(r#"redis-cli\b[^|;\n]*?[\s"',](?:-a|--pass)"#, value!()));
/// Lines of redis.conf, which `CONFIG SET` also accepts.
pub(super) const REDIS_CONFIG: Shape = Shape {
    id: "redis-config",
    hints: &["requirepass", "masterauth", "auth-pass"],
    pattern: concat!(
        r#"(?i)(?:\b|\\[nrt])(?:requirepass|masterauth|auth-pass[\s"',]+[^\s"',]+)"#,
        r#"(?:\\*["']\s*,\s*\\*["']|\s+\\*["']?)([^\s"'\\,:=]+)"#,
    ),
    check: |value| !value::is_ordinary(value),
    scan: None,
};
/// Glued to its flag, a value is not a word; that would be another flag: `-priority`.
pub(super) const MONGO: Shape = shape(
    "mongo-flag",
    &["mongo"],
    concat!(
        r#"(?:\b|\\[nrt])mongo[a-z]*\b[^|;\n]*?[\s"',]-p(?:"#,
        value!(r"\s*=\s*|\s+"),
        r#"|\\*["']([^"'\\\n,:}\]\s][^"'\\\n]*)|([a-z]*[^a-z\s"'\\|;&,\]})=-][^\s"'\\|;&,\]})]*))"#,
    ),
);
/// `db.auth('user', 'secret')`
pub(super) const MONGO_AUTH: Shape =
    shape("mongo-auth", &["auth("], r#"\bauth\(\s*\\*['"][^'"\\]*\\*['"]\s*,\s*\\*['"]([^'"\\]+)"#);
pub(super) const SQLCMD: Shape =
    shape("sqlcmd-flag", &["sqlcmd"], concat!(r#"(?:\b|\\[nrt])sqlcmd\b[^|;\n]*?[\s"',]-P"#, value!()));
/// `user/secret@database`; without a database only as the last word.
pub(super) const ORACLE: Shape = shape(
    "oracle-user",
    &["sqlplus", "expdp", "impdp"],
    r#"(?:\b|\\[nrt])(?:sqlplus|expdp|impdp)\b[^|;\n]*?[\s"'][A-Za-z][^\s/"'@=\\]*/([^\s/"'@\\]+)@"#,
);
pub(super) const LDAP: Shape = shape(
    "ldap-flag",
    &["ldap"],
    concat!(
        r#"(?:\b|\\[nrt])ldap(?:search|modify|add|delete|whoami|passwd|compare|modrdn)\b[^|;\n]*?[\s"',]-[a-z]*w"#,
        value!()
    ),
);
pub(super) const LOGIN: Shape = shape(
    "login-flag",
    &["login", "cqlsh"],
    concat!(
        r"(?:(?:\b|\\[nrt])(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|helm|az|oc)\b[^|;&\n]*?\blogin\b|(?:\b|\\[nrt])cqlsh\b)",
        r#"[^|;&\n]*?[\s"',]-p"#,
        value!(),
    ),
);
/// With `-b` the password is the last argument.
pub(super) const HTPASSWD: Shape = shape(
    "htpasswd",
    &["htpasswd"],
    concat!(
        r#"(?:\b|\\[nrt])htpasswd\b[^|;&<>\n]*?[\s"',]-[A-Za-z]*b[A-Za-z]*\\*["']?(?:[\s,]+\\*["']?[^\s"'\\,|;&<>]+\\*["']?)+?"#,
        r#"[\s,]+\\*["']?([^\s"'\\,|;&<>]+)\\*["']?\s*(?:$|[|;&<>\]\\"'\n])"#,
    ),
);
pub(super) const OPENSSL: Shape = shape(
    "openssl-pass",
    &["pass:", "openssl"],
    concat!(
        r#"-pass(?:in|out)?[\s"',\\]+pass:([^\s"'\\,|;&]+)"#,
        // Without a limit, each `pass:` behind an `enc` would read the rest of the line.
        r#"|(?:\b|\\[nrt])openssl[\s"',\\]+enc\b[^|;&\n]{0,512}?[\s"',]-[kK]"#,
        value!(),
    ),
);
/// Ceph's own tools; `--keyfile` and `--keyring` name files.
pub(super) const CEPH: Shape = shape(
    "ceph-flag",
    &["--key", "--secret"],
    concat!(
        r#"(?:\b|\\[nrt])(?:rbd|ceph|rados|radosgw-admin|ceph-fuse)\b[^|;\n]*?--(?:key|secret)(?:\\*["']\s*,\s*\\*["']|[\s=]+\\*["']?)"#,
        r#"([^\s"'\\,|;&\]]+)"#,
    ),
);
pub(super) const RABBIT: Shape = shape(
    "rabbitmq-user",
    &["add_user", "change_password"],
    r#"(?:\b|\\[nrt])rabbitmqctl\b[^|;\n]*?\b(?:add_user|change_password)(?:[\s"',\\]+[^\s"',\\]+)[\s"',\\]+([^\s"'\\,|;&]+)"#,
);
/// A token, or the value of a login method's parameter: a word that no sentence about a login contains.
pub(super) const VAULT: Shape = Shape {
    id: "vault-login",
    hints: &["vault"],
    pattern: concat!(
        r#"(?:\b|\\[nrt])vault[\s"',\\]+login(?:[\s"',\\]+-[^\s"',\\]+)*[\s"',\\]+"#,
        r#"([^\s"'\\,|;&=)\]-][^\s"'\\,|;&=)\]]*)"#,
    ),
    check: |value| {
        let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
        mixed && value.len() >= 6
    },
    scan: None,
};
/// The file's name may end in `.zip`, and the text behind it may be a flag of another program.
pub(super) const ZIP: Shape = shape(
    "zip-flag",
    &["zip"],
    concat!(r#"(?:^|[\s"'/;|&(]|\\[nrt])(?:un)?zip\b[^|;&\n]*?[\s"',]-[A-Za-z]*P"#, value!()),
);
pub(super) const SEVEN_ZIP: Shape = shape(
    "7z-flag",
    // With the text in front or behind: every tenth time stamp ends in a plain `7Z`.
    &[" 7z", "/7z", "\"7z", "'7z", "7z a -", "7z x -"],
    concat!(
        r#"(?:^|[\s"'/;|&(]|\\[nrt])7z[ar]?\b[^|;&\n]*?[\s"',]-p"#,
        r#"(?:'([^'\n]+)|\\*"([^"\\\n,:}\]\s][^"\\\n]*)|([^\s"'\\|;&,\]})]+))"#,
    ),
);
pub(super) const SHELLS: Shape = shape(
    "client-flag",
    &["cypher-shell", "rabbitmqadmin"],
    concat!(r#"(?:\b|\\[nrt])(?:cypher-shell|rabbitmqadmin)\b[^|;&\n]*?[\s"',]-p"#, value!()),
);
pub(super) const AWS_CONFIGURE: Shape = shape(
    "aws-configure",
    &["configure set"],
    r"\bconfigure\s+set\s+\S*(?:aws_secret_access_key|aws_session_token)\s+([^\s\x22'\\,|;&]+)",
);

/// The shapes of commands; they also match arguments that are separate texts.
pub(super) const ALL: &[&str] = &[
    MYSQL.id,
    CURL.id,
    SMB.id,
    MC.id,
    SSHPASS.id,
    REDIS.id,
    REDIS_CONFIG.id,
    MONGO.id,
    SQLCMD.id,
    ORACLE.id,
    LDAP.id,
    LOGIN.id,
    HTPASSWD.id,
    OPENSSL.id,
    CEPH.id,
    RABBIT.id,
    VAULT.id,
    ZIP.id,
    SEVEN_ZIP.id,
    SHELLS.id,
    AWS_CONFIGURE.id,
];
