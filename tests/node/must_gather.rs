//! The pod that `oc adm must-gather` makes (pkg/cli/admin/mustgather in openshift/oc), and how it copies the result: bash
//! around the command, with a check of the volume beside it; a second container that sleeps, and from which tar copies.

use std::time::Duration;

use harness::until;

use crate::{MUST_GATHER_IMAGE, servers::Node, write};

const POD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: must-gather}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: must-gather}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: default, namespace: must-gather}]
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: must-gather}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  volumes: [{name: must-gather-output, emptyDir: {}}]
  containers:
  - name: gather
    image: IMAGE
    command:
    - /bin/bash
    - -c
    - while true; do df -P /must-gather | awk 'NR==2 {print $5}' | sed 's/%//'; sleep 5; done & COMMAND; echo "gather ended with $?"; sync && echo 'Caches written to disk'
    volumeMounts: [{name: must-gather-output, mountPath: /must-gather}]
  - name: copy
    image: IMAGE
    command: [/bin/bash, -c, "trap : TERM INT; sleep infinity & wait"]
    volumeMounts: [{name: must-gather-output, mountPath: /must-gather}]
"#;

/// The files that a person gets from this command, below the folder of the image.
pub(crate) async fn files(node: &Node, name: &str, command: &str) -> Vec<String> {
    let file = node.folder.join(name).with_extension("yaml");
    write(&file, POD.replace("NAME", name).replace("IMAGE", MUST_GATHER_IMAGE).replace("COMMAND", command));
    // A new namespace has no ServiceAccount for some milliseconds, and refuses pods until then.
    until(Duration::from_secs(20), "the pod is created", || async {
        node.try_kubectl(&["apply", "-f", &file.display().to_string()])
    })
    .await;
    let ended = "jsonpath={.status.containerStatuses[?(@.name=='gather')].state.terminated.exitCode}";
    let code = until(Duration::from_mins(2), "gather ends", || async {
        let code = node.try_kubectl(&["-n", "must-gather", "get", "pod", name, "-o", ended])?;
        if code.is_empty() { Err("it runs".to_owned()) } else { Ok(code) }
    })
    .await;
    let said = node.kubectl(&["-n", "must-gather", "logs", name, "-c", "gather"]);
    // The container ends with the code of `sync`, as in the pod of `oc`.
    assert!(code == "0" && said.contains("gather ended with 0\n"), "{code}: {said}");
    let exec = ["-n", "must-gather", "exec", name, "-c", "copy", "--"];
    let listed = node.kubectl(&[&exec[..], &["/bin/bash", "-c", "tar -C /must-gather -c . | tar -t"]].concat());
    let files = listed.lines().filter(|line| !line.ends_with('/')).map(|line| line.trim_start_matches("./").to_owned());
    files.collect()
}
