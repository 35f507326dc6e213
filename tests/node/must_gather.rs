//! The pod that `oc adm must-gather` makes (pkg/cli/admin/mustgather/mustgather.go in openshift/oc), and how it copies the
//! result: bash around the command, in a session of its own, with a check of the volume beside it; a second container that
//! sleeps, and from which tar copies.

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
    - |-
SCRIPT
    volumeMounts: [{name: must-gather-output, mountPath: /must-gather}]
  - name: copy
    image: IMAGE
    command: [/bin/bash, -c, "trap : TERM INT; sleep infinity & wait"]
    volumeMounts: [{name: must-gather-output, mountPath: /must-gather}]
"#;

/// `buildPodCommand` there, with `volumeUsageCheckerScript`, word for word.
const SCRIPT: &str = r#"if command -v setsid >/dev/null 2>&1 && command -v ps >/dev/null 2>&1 && command -v pkill >/dev/null 2>&1; then
  HAVE_SESSION_TOOLS=true
else
  HAVE_SESSION_TOOLS=false
fi


echo "[disk usage checker] Started"
target_dir="/must-gather"
usage_percentage_limit="PERCENTAGE"
while true; do
usage_percentage=$(df -P "$target_dir" | awk 'NR==2 {print $5}' | sed 's/%//')
echo "[disk usage checker] Volume usage percentage: current = ${usage_percentage} ; allowed = ${usage_percentage_limit}"
if [ "$usage_percentage" -gt "$usage_percentage_limit" ]; then
	echo "[disk usage checker] Disk usage exceeds the volume percentage of ${usage_percentage_limit} for mounted directory, terminating..."
	if [ "$HAVE_SESSION_TOOLS" = "true" ]; then
		ps -o sess --no-headers | sort -u | while read sid; do
			[[ "$sid" -eq "${$}" ]] && continue
			pkill --signal SIGKILL --session "$sid"
		done
	else
		kill 0
	fi
	exit 1
fi
sleep 5
done & if [ "$HAVE_SESSION_TOOLS" = "true" ]; then
  setsid -w bash <<-MUSTGATHER_EOF
COMMAND
MUSTGATHER_EOF
else
  COMMAND
fi; sync && echo 'Caches written to disk'"#;

/// The files that a person gets from this command, below the folder of the image.
pub(crate) async fn files(node: &Node, name: &str, command: &str) -> Vec<String> {
    let file = node.folder.join(name).with_extension("yaml");
    let script = SCRIPT.replace("PERCENTAGE", "70").replace("COMMAND", command);
    let script: Vec<String> = script.lines().map(|line| format!("      {line}")).collect();
    write(&file, POD.replace("NAME", name).replace("IMAGE", MUST_GATHER_IMAGE).replace("SCRIPT", &script.join("\n")));
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
    // The container ends with the code of `sync`, whatever the code of the command.
    let is_whole = ["Volume usage percentage: current", "The bundle is unpacked in", "Caches written to disk"];
    assert!(code == "0" && is_whole.iter().all(|part| said.contains(part)), "{code}: {said}");
    let exec = ["-n", "must-gather", "exec", name, "-c", "copy", "--"];
    let listed = node.kubectl(&[&exec[..], &["/bin/bash", "-c", "tar -C /must-gather -c . | tar -t"]].concat());
    let files = listed.lines().filter(|line| !line.ends_with('/')).map(|line| line.trim_start_matches("./").to_owned());
    files.collect()
}
