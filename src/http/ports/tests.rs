use super::*;
use crate::http::reclaim::MAX_CLAIMS;

#[test]
fn the_webhooks_own_files_are_not_given_to_connections() {
    fn most(open_files: usize) -> usize {
        let connections = Connections::webhook(open_files, Metrics::default());
        let mut held = Vec::new();
        for port in 0..4096_u16 {
            let [high, low] = port.to_be_bytes();
            while let Ok(connection) = connections.accept(SocketAddr::from(([10, 0, high, low], port))) {
                held.push(connection);
            }
        }
        let waiting = held.iter().filter(|connection| connection.share.get().is_none()).count();
        assert!(waiting <= MAX_CLAIMS, "{waiting}");
        held.len() - waiting
    }
    assert!(most(1024) + RESERVED_FILES + MAX_ADMIN <= 1024);
    assert!(most(usize::MAX) <= MAX_WEBHOOK);
    assert!(most(0) > 0, "a webhook that cannot have files fails elsewhere, with a message");
}

#[tokio::test(start_paused = true)]
async fn newcomers_wait_at_the_same_time_and_hold_no_accept() {
    let connections = Connections::new(Port::Webhook, 8, Metrics::default());
    let accept = |last: u8, port: u16| connections.accept(SocketAddr::from(([10, 0, 0, last], port)));
    let take = |(last, count): (u8, u16)| (0..count).map(move |port| (last, port));
    let holders: Vec<_> = [(1, 4), (2, 2), (3, 1)].into_iter().flat_map(take).collect();
    let mut holders: Vec<_> = holders.into_iter().map(|(last, port)| accept(last, port).expect("free")).collect();
    let last_free = accept(4, 0).expect("one of another address is closed for it");
    last_free.claim().await.expect("one was free all the same");

    // The tasks of the connections that are closed for these do not end.
    let begun = Instant::now();
    let newcomers = [5, 6].map(|last| accept(last, 0).expect("one of another address is closed for it"));
    let (one, other) = tokio::join!(newcomers[0].claim(), newcomers[1].claim());
    assert!(one.is_err() && other.is_err());
    assert!(begun.elapsed() < RECLAIM * 2, "{:?}", begun.elapsed());
    assert!(newcomers.iter().all(Connection::is_closed_here), "it is no failure of the handshake");
    drop(newcomers);

    let newcomer = accept(7, 0).expect("one of another address is closed for it");
    let begun = Instant::now();
    let ((), claimed) = tokio::join!(async { holders.clear() }, newcomer.claim());
    claimed.expect("in time");
    assert!(begun.elapsed() < RECLAIM && !newcomer.is_closed_here());
    newcomer.claim().await.expect("it has its share");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &connections.metrics.registry()).expect("encoded");
    assert!(text.contains("writgate_connections{port=\"webhook\"} 2\n"), "only those with a share count: {text}");
}

#[tokio::test(start_paused = true)]
async fn refused_connections_are_logged_once_in_an_interval() {
    let log = LogInterval::default();
    assert_eq!((log.due(), log.due(), log.due()), (Some(0), None, None));
    tokio::time::advance(LOG_INTERVAL).await;
    assert_eq!(log.due(), Some(2));
}
