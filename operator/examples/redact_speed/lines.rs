//! Lines of a Velero server's log, as the kubelet delivers them, generated in the form of a large backup's log; no line
//! comes from a real cluster.

use std::fmt::Write as _;

/// Kinds, and their number in a hundred items, as in a namespace with a few workloads.
const KINDS: &[(&str, u64)] = &[
    ("pods", 22),
    ("events", 20),
    ("replicasets.apps", 14),
    ("configmaps", 12),
    ("secrets", 8),
    ("endpointslices.discovery.k8s.io", 7),
    ("serviceaccounts", 5),
    ("deployments.apps", 5),
    ("persistentvolumeclaims", 4),
    ("rolebindings.rbac.authorization.k8s.io", 3),
];
const WORDS: &[&str] = &[
    "billing",
    "catalog",
    "checkout",
    "frontend",
    "gateway",
    "grafana",
    "ingest",
    "inventory",
    "ledger",
    "mailer",
    "metrics",
    "orders",
    "payments",
    "postgres",
    "prometheus",
    "rabbitmq",
    "redis",
    "reports",
    "search",
    "shipping",
    "storefront",
    "tracing",
    "warehouse",
    "webhook",
];
/// Letters that Kubernetes uses for random names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// At least `bytes` bytes of whole lines; every `every`-th line contains something to mask.
pub(crate) fn lines(bytes: usize, every: usize) -> String {
    let mut log = Log { out: String::with_capacity(bytes + 4096), dice: Dice(7), nanos: 0, written: 0, every };
    let mut item = 0;
    while log.out.len() < bytes {
        item += 1;
        log.item(item);
    }
    log.out
}

/// splitmix64: the same sequence on every machine, without repetition.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.roll() % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }

    fn kind(&mut self) -> &'static str {
        let mut left = self.below(100);
        for (kind, share) in KINDS {
            if left < *share {
                return kind;
            }
            left -= share;
        }
        KINDS[0].0
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(self.of(LETTERS))).collect()
    }

    fn digits(&mut self, count: usize) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..count).map(|_| char::from(self.of(DIGITS))).collect()
    }

    fn uid(&mut self) -> String {
        let (a, b) = (self.roll(), self.roll());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48,
            b & 0xffff_ffff_ffff
        )
    }

    fn name(&mut self, kind: &str) -> String {
        let word = self.of(WORDS);
        match kind {
            "pods" => format!("{word}-{}-{}", self.letters(10), self.letters(5)),
            "replicasets.apps" => format!("{word}-{}", self.letters(10)),
            "events" => format!("{word}-{}-{}.{:016x}", self.letters(10), self.letters(5), self.roll()),
            "secrets" => format!("sh.helm.release.v1.{word}.v{}", self.below(90)),
            "endpointslices.discovery.k8s.io" => format!("{word}-{}", self.letters(5)),
            "persistentvolumeclaims" => format!("data-{word}-{}", self.below(5)),
            _ => format!("{word}-{}", self.of(WORDS)),
        }
    }
}

struct Log {
    out: String,
    dice: Dice,
    nanos: u64,
    written: usize,
    every: usize,
}

impl Log {
    /// The lines that Velero logs for an item: `pkg/backup/backup.go`, `item_backupper.go`, its plugins' actions.
    fn item(&mut self, number: u64) {
        let kind = self.dice.kind();
        let name = self.dice.name(kind);
        let namespace = format!("team-{}", self.dice.of(WORDS));
        let of = format!("name={name} namespace={namespace}");
        let resource = format!("resource={kind}");
        self.info("Processing item", "backup/backup.go", 520, &format!("{of} progress= {resource}"));
        self.info("Backing up item", "backup/item_backupper.go", 179, &format!("{of} {resource}"));
        if kind == "pods" {
            self.info("Executing custom action", "backup/item_backupper.go", 389, &format!("{of} {resource}"));
            self.info("Executing podAction", "backup/actions/pod_action.go", 67, "cmd=/velero pluginName=velero");
            self.info("Done executing podAction", "backup/actions/pod_action.go", 90, "cmd=/velero pluginName=velero");
            self.info(
                "Skip getting the volume snapshotter",
                "backup/item_backupper.go",
                560,
                &format!("{of} {resource}"),
            );
        }
        if kind == "persistentvolumeclaims" {
            let (volume, uid) = (self.dice.uid(), self.dice.uid());
            let message = format!("Found PodVolumeBackup {uid} for volume pvc-{volume}");
            self.info(&message, "podvolume/backupper.go", 331, &of);
        }
        let message = format!(
            "Backed up {number} items out of an estimated total of {} (estimate will change throughout the backup)",
            number + 977
        );
        self.info(&message, "backup/backup.go", 578, &format!("{of} progress= {resource}"));
    }

    fn info(&mut self, message: &str, file: &str, line: u32, fields: &str) {
        self.nanos += 400_000 + self.dice.below(9_000_000);
        let (second, part) = (self.nanos / 1_000_000_000, self.nanos % 1_000_000_000);
        let (h, m, s) = (second / 3600 % 24, second / 60 % 60, second % 60);
        let time = format!("2026-09-08T{h:02}:{m:02}:{s:02}");
        let _ = write!(
            self.out,
            "{time}.{part:09}Z time=\"{time}Z\" level=info msg=\"{message}\" backup=velero/nightly-20260908030000 \
             logSource=\"github.com/vmware-tanzu/velero@v1.18.3/pkg/{file}:{line}\" {fields}",
        );
        self.written += 1;
        if self.written.is_multiple_of(self.every) {
            self.secret();
        }
        self.out.push('\n');
    }

    /// One of four secrets in turn: a presigned URL, a URL with a password, a flag, a service account token.
    fn secret(&mut self) {
        let dice = &mut self.dice;
        let (host, short, long) = (dice.of(WORDS), dice.digits(20), dice.digits(43));
        let _ = match self.written / self.every % 4 {
            0 => write!(
                self.out,
                " url=\"https://minio:9000/b/{host}?X-Amz-Credential=AK{short}&X-Amz-Signature={:032x}{:032x}\"",
                dice.roll(),
                dice.roll()
            ),
            1 => write!(self.out, " error=\"dial postgres://app:{short}@{host}:5432/app: refused\""),
            2 => write!(self.out, " cmd=\"pg_dump --host {host} --password={short}\""),
            _ => write!(
                self.out,
                " header=\"Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.{long}{}.{}\"",
                dice.digits(200),
                dice.digits(342)
            ),
        };
    }
}
