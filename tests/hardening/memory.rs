//! Load that is shed before the memory runs out.

use crate::client::Connection;
use crate::range::Range;
use crate::recorder::OK;

/// A limit that every process is over: one connection is served, for one MiB, and no second one.
#[tokio::test]
async fn over_the_limit_a_share_is_served_and_the_rest_is_refused() {
    let range = Range::with(OK, |settings| {
        settings.memory_limit = Some(1 << 20);
        settings.idle_timeout = std::time::Duration::from_secs(60);
    })
    .await;
    let shed = "portcullis_requests_shed_total";
    let mut first = Connection::plain(range.scene.http).await;
    assert_eq!(first.get("h.test", "/").await.status, 200);
    let second = tokio::net::TcpStream::connect(range.scene.http).await.unwrap();
    range.scene.metric_becomes("portcullis_connections{listener=\"http\"}", 2).await;
    // What is decided every tenth of a second takes effect on the connections that are open, and on new ones.
    while range.scene.metric(shed) == 0 {
        let status = first.get("h.test", "/").await.status;
        assert!(status == 200 || status == 503, "{status}");
    }
    assert!(first.closes_within(std::time::Duration::from_secs(10)).await);
    drop(second);
    // One connection at a time is within the share again.
    let mut last = 0;
    while last != 200 {
        let mut client = Connection::plain(range.scene.http).await;
        let request = client.request("GET", "h.test", "/").body(crate::upstream::text("")).unwrap();
        last = client.send(request).await.map_or(0, |response| response.status().as_u16());
    }
}
