//! Tests of the harness itself: do its servers, its kubelet and its faults do what the other tests rely on?

use std::time::Duration;

use futures::AsyncReadExt as _;
use harness::kubelet::KubeletPort;
use harness::{Context, LogScript, pod, until, with_namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;

async fn a_pod_that_logs(context: &Context, script: LogScript) -> String {
    let node = context.node("n").await;
    context.pod(pod("web").on_node(&node).with_container("app")).await;
    context.log("web", "app", script);
    node
}

async fn logs(context: &Context, params: LogParams) -> Result<String, kube::Error> {
    context.api::<Pod>().logs("web", &params).await
}

/// Reads a log as far as possible: the number of bytes, and whether it ended well.
async fn read_all(context: &Context) -> (usize, Result<(), String>) {
    let params = LogParams { container: Some("app".to_owned()), ..LogParams::default() };
    let stream = match context.api::<Pod>().log_stream("web", &params).await {
        Ok(stream) => stream,
        Err(error) => return (0, Err(error.to_string())),
    };
    let mut stream = std::pin::pin!(stream);
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (total, Ok(())),
            Ok(read) => total += read,
            Err(error) => return (total, Err(error.to_string())),
        }
    }
}

#[tokio::test]
async fn lines_pass_through_the_api_server_and_honour_its_query() {
    with_namespace("lines", |context| async move {
        let node = a_pod_that_logs(&context, LogScript::lines(["one", "two", "three"])).await;
        context.previous_log("web", "app", LogScript::lines(["panic: out of luck"]));
        assert_eq!(logs(&context, LogParams::default()).await.unwrap(), "one\ntwo\nthree\n");
        let tail = LogParams { tail_lines: Some(1), timestamps: true, ..LogParams::default() };
        let last = logs(&context, tail).await.unwrap();
        let (time, line) = last.split_once(' ').expect("a time, then the line");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && line == "three\n", "{last:?}");
        let previous = LogParams { previous: true, ..LogParams::default() };
        assert_eq!(logs(&context, previous).await.unwrap(), "panic: out of luck\n");
        let since = jiff::Timestamp::now() + Duration::from_hours(1);
        let later = LogParams { since_time: Some(since), limit_bytes: Some(100), ..LogParams::default() };
        assert_eq!(logs(&context, later).await.unwrap(), "");
        let seen = context.stand.kubelet.seen(&node);
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert_eq!(seen[1].query["tailLines"], "1");
        assert_eq!(seen[2].query["previous"], "true");
        assert!(seen[3].query["sinceTime"].parse::<jiff::Timestamp>().is_ok(), "{:?}", seen[3]);
    })
    .await;
}

#[tokio::test]
async fn a_large_log_streams_without_being_held() {
    with_namespace("large", |context| async move {
        a_pod_that_logs(&context, LogScript::generated(64 << 20, 1)).await;
        let (read, end) = read_all(&context).await;
        assert_eq!((read.div_ceil(200) * 200, end), ((64_usize << 20).div_ceil(200) * 200, Ok(())));
    })
    .await;
}

#[tokio::test]
async fn a_slow_log_comes_slowly_and_is_counted_while_it_is_open() {
    with_namespace("slow", |context| async move {
        let node = a_pod_that_logs(&context, LogScript::generated(20_000, 1).slowly(20_000)).await;
        let began = std::time::Instant::now();
        let (first, second) = tokio::join!(read_all(&context), read_all(&context));
        assert_eq!((first.0, second.0), (20_000, 20_000));
        assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
        assert_eq!(context.stand.kubelet.most_at_once(&node), 2);
        until(Duration::from_secs(5), "both are closed", || async {
            let open = context.stand.kubelet.open_now(&node);
            if open == 0 { Ok(()) } else { Err(open) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_stalled_log_stays_open_without_a_byte() {
    with_namespace("stalled", |context| async move {
        let node = a_pod_that_logs(&context, LogScript::generated(20_000, 1).stall_after(400)).await;
        let stalled = tokio::time::timeout(Duration::from_secs(2), read_all(&context)).await;
        assert!(stalled.is_err(), "{stalled:?}");
        until(Duration::from_secs(5), "the abandoned log is closed", || async {
            let open = context.stand.kubelet.open_now(&node);
            if open == 0 { Ok(()) } else { Err(open) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_cut_or_reset_log_breaks_off() {
    with_namespace("broken", |context| async move {
        a_pod_that_logs(&context, LogScript::generated(200_000, 1).reset_after(100_000)).await;
        let (reset, end) = read_all(&context).await;
        assert!(reset < 200_000, "reset: {reset} {end:?}");
        context.log("web", "app", LogScript::generated(200_000, 1).cut_after(100_000));
        let (cut, end) = read_all(&context).await;
        assert!(cut <= 100_000, "cut: {cut} {end:?}");
    })
    .await;
}

#[tokio::test]
async fn a_status_and_a_body_arrive_as_they_are() {
    with_namespace("status", |context| async move {
        a_pod_that_logs(&context, LogScript::status(500, "the runtime is gone")).await;
        let error = logs(&context, LogParams::default()).await.unwrap_err().to_string();
        assert!(error.contains("the runtime is gone"), "{error}");
        context.log("web", "app", LogScript::body(vec![0, 1, 255]));
        assert_eq!(read_all(&context).await, (3, Ok(())));
    })
    .await;
}

#[tokio::test]
async fn a_closed_node_refuses_and_a_silent_one_does_not_answer() {
    with_namespace("closed", |context| async move {
        let closed = context.node_that_is("closed", KubeletPort::Refused).await;
        context.pod(pod("web").on_node(&closed)).await;
        let error = logs(&context, LogParams::default()).await.unwrap_err().to_string();
        assert!(error.contains("connection refused"), "{error}");
        let silent = context.node_that_is("silent", KubeletPort::Silent).await;
        context.pod(pod("mute").on_node(&silent)).await;
        let pods = context.api::<Pod>();
        let params = LogParams::default();
        let mute = tokio::time::timeout(Duration::from_secs(2), pods.logs("mute", &params)).await;
        assert!(mute.is_err(), "{mute:?}");
    })
    .await;
}

#[tokio::test]
async fn a_pod_has_the_state_that_was_asked_for() {
    with_namespace("pods", |context| async move {
        let node = context.node("n").await;
        let shop = pod("shop")
            .on_node(&node)
            .with_init("restore-wait")
            .with_container("app")
            .restarted(3)
            .waiting("CrashLoopBackOff", "back-off 5m0s")
            .with_ephemeral("debugger");
        let status = context.pod(shop).await.status.expect("a status");
        let app = &status.container_statuses.expect("main containers")[0];
        assert_eq!(app.restart_count, 3);
        let last = app.last_state.as_ref().and_then(|state| state.terminated.as_ref()).expect("an end");
        assert_eq!(last.reason.as_deref(), Some("OOMKilled"));
        assert_eq!(status.ephemeral_container_statuses.expect("ephemeral containers")[0].name, "debugger");
        assert_eq!(status.init_container_statuses.expect("init containers")[0].name, "restore-wait");
    })
    .await;
}

#[tokio::test]
async fn the_store_shows_objects_and_unfinished_uploads() {
    with_namespace("store", |context| async move {
        let bucket = &context.bucket;
        bucket.put("team-a/plugins/debugbundle/x", "hello").await;
        assert_eq!(bucket.keys("team-a/").await, ["team-a/plugins/debugbundle/x"]);
        assert_eq!(bucket.get("team-a/plugins/debugbundle/x").await.as_deref(), Some(&b"hello"[..]));
        assert_eq!(bucket.get("team-a/none").await, None);
        let client = bucket.client();
        let begun = client.create_multipart_upload().bucket(&bucket.name).key("team-a/big").send().await.unwrap();
        let unfinished = bucket.unfinished().await;
        assert_eq!(unfinished.len(), 1, "{unfinished:?}");
        assert_eq!(unfinished[0].key, "team-a/big");
        assert_eq!(Some(unfinished[0].upload_id.as_str()), begun.upload_id());
    })
    .await;
}

#[tokio::test]
async fn a_user_of_the_store_may_do_what_it_is_allowed() {
    with_namespace("store-user", |context| async move {
        let s3 = &context.stand.s3;
        let reader = s3.create_user(&format!("{}-reader", context.namespace)).await;
        context.bucket.put("a", "hello").await;
        let theirs = context.bucket.seen_by(s3, &reader);
        let denied = theirs.client().get_object().bucket(&theirs.name).key("a").send().await;
        assert!(denied.is_err());
        context.bucket.allow(&reader, &["s3:GetObject", "s3:ListBucket"]).await;
        assert_eq!(theirs.get("a").await.as_deref(), Some(&b"hello"[..]));
        assert_eq!(theirs.keys("").await, ["a"]);
        let body = aws_sdk_s3::primitives::ByteStream::from_static(b"no");
        let denied = theirs.client().put_object().bucket(&theirs.name).key("b").body(body).send().await;
        assert!(denied.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_account_has_no_rights_and_what_it_asks_is_recorded() {
    with_namespace("account", |context| async move {
        let account = context.stand.service_account(&context.namespace, "nobody").await;
        let pods: kube::Api<Pod> = kube::Api::namespaced(account.client().await, &context.namespace);
        let error = pods.list(&kube::api::ListParams::default()).await.unwrap_err().to_string();
        assert!(error.contains(&account.user) && error.contains("cannot list resource \"pods\""), "{error}");
        until(Duration::from_secs(5), "the audit log has it", || async {
            let deeds = context.stand.distinct_requests_of(&account.user);
            let wanted = ("list".to_owned(), String::new(), "pods".to_owned());
            if deeds.contains(&wanted) { Ok(()) } else { Err(format!("{deeds:?}")) }
        })
        .await;
    })
    .await;
}
