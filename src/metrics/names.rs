//! Every metric: its name, its kind, its labels, its words for people. Names keep Prometheus'
//! conventions (base units, counters end in `_total`), and a test keeps this list to them.

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever rises while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// Its name in the exposition format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub help: &'static str,
}

macro_rules! table {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

table! {
    // connections
    CONNECTIONS_OPENED Counter "tollgate_connections_opened_total" ["channel"]
        "Connections accepted.";
    CONNECTIONS_CLOSED Counter "tollgate_connections_closed_total" ["code"]
        "Connections closed, by flespi's close code.";
    CONNECTIONS_REFUSED Counter "tollgate_connections_refused_total" ["bound"]
        "Connections closed at once because a bound on their number was reached.";
    TLS_HANDSHAKES Counter "tollgate_tls_handshakes_total" ["outcome"]
        "TLS handshakes: done, or failed by certificate, violation, gone.";
    TLS_CERTIFICATE_EXPIRES Gauge "tollgate_tls_certificate_expires_timestamp_seconds" ["channel"]
        "Until when the certificate of the channel is valid, in Unix seconds.";
    CONNECTIONS Gauge "tollgate_connections" ["channel"]
        "Connections open now.";
    CONNECTIONS_UNIDENTIFIED Gauge "tollgate_connections_unidentified" []
        "Connections open now on which no device has been admitted yet.";
    CONNECTIONS_PARKED Gauge "tollgate_connections_parked" []
        "Connections that are not read now because what they sent was refused.";
    PARKED_BYTES Gauge "tollgate_parked_bytes" []
        "Memory held by refused frames that wait to be admitted.";
    PARKS Counter "tollgate_parks_total" ["reason"]
        "Frames parked.";
    ACCEPT_ERRORS Counter "tollgate_accept_errors_total" ["error"]
        "Failed attempts to accept a connection.";
    LOGINS Counter "tollgate_logins_total" ["channel"]
        "Devices admitted on a connection.";
    REFUSED_FRAMES Counter "tollgate_refused_frames_total" ["cause"]
        "Frames refused for good, and what for.";
    TAKEOVERS Counter "tollgate_takeovers_total" []
        "Devices that came on a second connection while the first was open.";
    IDENT_FLAPS Counter "tollgate_ident_flaps_total" []
        "Times that a device changed hands so often that the newcomer had to wait.";

    // the way of a frame
    FRAMES Counter "tollgate_frames_total" ["channel"]
        "Frames admitted with messages.";
    MESSAGES Counter "tollgate_messages_total" ["channel"]
        "Messages stored.";
    DUPLICATES Counter "tollgate_duplicate_messages_total" ["channel"]
        "Messages that were sent again and not stored again.";
    RECEIVED_BYTES Counter "tollgate_received_bytes_total" ["channel"]
        "Bytes read from trackers.";
    SENT_BYTES Counter "tollgate_sent_bytes_total" ["channel"]
        "Bytes written to trackers.";
    UNIDENTIFIED_BYTES Counter "tollgate_unidentified_bytes_total" ["channel"]
        "Bytes read that nobody pays for because no device was admitted.";
    REFUSED_BYTES Counter "tollgate_refused_bytes_total" ["channel"]
        "Bytes of frames of known devices that were refused.";
    DROPPED_MESSAGES Counter "tollgate_dropped_messages_total" ["channel"]
        "Messages thrown away by the policy drop after a durable entry that says so.";
    REJECTS Counter "tollgate_rejects_total" ["protocol", "what"]
        "Frames, or parts of frames, that could not be read.";
    FATALS Counter "tollgate_fatals_total" ["protocol", "what"]
        "Connections closed because no next frame could be found.";
    REFUSALS Counter "tollgate_refusals_total" ["dimension", "policy"]
        "Frames and logins that a limit refused.";
    ACKS Counter "tollgate_acks_total" ["channel"]
        "Replies that told a tracker its data is kept.";
    ACK_LATENCY Histogram "tollgate_ack_latency_seconds" []
        "Time from the read of a frame to the write of its ack.";
    COMMANDS Counter "tollgate_commands_total" ["outcome"]
        "Commands to devices: sent, answered, unanswered, wrong, canceled, expired.";
    COMMANDS_WAITING Gauge "tollgate_commands_waiting" []
        "Commands that wait for their devices.";
    STALLS Counter "tollgate_queue_stalls_total" []
        "Reads that had to wait for room in the journal's queue.";

    // what is told apart from the data
    CONNECTION_ENTRIES_LOST Counter "tollgate_connection_entries_lost_total" []
        "Journal entries about connections that were given up because too many waited.";
    EVENTS_LOST Counter "tollgate_events_lost_total" []
        "Events that were given up: their queue was full, or their log cannot be written.";

    // raw traffic
    RAW_CHUNKS Counter "tollgate_raw_chunks_total" []
        "Chunks of raw traffic that were taken to be kept.";
    RAW_CHUNKS_LOST Counter "tollgate_raw_chunks_lost_total" []
        "Chunks of raw traffic that were not kept: too many waited, or the disk would not take them.";
    RAW_BYTES Gauge "tollgate_raw_bytes" []
        "Bytes of raw traffic on disk.";

    // the journal
    JOURNAL_COMMIT_SECONDS Histogram "tollgate_journal_commit_seconds" []
        "Time of one group commit: write and fdatasync.";
    JOURNAL_COMMIT_ENTRIES Histogram "tollgate_journal_commit_entries" []
        "Entries of one group commit.";
    JOURNAL_COMMIT_BYTES Counter "tollgate_journal_commit_bytes_total" []
        "Bytes written by group commits.";
    JOURNAL_DURABLE Gauge "tollgate_journal_durable_sequence" []
        "Number of the newest entry on disk.";
    JOURNAL_QUEUED_BYTES Gauge "tollgate_journal_queued_bytes" []
        "Bytes taken in that are not on disk yet.";
    JOURNAL_FREE_BYTES Gauge "tollgate_journal_free_bytes" []
        "Bytes that the file system of the journal may still give.";
    JOURNAL_SETTLED Gauge "tollgate_journal_settled_sequence" []
        "The last entry of the journal whose messages are in archives.";
    JOURNAL_ARCHIVES Gauge "tollgate_journal_archives" []
        "Archives of settled days.";
    JOURNAL_ARCHIVE_BYTES Gauge "tollgate_journal_archive_bytes" []
        "Bytes of them on the disk.";
    JOURNAL_SETTLE_ERRORS Counter "tollgate_journal_settle_errors_total" []
        "How often settling or rewriting of archives broke off; it is tried again.";
    JOURNAL_STALLED Gauge "tollgate_journal_stalled" []
        "1 while there is no space, or no open file, for the next segment: nothing is read until there is.";
    JOURNAL_FAILED Gauge "tollgate_journal_failed" []
        "1 after a write has failed: nothing is acknowledged any more.";

    // accounts: rendered from the tree's own numbers
    ACCOUNT_BYTES Counter "tollgate_account_bytes_total" ["account", "direction"]
        "Bytes charged to the account and its branch, as posted.";
    ACCOUNT_MESSAGES Counter "tollgate_account_messages_total" ["account"]
        "Messages charged to the account and its branch, as posted.";
    ACCOUNT_REFUSED_BYTES Counter "tollgate_account_refused_bytes_total" ["account"]
        "Bytes of refused frames of the account and its branch, as posted.";
    ACCOUNT_ADMITTED Gauge "tollgate_account_admitted" ["account", "dimension"]
        "What is charged in the live counters: of this minute for rates, of now for levels.";
    ACCOUNT_LIMIT Gauge "tollgate_account_limit" ["account", "dimension"]
        "The account's own cap, of a minute for rates; none where it has none.";
    ACCOUNTS_BLOCKED Gauge "tollgate_accounts_blocked" []
        "Accounts that have exceeded a limit and are blocked now, without their branches.";
    ACCOUNTS_UNLISTED Gauge "tollgate_accounts_without_series" []
        "Accounts that have no series of their own because there are too many.";

    // the API
    API_REQUESTS Counter "tollgate_api_requests_total" ["status"]
        "Requests answered, by HTTP status.";
    API_SECONDS Histogram "tollgate_api_request_seconds" []
        "Time of a request.";

    CLOCK_AHEAD Gauge "tollgate_clock_ahead_seconds" []
        "How far server times are ahead of the machine's clock, which was ahead once.";
    BUILD Gauge "tollgate_build_info" ["version"]
        "Always 1; which build runs.";
    LOG_LINES_LOST Counter "tollgate_log_lines_lost_total" []
        "Lines of the program's log that standard error did not take.";
    EVENTS_LOGGED Counter "tollgate_events_logged_total" ["code"]
        "Events written to the log of what happened.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_keeps_prometheus_conventions() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("tollgate_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}: counters, and only they, end in _total"
            );
            let fits = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
            assert!(name.chars().all(fits), "{name}");
            for bad in [
                "_ms",
                "_us",
                "_kb",
                "_seconds_total",
                "_count",
                "_sum",
                "_bucket",
            ] {
                assert!(!name.ends_with(bad), "{name} ends in {bad}");
            }
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(!metric.labels.contains(&"le"), "{name}");
        }
    }
}
