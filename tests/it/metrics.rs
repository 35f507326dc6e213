//! `/metrics` of a running operator: what it counts after bundles of different results.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use harness::{Operator, bundle::spec_about, until, velero_objects::restore, with_namespace};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::bundles::LIMIT;

async fn scraped(address: SocketAddr) -> String {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n";
    connection.write_all(request).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer that ends");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

#[tokio::test]
async fn after_three_bundles_of_different_results_metrics_count_them_and_name_nobody() {
    with_namespace("metrics", |context| async move {
        context.create_velero(restore("orchid").partially_failed()).await;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port");
        let _operator = Operator::of(&context).args(["--http-address", &address.to_string()]).ready().await;
        context.debug_bundle("about-orchid", spec_about("Restore", "orchid")).await;
        context.debug_bundle("about-nobody", spec_about("Restore", "nobody")).await;
        context.debug_bundle("nowhere", json!({"storageLocation": "not-there"})).await;
        for name in ["about-orchid", "about-nobody", "nowhere"] {
            context.until_bundle_ended(name).await;
        }
        let text = until(LIMIT, "three are counted", || async {
            let text = scraped(address).await;
            let counted = text.lines().filter(|line| line.starts_with("debugbundle_bundles_total{")).count();
            if counted == 3 { Ok(text) } else { Err(text) }
        })
        .await;
        println!("{text}");
        for part in [
            "debugbundle_bundles_total{result=\"TargetNotFound\",trigger=\"Request\",cause=\"none\"} 1\n",
            "debugbundle_bundles_total{result=\"LocationNotFound\",trigger=\"Request\",cause=\"none\"} 1\n",
            "debugbundle_stage_seconds_count{stage=\"Upload\"} 1\n",
            "debugbundle_bundle_size_bytes_count 1\n",
            "debugbundle_events_total{reason=\"TargetNotFound\"} 1\n",
            "debugbundle_api_requests_total{code=\"200\"} ",
            "debugbundle_leader 1\n",
            "debugbundle_queued_bundles 0\n",
            "debugbundle_spool_limit_bytes ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.contains("result=\"Completed\"") || text.contains("result=\"PartiallyCollected\""), "{text}");
        for name in ["orchid", "nobody", "nowhere", "not-there", context.namespace.as_str()] {
            assert!(!text.contains(name), "{name} is in\n{text}");
        }
    })
    .await;
}
