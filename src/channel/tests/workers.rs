//! Workers, listeners and pages over real sockets.

use std::time::Duration;

use super::IDENT;
use super::harness::*;
use crate::channel::bounds::Bounds;
use crate::registry::items::ChannelItem;
use crate::router::CloseCode;

#[test]
fn workers_serve_channels_over_tcp_that_come_and_go_and_drain_within_their_deadline() {
    use std::io::{Read, Write};
    let (deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    deps.registry
        .put_device(device(100, LEAF, "teltonika", IDENT))
        .unwrap();
    let channels = crate::channel::Channels::start(2, deps.clone()).unwrap();
    let item = channel(TELTONIKA, "teltonika");
    let at_addr = channels.open(&item).unwrap();
    assert!(matches!(
        channels.open(&item),
        Err(crate::channel::OpenError::Open)
    ));
    let connect = || {
        let stream = std::net::TcpStream::connect(at_addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    };
    let exchange = |stream: &mut std::net::TcpStream, bytes: &[u8], answer: &[u8]| {
        stream.write_all(bytes).unwrap();
        let mut read = vec![0; answer.len()];
        stream.read_exact(&mut read).unwrap();
        assert_eq!(read, answer);
    };
    let mut first = connect();
    exchange(&mut first, &login(IDENT), &[1]);
    exchange(&mut first, &packet(&[at(1)]), &taken(1));
    // a takeover, perhaps across the workers
    for second in 2..10 {
        let mut stream = connect();
        exchange(&mut stream, &login(IDENT), &[1]);
        exchange(&mut stream, &packet(&[at(second)]), &taken(1));
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0; 0]);
        first = stream;
    }
    assert_eq!(
        deps.registry
            .tree()
            .account(MASTER)
            .unwrap()
            .posted()
            .messages,
        9
    );
    assert_eq!(channels.close(TELTONIKA, CloseCode::ByUser), 1);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    assert!(std::net::TcpStream::connect(at_addr).is_err());
    let item = ChannelItem {
        port: at_addr.port(),
        ..item
    };
    let at_addr = channels.open(&item).unwrap();
    let mut stream = std::net::TcpStream::connect(at_addr).unwrap();
    exchange(&mut stream, &login(IDENT), &[1]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(channels.drain(Duration::from_secs(5))), 0);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0; 0]);
    let page = deps.metrics.render();
    for line in [
        "tollgate_messages_total{channel=\"10\"} 9",
        "tollgate_acks_total{channel=\"10\"} 9",
        "tollgate_takeovers_total 8",
        "tollgate_connections_closed_total{code=\"12\"} 8",
        "tollgate_connections_closed_total{code=\"7\"} 1",
        "tollgate_connections{channel=\"10\"} 0",
        "tollgate_connections_unidentified 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
}

#[test]
fn a_channel_takes_only_the_addresses_that_it_allows() {
    use std::io::{Read, Write};
    let (deps, _clock, _files, events, _dir) = deps(Bounds::default());
    deps.registry
        .put_device(device(100, LEAF, "teltonika", IDENT))
        .unwrap();
    let channels = crate::channel::Channels::start(1, deps.clone()).unwrap();
    let allow = |prefix: &str| {
        let item = ChannelItem {
            allow: vec![prefix.to_owned()],
            ..channel(TELTONIKA, "teltonika")
        };
        deps.registry.put_channel(item.clone()).unwrap();
        item
    };
    let at_addr = channels.open(&allow("10.0.0.0/8")).unwrap();
    // who is let in is answered, who is turned away hears the end
    let answer = || {
        let mut stream = std::net::TcpStream::connect(at_addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // it may be hung up on before
        drop(stream.write_all(&login(IDENT)));
        let mut answer = [9];
        stream.read(&mut answer).is_ok_and(|read| read > 0)
    };
    assert!(!answer());
    allow("127.0.0.0/8");
    assert!(answer());
    allow("nonsense");
    assert!(!answer());
    assert!(
        deps.metrics
            .render()
            .contains("tollgate_connections_refused_total{bound=\"allow\"} 2")
    );
    let turned_away = events.closed().into_iter().filter(|code| *code == 16);
    assert_eq!(turned_away.count(), 2);
}

#[test]
fn workers_turn_their_wheels_and_it_shows() {
    let (deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    let channels = crate::channel::Channels::start(2, deps).unwrap();
    // the time since the last turn of the slower one gets shorter with its next turn only
    let begun = std::time::Instant::now();
    let mut before = channels.silent_for();
    let mut turns = 0;
    while turns < 5 {
        assert!(begun.elapsed() < PATIENCE, "{turns} turns");
        std::thread::sleep(Duration::from_millis(2));
        let silent = channels.silent_for();
        turns += u32::from(silent < before);
        before = silent;
    }
}

#[test]
fn the_pages_of_accounts_and_journal_come_from_their_own_numbers() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let deps = &gateway.deps;
    let tree = std::sync::Arc::clone(deps.registry.tree());
    let clock = std::sync::Arc::clone(&deps.clock);
    deps.metrics
        .add_source(std::sync::Arc::new(crate::channel::AccountSeries::new(
            tree, clock,
        )));
    deps.metrics
        .add_source(std::sync::Arc::new(crate::channel::JournalSeries::new(
            deps.journal.clone(),
        )));
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let frame = packet(&[at(1)]);
        tracker.send(&frame).await;
        tracker.expect(&taken(1)).await;
        let page = gateway.deps.metrics.render();
        for line in [
            format!(
                "tollgate_account_bytes_total{{account=\"3\",direction=\"in\"}} {}",
                frame.len()
            ),
            "tollgate_account_bytes_total{account=\"1\",direction=\"out\"} 4".to_owned(),
            "tollgate_account_messages_total{account=\"2\"} 1".to_owned(),
            "tollgate_account_admitted{account=\"3\",dimension=\"channel_messages\"} 1".to_owned(),
            "tollgate_journal_failed 0".to_owned(),
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
        if let Ok(path) = std::env::var("TOLLGATE_METRICS_PAGE") {
            std::fs::write(path, page).unwrap();
        }
    });
}
