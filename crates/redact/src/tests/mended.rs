//! Fixed leaks and fixed false alarms, each next to a neighbour with the opposite result. docs/security.md lists those
//! that are still open.

use super::{leaks::seed, tried::*, *};

#[test]
fn sec_x12_more_tools_that_take_a_secret_by_a_short_flag_are_known() {
    go(&[
        "vault login 7a§",
        "vault login -method=token -no-print 7a§",
        "zip -P § out.zip dir",
        "zip -rP § out.zip dir",
        "unzip -o -P '§ x' out.zip",
        "/usr/bin/zip -r -P § out.zip dir",
        "7z a -p§ out.7z dir",
        "+ 7z a out.7z -p§ dir",
        "/usr/bin/7za x \"-p§\" out.7z",
        "7z x -p'§ x' out.7z",
        "cypher-shell -u neo4j -p § 'MATCH (n)'",
        "rabbitmqadmin -u admin -p § list queues",
        "sqlplus sys/§@db as sysdba",
        "sqlplus -s \"sys/§@//db:1521/x\"",
    ]);
    objects_go(&[
        json!({ "command": ["vault", "login", "7a§"] }),
        json!({ "command": ["zip", "-r", "-P", "§", "x.zip", "dir"] }),
        json!({ "command": ["7z", "a", "-p§", "x.7z"] }),
        json!({ "command": ["cypher-shell", "-u", "neo4j", "-p", "§"] }),
    ]);
    stay(&[
        "vault login failed: x; vault login -method=oidc role=shop; the vault login took 12s",
        "wget https://h.example/x1.zip -P /tmp/x1; gzip -9 x1; zip -r out1.zip dir1",
        "7z a out1.7z dir1 -mx9; pod x7z2k-7z is running -ok",
        "cypher-shell -a neo4j://h:7687; rabbitmqadmin -P 15672 list queues",
        "sqlplus /nolog; sqlplus -v; path a/b1 sqlplus",
    ]);
}

#[test]
fn sec_x22_a_password_of_a_statement_in_double_quotes_or_in_none_goes() {
    go(&[
        "CREATE USER shop IDENTIFIED BY \"§\"",
        "alter user shop identified by \"§\"",
        "CREATE ROLE shop IDENTIFIED BY 1§;",
        "GRANT CREATE SESSION, DBA TO shop IDENTIFIED BY 1§",
        "CREATE USER shop@h IDENTIFIED WITH x BY \"§\"",
    ]);
    stay(&[
        "node identified by \"ip-10-0-0-1\" not found",
        "cannot create a volume identified by pvc-8a1c3b52",
        "alter user shop identified externally; create user shop identified by values",
        "the user is identified by 12 groups",
    ]);
}

#[test]
fn sec_x26_a_name_that_is_set_by_a_call_says_what_is_behind_the_comma() {
    go(&[
        "os.Setenv(\"DB_PASSWORD\", \"§\")",
        "t.Setenv(\"API_TOKEN\", \"§\")",
        "os.environ.setdefault('DB_PASSWORD', '§')",
        "System.setProperty(\"db.password\", \"§\");",
        "setenv(\"DB_PASSWORD\",\"§\",1)",
        "config.set(\"db.password\", \"§\")",
        "config.put('password', '§');",
        "req.Header(\"X-Api-Key\", \"§\")",
    ]);
    stay(&[
        "os.Setenv(\"DB_PASSWORD\", dbPassword1) cache.put(\"password\", dbPassword1)",
        "os.Setenv(\"DB_HOST\", \"db1\")",
        "fields: (\"password\", \"login1\")",
        "os.Getenv(\"DB_PASSWORD\")",
    ]);
}

#[test]
fn sec_x12_arguments_on_lines_of_their_own_are_one_command() {
    go(&[
        "command:\n- mysqldump\n- -uroot\n- -p§\nimage: x",
        "command:\n  - /usr/bin/redis-cli\n  - -a\n  - §\nimage: x",
        "command: [\n  \"ldapsearch\",\n  \"-x\",\n  \"-w\",\n  \"§\"\n]",
        "args:\n- --password\n- §\n- --verbose",
        "command:\n- curl\n- -su\n- elastic:§\n- https://h.example/",
    ]);
    stay(&["command:\n- mysql\n- -P\n- 3306\n- -h\n- db1\n"]);
    let by = redactor(&[], &[]);
    // Where line ends are escaped, the tool's pattern crosses them.
    for text in [
        "databases:\n- mysql\n- redis\nflags:\n- -p1234567\n",
        "command:\n- mysqldump\nargs:\n- -priority1\n",
        "- mysql is up\n- -p1234567 is not\n",
    ] {
        assert_eq!(by.text(text), text);
    }
    // A list ends somewhere, whoever wrote it.
    let endless = format!("command:\n- mysqldump\n{}- -phunter2\n", "- x\n".repeat(200));
    assert_eq!(by.text(&endless), endless);
}

#[test]
fn sec_x11_elements_on_lines_of_their_own_are_a_pair_or_hold_a_value() {
    go(&[
        "<property>\n  <name>fs.s3a.secret.key</name>\n  <value>§</value>\n</property>",
        "<property>\n  <name>fs.s3a.secret.key</name>\n  <description>of the store</description>\n  <value>§</value>",
        "<property>\n  <name>db.password</name>\n  <value>\n    §\n  </value>\n</property>",
        "<password>\n  §\n</password>",
        "<clientSecret>\n\n  §</clientSecret>\n<next>x</next>",
    ]);
    stay(&[
        "<property>\n  <name>fs.s3a.endpoint</name>\n  <value>minio-1.shop</value>\n</property>",
        "<property>\n  <name>db.password</name>\n</property>\n<property>\n  <value>minio-1.shop</value>\n</property>",
        "<password>\n</password>\n<host>db-1234567</host>\n  db-1234567",
        "<password>\n  ${DB_PASSWORD}\n</password>",
        "<users>\n  shop-1234567\n</users>",
    ]);
}

#[test]
fn sec_x55_what_tells_of_a_secret_that_exists_already_survives() {
    stay(&[
        "password: {existingSecret: shop-db-1}",
        "auth: {existingSecret: shop-db-1, existingSecretPasswordKey: redis-password-1}",
        "password: {\"existingSecret\":\"shop-db-1\",\"key\":\"pw-1\"}",
        "password:\n  existingSecret: shop-db-1\n  existingSecretKey: pw-1\nhost: db",
    ]);
    objects_stay(&[
        json!({ "password": { "existingSecret": "shop-db-1", "existingSecretKey": "pw-1" } }),
        json!({ "args": ["x"], "rootPassword": { "existingSecretName": "shop-db-1" } }),
    ]);
    go(&["password: {existing: 1§}", "password: {existingSecret: shop-db-1, value: §}", "existingPassword: §"]);
}

#[test]
fn sec_h8_a_private_key_with_small_letters_in_its_label_is_masked() {
    let v = seed().word(64);
    for label in ["rsa PRIVATE KEY", "RSA Private Key"] {
        let line = format!("-----BEGIN {label}-----{v}");
        let out = redactor(&[], &[]).text(&line);
        assert!(!out.contains(&v) && out.contains("[REDACTED:pem:"), "{out}");
    }
}
