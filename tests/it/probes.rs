//! The probes of the Deployment, asked as the kubelet asks them.

use harness::{Operator, until, with_namespace};

use crate::support::{
    bundles::LIMIT,
    http::{free_address, status_line},
};

#[tokio::test]
async fn an_operator_at_work_is_alive_and_ready_and_one_without_the_flag_opens_no_port() {
    with_namespace("probes", |context| async move {
        let free = free_address();
        let operator = Operator::of(&context).args(["--http-address", &free.to_string()]).ready().await;
        for path in ["/livez", "/readyz"] {
            assert_eq!(status_line(free, path).await.expect("an answer"), "HTTP/1.1 200 OK", "{path}");
        }
        assert_eq!(status_line(free, "/secrets").await.expect("an answer"), "HTTP/1.1 404 Not Found");
        operator.terminate();
        assert_eq!(operator.wait_exit(LIMIT).await, 0);
        until(LIMIT, "the port is closed", || async { status_line(free, "/readyz").await.err() }).await;
        let _without = Operator::of(&context).ready().await;
        status_line(free, "/readyz").await.expect_err("nothing listens");
    })
    .await;
}
