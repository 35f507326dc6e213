//! What must come out unchanged: text that a reader needs to understand a failure. `leaks` tests what must be masked.

use super::*;

/// Typical failure messages, as Velero, its plugins, kopia and Kubernetes write them.
const SIGNATURES: &[&str] = &[
    "Backup store contains invalid top-level directories: [x y]",
    r#"unable to get credentials: unable to get key for secret: Secret "x" not found"#,
    r#"secret is missing data for key "cloud""#,
    "failed to get shared config profile, other",
    "operation error S3: ListObjectsV2, https response error StatusCode: 404, RequestID: 17A, HostID: ab, NoSuchBucket: The specified bucket does not exist",
    "operation error S3: PutObject, https response error StatusCode: 403, api error AccessDenied: Access Denied.",
    "InvalidAccessKeyId: The AWS Access Key Id you provided does not exist in our records.",
    "api error InvalidAccessKeyId: The Access Key Id you provided does not exist in our records.",
    "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    "ExpiredToken: The provided token has expired.",
    "RequestTimeTooSkewed: The difference between the request time and the server's time is too large.",
    "AuthorizationHeaderMalformed: The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-1'",
    "no EC2 IMDS role found, operation error ec2imds: GetMetadata, request canceled, context deadline exceeded",
    "failed to refresh cached credentials, no EC2 IMDS role found",
    "NoCredentialProviders: no valid providers in chain. Deprecated.",
    r#"Get "https://minio.shop:9000/velero?list-type=2": x509: certificate signed by unknown authority"#,
    "tls: first record does not look like a TLS handshake",
    r#"operation error S3: ListObjectsV2, exceeded maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , HostID: , request send failed, Get "http://minio.velero:9000/b?delimiter=%2F&list-type=2&prefix=": dial tcp 10.0.0.1:9000: connect: connection refused"#,
    "dial tcp: lookup minio.shop on 10.96.0.10:53: no such host, i/o timeout",
    "config has invalid keys [secret foo]; valid keys are [region s3Url publicUrl kmsKeyId customerKeyEncryptionFile customerKeyEncryptionSecret s3ForcePathStyle signatureVersion credentialsFile profile serverSideEncryption insecureSkipTLSVerify enableSharedConfig tagging checksumAlgorithm bucket prefix caCert]",
    "unable to locate ObjectStore plugin named velero.io/aws",
    "backup storage location's bucket name \"a/b\" must not contain a '/' (if using a prefix, put it in the 'Prefix' field instead)",
    "XAmzContentSHA256Mismatch: UnsupportedHeader: Unsupported header 'x-amz-sdk-checksum-algorithm' received, NotImplemented: A header you provided implies functionality",
    "cannot specify both caCert and caCertRef in objectStorage",
    "no storage account access key with key AZURE_STORAGE_ACCOUNT_ACCESS_KEY found in credential",
    "failed to get storage account access key: the resource group was not found",
    "GoogleAccessID is empty, perhaps using external_account credentials, cannot create signed URL",
    "backup can't be created because BackupStorageLocation default is in Unavailable status. please create a new backup after the BSL becomes available",
    "backup can't be created because backup storage location default is currently in read-only mode",
    "an existing backup storage location was not specified at backup creation time and the default was not found",
    "Error retrieving backup: can't find backup",
    "No completed backups found for schedule",
    "The BSL default is unavailable, cannot retrieve the backup. RequestID: 1",
    "encountered labelSelector as well as orLabelSelectors in restore spec, only one can be specified",
    "backup already exists in object storage",
    "restore execution failed: error downloading backup: error copying Backup to temp file: rpc error: code = Unknown desc = operation error S3: GetObject, NoSuchKey: The specified key does not exist.",
    "error creating gzip reader: unexpected EOF",
    r#"found a restore with status "InProgress" during the server starting, mark it as "Failed""#,
    r#"Dataupload is in status "Accepted" during the velero server starting, mark it as cancel"#,
    r#"found a datadownload with status "InProgress" during the node-agent starting, is in Accepted status during the node-agent starting, Resume InProgress datadownload failed"#,
    r#"get a legacy podvolumerestore with status "InProgress" during the server starting"#,
    "daemonset pod not found in running state in node worker-1",
    "node-agent pod is not running in node worker-1: it is Pending",
    "Velero node agent not found for linux nodes; daemonset not found",
    "timed out waiting for all PodVolumeBackups to complete. Cancel PVB on pod volume timeout",
    "timed out waiting for all PodVolumeRestores to complete",
    "pod volume backup failed: data path backup failed: Failed to run kopia backup: unable to get local block device entry",
    "Restoring pod is not scheduled until timeout or cancel, disengage",
    "The restore 1f0d is not found yet. Retry later",
    "no restore-wait init container in pod, restore-wait init container has already completed in pod, is in unrecoverable waiting state",
    r#"pods "shop-0" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false"#,
    "expected one matching path: /host_pods/5e1c/volumes/*/pvc-8a, got 0",
    "unexpected directory structure for host-pods volume, ensure that the host-pods volume corresponds to the pods subdirectory of the kubelet root directory",
    "Skip pod volume data error: pod is not in the expected status, name=shop-0: pod is not running",
    "unable to open file /host_pods/x: permission denied",
    "failed to get VolumeSnapshotClass for provisioner ebs.csi.aws.com: ensure that the desired VolumeSnapshotClass has the velero.io/csi-volumesnapshot-class label",
    r#"no matches for kind "VolumeSnapshot" in version "snapshot.storage.k8s.io/v1""#,
    r#"skippedReason":"volumeSnapshot: no applicable volumesnapshotter found;""#,
    "Timed out awaiting reconciliation of volumesnapshot, CSI got timed out with error: context deadline exceeded, volume snapshot is not ready until timeout, errors: [rpc error]",
    "PVC has no storage class",
    "CSI PVC BIA cannot proceed: node-agent is not ready for snapshot data movement",
    "timeout on preparing data upload, [Diagnose DU expose]",
    "found a datadownload velero/x with expose error: Pod is in abnormal state [Failed], message []",
    "container is in pull image failed with reason ImagePullBackOff",
    "exposed snapshot is not ready, no expose result is available for the current node",
    "data path pod was evicted, message: no space left on device",
    "Asynchronous action timed out, DataUpload is canceled, DataDownload is canceled",
    "Data path instance is concurrent limited requeue later",
    "no appropriate node to run data upload, no appropriate node to run datadownload",
    "more than one DataUpload found, multiple DataUpload result cms found",
    r#"Multi-Attach error for volume "pvc-8a1c" Volume is already exclusively attached to one node and can't be attached to another"#,
    r#"storageclass.storage.k8s.io "fast" not found; fail to patch dynamic PV, err: timed out, PVC: data, PV: pvc-1"#,
    "backup repository is not ready: error to connect to backup repo: error to connect repo with storage: repository not initialized in the provided storage",
    "failed to wait BackupRepository, timeout exceeded, failed to wait BackupRepository, errored early",
    "found existing data in storage location",
    "cannot create new backup repo for read-only backup storage location shop/velero/default",
    "error to connect to repository: invalid repository password",
    "repository is already locked exclusively by PID 7 on velero-6d by nonroot (UID 65532, GID 65532)",
    "Repo maintenance failed but result is not retrievable, Failed to start maintenance job",
    "could not restore, ConfigMap:a already exists. Warning: the in-cluster version is different than the backed-up version",
    r#"could not restore, Secret "shop-token" already exists. Warning: the in-cluster version is different than the backed-up version"#,
    r#"error restoring configmaps/app5/a: configmaps "a" is forbidden: exceeded quota: tight, requested: count/configmaps=1, used: count/configmaps=0, limited: count/configmaps=0"#,
    r#"failed calling webhook "x.example": failed to call webhook: Post "https://x.shop.svc:443/mutate?timeout=10s": no endpoints available for service "x""#,
    r#"admission webhook "validate.kyverno.svc-fail" denied the request"#,
    r#"Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"#,
    "the CRD widgets.acme.example is not available to use for custom resources",
    "plugin panicked: runtime error: invalid memory address or nil pointer dereference",
    "rpc error: code = Unavailable desc = error reading from server: EOF, exceeded maximum number of reset failures, Plugin process exited - restarting.",
    "Error executing hook error: /command terminated with exit code 1",
    "zero items to be restored",
    "download request download url timeout, check velero server logs for errors. backup storage location may not be available",
    r#"exec: "/velero-restore-helper": stat /velero-restore-helper: no such file or directory"#,
    "Problem starting manager: failed to create listener: listen tcp :8080: bind: address already in use",
    "Failed to create controller manager, need retry; velero: error creating controller manager: dial tcp 10.96.0.1:443: connect: no route to host",
    "received EOF, stopping recv loop; plugin process exited",
];

/// Harmless texts that look a little like secrets.
const TEXTS: &[&str] = &[
    r#"time="2026-09-08T03:04:12Z" level=info msg="Backed up 3 items" backup=velero/nightly logSource="github.com/vmware-tanzu/velero@v1.18.3/pkg/backup/backup.go:520" name=shop-token-x7k2p namespace=shop resource=secrets"#,
    r#"time="2026-09-08T03:04:12Z" level=info msg="Skipping item" groupResource=clusterroles.rbac.authorization.k8s.io name=system:auth-delegator"#,
    r#"{"level":"info","ts":"2026-09-08T03:04:12Z","logger":"controller","msg":"secret checked","name":"db-password","uid":"8a1c3b52-77aa-4f0e-9d61-0c2f6f2e1b11"}"#,
    "I0908 03:04:12.123456       1 reflector.go:221] Listing and watching *v1.Secret from k8s.io/client-go@v0.33.1/tools/cache/reflector.go:251",
    "2026-09-08T03:04:12.123Z [INFO]  plugin: configuring client automatic mTLS",
    "image: velero/velero-plugin-for-aws:v1.12.0@sha256:3a1c5e7f90b2d4c6e8f0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6",
    "commit 3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f40, md5 d41d8cd98f00b204e9800998ecf8427e, etag \"9b2cf535f27731c974343645a3985328-12\"",
    "kopia content k1f0d2c3b4a5968778695a4b3c2d1e0f9, manifest 5c1e0f9d8b7a69584736251403f2e1d0, snapshot vol-0a1b2c3d4e5f67890",
    "uid 8a1c3b52-77aa-4f0e-9d61-0c2f6f2e1b11, resourceVersion 482910337, generation 12",
    "mail shop.admin@example.com, user system:serviceaccount:velero:velero, host minio.shop.svc.cluster.local, 10.244.0.17",
    "arn:aws:iam::123456789012:role/velero, arn:aws:kms:eu-central-1:123456789012:key/8a1c3b52-77aa-4f0e-9d61-0c2f6f2e1b11",
    "https://minio.shop:9000/bucket/backups/nightly/nightly-logs.gz and s3://bucket/prefix, ssh://git@git.example/x.git",
    "http://minio:9000/bucket/mail@example.com and https://h.example:443?x=a@b",
    r#"password authentication failed for user "shop""#,
    "the password was changed, the token is stale, no secret was found, a signature is missing",
    "invalid password: required field is empty; password: must not be empty",
    "Error: secret \"cloud-credentials\" not found; couldn't find key password in Secret velero/cloud",
    "failed to fetch oauth token: unexpected status: 401 Unauthorized",
    r#"error getting credential: BackupStorageLocation "default": Secret "cloud" not found"#,
    r#"credential: BackupStorageLocation "secret": Secret "cloud" not found"#,
    "cannot fetch token: AuthenticationFailed: the audience is not known",
    "oauth2: cannot fetch token: 400 Bad Request; error getting credentials: exit status 1",
    r#"error running command "restic snapshots: invalid repository password": exit status 1"#,
    "error restoring secrets/shop/db-password: admission webhook denied it",
    "MountVolume.SetUp failed for volume \"certs\" : secret \"shop-tls\" not found",
    "--secret-file=/credentials/cloud --features=EnableCSI --token-ttl 3600 --password-file /run/p",
    "AWS_SHARED_CREDENTIALS_FILE=/credentials/cloud GOOGLE_APPLICATION_CREDENTIALS=/credentials/cloud",
    "PGPASSWORD=$PGPASSWORD psql; mysqldump -p\"$MYSQL_PASSWORD\"; curl -u $USER: x; PASS=${DB_PASS} --password=$(DB_PASSWORD)",
    "secretName: cloud-credentials, secretKeyRef, imagePullSecrets, serviceAccountToken, tokenreviews, tokenExpirationSeconds: 3607",
    "secret: velero/cloud-credentials, credential: backups/team-a/x.tar.gz, let it pass: bounded",
    "automountServiceAccountToken: false, password: null, token: <nil>, passwd: \"\", \"secret\":{}, \"tokens\":[]",
    r#"{"v1/Secret":["shop/db-password(created)","shop/token-abc12345(failed)"],"authentication.k8s.io/v1/Token":["a/b1234567"]}"#,
    r#"{"redactions":{"known-secret-key":3,"aws-session":1},"entries":[]}"#,
    "bypass=verylongvalue1 compass: abcdefgh12345678 author=somebody1 tokenizer: abcdefgh1234567890 passed: 12345678a",
    "key=abcdefgh12345678 user: someone12345678 database=shop12345678 kmsKeyId: 8a1c3b5277aa",
    "basic authentication is required, bearer tokens are refused, Bearer authentication-with-words-only",
    "cookie: not set, authorization: failed, Authorization: denied by policy",
    "AKIA is a prefix, eyJ begins a token, -----BEGIN CERTIFICATE----- begins a certificate, ghp_ too, npm_config_registry",
    "aws AROAEXAMPLE and AIDAEXAMPLE ids are not credentials",
    "signal: killed, sig=TERM; design: resigned; sas: none",
    "mysql -P 3306 -h db; psql -p 5432; mysqladmin --port=3306 ping",
    "\u{1b}[31mError\u{1b}[0m: secret \u{1b}[1mx\u{1b}[0m not found",
];

/// One of the texts.
pub(super) fn any(number: u64) -> &'static str {
    let all = SIGNATURES.len() + TEXTS.len();
    let number = usize::try_from(number % all as u64).unwrap_or_default();
    SIGNATURES.iter().chain(TEXTS).nth(number).copied().unwrap_or_default()
}

/// All the texts.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    SIGNATURES.iter().chain(TEXTS).copied()
}

/// Each text is tried in this many carriers.
const CARRIERS: usize = 4;

/// How many texts must survive, in all their carriers.
pub(super) fn cases() -> usize {
    (SIGNATURES.len() + TEXTS.len()) * CARRIERS
}

#[test]
fn sec_x55_what_names_a_failure_survives() {
    let by = redactor(&[], &[]);
    let mut changed = Vec::new();
    for text in SIGNATURES.iter().chain(TEXTS) {
        let logrus = format!(
            "time=\"2026-09-08T03:04:12Z\" level=error msg=\"run\" error={} logSource=\"pkg/a.go:1\"",
            json!(text)
        );
        let results = json!({ "errors": { "velero": [text], "namespaces": { "shop": [text] } } }).to_string();
        let message = json!({ "kind": "Event", "message": text, "metadata": { "name": "shop" } }).to_string();
        let lines: [String; CARRIERS] = [(*text).to_owned(), logrus, results, message];
        for line in lines {
            let out = by.text(&line);
            if out != line {
                changed.push(format!("{line}\n    became {out}"));
            }
        }
    }
    assert!(changed.is_empty(), "{}:\n{}", changed.len(), changed.join("\n"));
}

#[test]
fn sec_x55_objects_without_secrets_survive() {
    let by = redactor(&[], &[]);
    let certificate = [
        "-----BEGIN",
        " CERTIFICATE-----\n",
        &"MIIBszCCAVmgAwIBAgIUQ2x1c3RlckNB\n".repeat(9),
        "-----END CERTIFICATE-----\n",
    ]
    .concat();
    for object in [
        json!({ "kind": "Pod", "metadata": { "name": "velero-token-x7k2p", "uid": "8a1c3b52-77aa-4f0e-9d61-0c2f6f2e1b11", "labels": { "app.kubernetes.io/component": "auth" } },
            "spec": { "automountServiceAccountToken": false, "imagePullSecrets": [{ "name": "registry-secret" }],
                "containers": [{ "name": "velero", "command": ["/velero"], "args": ["server", "--features=EnableCSI", "--secret-file", "/credentials/cloud"],
                    "env": [{ "name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/credentials/cloud" }, { "name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/credentials/cloud" },
                        { "name": "DB_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "db-password", "key": "password" } } },
                        { "name": "URL", "value": "postgres://$(USER):$(DB_PASSWORD)@db/shop" }] }],
                "volumes": [{ "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } }] } },
                    { "name": "s", "secret": { "secretName": "cloud-credentials", "items": [{ "key": "password", "path": "p" }] } }],
                "tolerations": [{ "key": "shop/auth", "operator": "Equal", "value": "true" }] } }),
        json!({ "kind": "BackupStorageLocation", "spec": { "provider": "aws", "credential": { "name": "cloud-credentials", "key": "cloud" },
            "objectStorage": { "bucket": "velero", "caCert": STANDARD.encode(&certificate) },
            "config": { "region": "minio", "s3Url": "http://minio.velero:9000", "publicUrl": "https://minio.example/base", "customerKeyEncryptionSecret": "sse/key-32", "profile": "default" } } }),
        json!({ "kind": "StorageClass", "parameters": { "csi.storage.k8s.io/provisioner-secret-name": "ceph", "csi.storage.k8s.io/provisioner-secret-namespace": "rook", "kmsKeyId": "8a1c", "type": "gp3" } }),
        json!({ "kind": "PersistentVolume", "spec": { "csi": { "volumeHandle": "vol-0a1b2c3d4e5f67890", "nodeStageSecretRef": { "name": "ceph", "namespace": "rook" } }, "azureFile": { "secretName": "files" } } }),
        json!({ "kind": "CustomResourceDefinition", "spec": { "versions": [{ "schema": { "openAPIV3Schema": { "properties": {
            "password": { "type": "string", "description": "The password of the user, or a token: see the documentation." }, "token": { "default": "none", "maxLength": 20 }, "secret": { "enum": ["a", "b"] } }, "required": ["password", "token"] } } }] } }),
        json!({ "kind": "ServiceAccount", "secrets": [{ "name": "velero-token-x7k2p" }] }),
        json!({ "kind": "Role", "rules": [{ "apiGroups": ["authentication.k8s.io"], "resources": ["secrets", "tokenreviews"], "verbs": ["get"] }] }),
        json!({ "kind": "ResourceQuota", "spec": { "hard": { "secrets": "10", "count/secrets": "10" } } }),
        json!({ "kind": "ControllerRevision", "data": { "ca.crt": certificate, "log": SIGNATURES.join("\n") } }),
        json!({ "kind": "Backup", "spec": { "hooks": { "resources": [{ "name": "freeze", "pre": [{ "exec": { "container": "fsfreeze", "command": ["/sbin/fsfreeze", "--freeze", "/var/lib/x"], "onError": "Fail", "timeout": "3m" } }] }] } } }),
    ] {
        let mut after = object.clone();
        assert!(by.object(&mut after));
        assert_eq!(after, object);
        let text = object.to_string();
        assert_eq!(by.text(&text), text);
    }
}

#[test]
fn sec_x41_certificates_and_public_keys_survive() {
    let by = redactor(&[], &[]);
    for kind in ["CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE REQUEST"] {
        let pem = secrets::Seed(7).pem(kind, 5);
        assert_eq!(by.text(&pem), pem);
        // The tail of a PEM block, as a log excerpt may begin with it.
        let tail: Vec<&str> = pem.lines().skip(2).collect();
        let tail = format!("{}\nand on", tail.join("\n"));
        assert_eq!(by.text(&tail), tail);
        let json = json!({ "pem": pem }).to_string();
        assert_eq!(by.text(&json), json);
    }
}
