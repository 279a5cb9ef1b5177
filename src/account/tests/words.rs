//! The words by themselves: what no sequence of charges can bring about.

use super::storm::Over;
use crate::account::word::{
    BYTES_MAX, Denied, FrameWindow, MESSAGES_MAX, MINUTE_MAX, Meter, USE_MAX,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn a_word_is_exchanged_without_a_lock() {
    assert!(portable_atomic::AtomicU128::is_lock_free());
}

#[test]
fn an_undo_leaves_the_next_window_alone() {
    let window = FrameWindow::new();
    window.add(5, 70, 7).unwrap();
    window.add(6, 40, 4).unwrap();
    window.undo(5, 70, 7);
    let used = window.reading(6).used;
    assert_eq!((used.minute, used.bytes, used.messages), (6, 40, 4));
    window.undo(6, 40, 4);
    assert_eq!(window.reading(6).used.bytes, 0);

    let meter = Meter::new();
    meter.add(5, 70).unwrap();
    meter.add(6, 40).unwrap();
    meter.undo(5, 70);
    assert_eq!(meter.reading(6).used, 40);
}

#[test]
fn each_part_of_a_word_holds_its_most_and_touches_no_other() {
    let window = FrameWindow::new();
    window.set_caps(-1, -1);
    window.add(MINUTE_MAX, BYTES_MAX, MESSAGES_MAX).unwrap();
    let used = window.reading(0).used;
    assert_eq!(
        (used.minute, used.bytes, used.messages, used.revision),
        (MINUTE_MAX, BYTES_MAX, MESSAGES_MAX, 1)
    );
    assert!(matches!(window.add(MINUTE_MAX, 1, 0), Err(Denied::Full(_))));
    assert!(matches!(window.add(MINUTE_MAX, 0, 1), Err(Denied::Full(_))));
    assert!(matches!(
        window.add(MINUTE_MAX - 1, 0, 0),
        Err(Denied::Later(MINUTE_MAX))
    ));
    // unasked, it stays at the most
    window.restore(MINUTE_MAX, 1, u64::MAX).unwrap();
    window.add_usage(MINUTE_MAX, u64::MAX, 1).unwrap();
    let reading = window.reading(0);
    assert_eq!(reading.used, used);
    assert_eq!(
        (reading.usage.bytes, reading.usage.messages),
        (BYTES_MAX, 1)
    );

    let meter = Meter::new();
    meter.set_cap(i64::MAX);
    assert_eq!(
        meter.reading(0).cap(),
        u64::MAX,
        "a cap above every use is none"
    );
    meter.add(MINUTE_MAX, USE_MAX).unwrap();
    assert!(matches!(meter.add(MINUTE_MAX, 1), Err(Denied::Full(_))));
    meter.set_cap(3);
    let reading = meter.reading(0);
    assert_eq!(
        (reading.minute, reading.used, reading.cap()),
        (MINUTE_MAX, USE_MAX, 3)
    );
}

/// The exchange of a charge that was tested against the caps before must fail, even if the use is the
/// same and the caps have changed twice. More threads than cores: some are always stopped between
/// the test and the exchange, and go on after the change.
#[test]
fn nothing_is_admitted_under_caps_that_are_gone() {
    const ROUNDS: usize = 60;
    const CHARGING: usize = 8;
    let windows: Vec<(FrameWindow, Meter)> = (0..CHARGING)
        .map(|_| (FrameWindow::new(), Meter::new()))
        .collect();
    let over = AtomicBool::new(false);
    let readings = || -> Vec<(u64, u64)> {
        let used = |(window, meter): &(FrameWindow, Meter)| {
            (window.reading(1).used.bytes, meter.reading(1).used)
        };
        windows.iter().map(used).collect()
    };
    let (in_windows, in_meters): (Vec<u64>, Vec<u64>) = thread::scope(|scope| {
        let _over = Over(&over);
        let threads: Vec<_> = windows
            .iter()
            .map(|(window, meter)| {
                let over = &over;
                scope.spawn(move || {
                    let (mut in_window, mut in_meter) = (0, 0);
                    while !over.load(Ordering::Relaxed) {
                        in_window += u64::from(window.add(1, 1, 0).is_ok());
                        in_meter += u64::from(meter.add(1, 1).is_ok());
                    }
                    (in_window, in_meter)
                })
            })
            .collect();
        for _ in 0..ROUNDS {
            for (window, meter) in &windows {
                window.set_caps(1 << 37, -1);
                meter.set_cap(-1);
            }
            thread::sleep(Duration::from_millis(2));
            for (window, meter) in &windows {
                window.set_caps(0, 0);
                window.set_caps(0, 0);
                meter.set_cap(0);
            }
            let before = readings();
            thread::sleep(Duration::from_millis(8));
            assert_eq!(readings(), before);
        }
        over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it only counts"))
            .unzip()
    });
    assert!(
        in_windows.iter().sum::<u64>() > 0,
        "between the changes it is admitted"
    );
    let told: Vec<(u64, u64)> = in_windows.into_iter().zip(in_meters).collect();
    assert_eq!(readings(), told);
}
