//! The kubelets that one collection reads logs from, through the API server: how long to wait for each, and when to
//! give up a node. `logs` decides what becomes of each log.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use debugbundle_format::manifest::MissingCode;
use futures::Stream;
use tokio::time::Instant;

use super::missing::{log_refusal, node_cure};
use crate::cluster::{Cluster, ClusterError};

/// After this many silent logs in a row no other log of the node is requested.
const MOST: usize = 4;
/// After a silent log the timeout for further logs of its node is divided by this.
const PART: u32 = 3;

/// The kubelets of all nodes. Pods without a node count as one more node: for them the API server answers itself.
#[derive(Debug)]
pub(super) struct Kubelets {
    cluster: Cluster,
    nodes: Mutex<BTreeMap<String, Kubelet>>,
}

#[derive(Debug, Default)]
struct Kubelet {
    /// When the last byte arrived of any log that has been coming for a while.
    heard: Option<Instant>,
    /// Number of silent logs since one ended otherwise.
    silent: usize,
    down: Option<NodeDown>,
}

/// Why no other log of a node is requested, and what would cure it.
#[derive(Clone, Debug)]
pub(super) struct NodeDown {
    pub(super) why: String,
    pub(super) cure: &'static str,
}

impl Kubelets {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), nodes: Mutex::default() }
    }

    /// Requests a log of this node.
    pub(super) async fn open(
        &self,
        node: &str,
        path: &str,
        deadline: Instant,
    ) -> Result<impl Stream<Item = Result<Bytes, kube::Error>> + Send + use<>, ClusterError> {
        self.reader(node).open(path, "*/*", deadline).await
    }

    /// The longest accepted silence within a log of this node.
    pub(super) fn idle(&self, node: &str) -> Duration {
        self.reader(node).idle()
    }

    fn reader(&self, node: &str) -> Cluster {
        let cluster = self.cluster.clone();
        if self.is_suspected(node) { cluster.hurried(PART) } else { cluster }
    }

    fn is_suspected(&self, node: &str) -> bool {
        self.lock().get(node).is_some_and(|kubelet| kubelet.silent > 0)
    }

    /// A byte arrived of a log that was requested at this time. The first bytes of a log are no sign of life: a kubelet
    /// that begins each log and stops would otherwise excuse the silence of one log by the beginning of the next.
    pub(super) fn heard(&self, node: &str, requested: Instant, now: Instant) {
        let settled = self.idle(node) / 2;
        if now.duration_since(requested) >= settled {
            self.lock().entry(node.to_owned()).or_default().heard = Some(now);
        }
    }

    /// One of its logs ended otherwise than by silence.
    pub(super) fn answered(&self, node: &str) {
        self.lock().entry(node.to_owned()).or_default().silent = 0;
    }

    /// One of its logs ended with this error. A silence while another log sent data does not count against the kubelet.
    pub(super) fn failed(&self, node: &str, error: &ClusterError, now: Instant) {
        let mut nodes = self.lock();
        let kubelet = nodes.entry(node.to_owned()).or_default();
        let why = match error {
            ClusterError::NoAnswer(patience) | ClusterError::Stalled(patience) => {
                let none_came = kubelet.heard.is_none_or(|heard| now.duration_since(heard) >= *patience);
                kubelet.silent += usize::from(none_came);
                if kubelet.silent < MOST {
                    return;
                }
                format!("the kubelet of node {node} sent nothing for {MOST} logs in a row; the last error: {error}")
            }
            error if log_refusal(error) == MissingCode::NodeUnreachable => {
                format!("node {node} could not be reached: {error}")
            }
            _ => return,
        };
        kubelet.down.get_or_insert(NodeDown { why, cure: node_cure(error) });
    }

    /// Set once no further log of the node is to be requested.
    pub(super) fn down(&self, node: &str) -> Option<NodeDown> {
        self.lock().get(node)?.down.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kubelet>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn kubelets() -> Kubelets {
        let nowhere = kube::Config::new(http::Uri::from_static("http://127.0.0.1:1"));
        Kubelets::new(&Cluster::new(kube::Client::try_from(nowhere).expect("a client")))
    }

    fn is_down(kubelets: &Kubelets, node: &str, now: Instant) -> bool {
        kubelets.failed(node, &ClusterError::NoAnswer(PATIENCE), now);
        kubelets.down(node).is_some()
    }

    #[tokio::test]
    async fn a_kubelet_is_given_up_after_a_few_silent_logs_in_a_row() {
        let (kubelets, now) = (kubelets(), Instant::now());
        let usual = kubelets.idle("n");
        for _ in 1..MOST {
            assert!(!is_down(&kubelets, "n", now));
            assert_eq!((kubelets.idle("n"), kubelets.idle("m")), (usual / PART, usual));
        }
        kubelets.answered("n");
        assert_eq!(kubelets.idle("n"), usual, "one that answers ends the row");
        for _ in 1..MOST {
            assert!(!is_down(&kubelets, "n", now));
        }
        assert!(!is_down(&kubelets, "m", now), "another node");
        kubelets.failed("n", &ClusterError::Stalled(PATIENCE), now);
        let down = kubelets.down("n").expect("it is given up");
        assert_eq!(
            down.why,
            "the kubelet of node n sent nothing for 4 logs in a row; the last error: no data for 30 s"
        );
    }

    #[tokio::test]
    async fn a_log_that_is_silent_while_others_come_says_nothing_of_the_kubelet() {
        let kubelets = kubelets();
        let (requested, now) = (Instant::now(), Instant::now() + kubelets.idle("n"));
        kubelets.heard("n", requested, now);
        for _ in 0..2 * MOST {
            assert!(!is_down(&kubelets, "n", now + PATIENCE / 2));
        }
        assert!(!kubelets.is_suspected("n"));
        for _ in 1..MOST {
            assert!(!is_down(&kubelets, "n", now + PATIENCE));
        }
        assert!(is_down(&kubelets, "n", now + PATIENCE), "that it came before does not count");
    }

    #[tokio::test]
    async fn a_kubelet_that_begins_each_log_and_stops_is_given_up() {
        let (kubelets, now) = (kubelets(), Instant::now());
        let patience = kubelets.idle("n");
        for n in 0..MOST {
            assert!(kubelets.down("n").is_none());
            let now = now + patience * u32::try_from(n).expect("a few");
            kubelets.heard("n", now + patience / 2, now + patience / 2);
            kubelets.failed("n", &ClusterError::Stalled(patience), now + patience);
        }
        assert!(kubelets.down("n").is_some());
    }

    #[tokio::test]
    async fn a_node_that_cannot_be_reached_is_given_up_at_once_and_a_refusal_is_no_silence() {
        let status = |code, message: &str| ClusterError::Status { code, reason: "x".into(), message: message.into() };
        let (kubelets, now) = (kubelets(), Instant::now());
        for _ in 0..2 * MOST {
            kubelets.failed("n", &status(400, "container is waiting to start"), now);
            assert!(kubelets.down("n").is_none());
        }
        kubelets.failed("n", &status(502, "dial tcp: connection refused"), now);
        let down = kubelets.down("n").expect("at once");
        assert_eq!(down.why, "node n could not be reached: 502 x: dial tcp: connection refused");
        assert!(down.cure.contains("10250"));
    }
}
