//! The log, on standard error. Others write some of the texts in it, such as the reply of a mail
//! server, so every text is logged without its control characters.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use anyhow::{Context as _, ensure};
use registry_wiring::config::{Log, LogFormat};
use terminal_text::{printable, printable_json};
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

/// Returns the filter for the configured level.
pub(crate) fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    let words = log.level.split([',', '=']).map(str::trim);
    ensure!(
        words.map(str::to_lowercase).any(|word| known.contains(&&*word)),
        "`log.level` must contain one of {known:?}"
    );
    EnvFilter::try_new(&log.level).context("`log.level` is not a level or a list of directives")
}

/// Starts the log.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_target(false);
    match log.format {
        LogFormat::Human => lines
            .fmt_fields(PrintableFields)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .init(),
        LogFormat::Json => {
            lines.with_writer(|| PrintableJson(io::stderr())).json().flatten_event(true).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Formats the fields of an event like the default of the subscriber, but without the control
/// characters in their values. The subscriber's own colours stay.
struct PrintableFields;

impl<'writer> FormatFields<'writer> for PrintableFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = PrintableVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct PrintableVisitor<'writer>(DefaultVisitor<'writer>);

impl Visit for PrintableVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.0.record_debug(field, &format_args!("{}", printable(&value)));
    }
}

/// Writes JSON with its control characters escaped. The subscriber writes each event at once.
struct PrintableJson<W>(W);

impl<W: Write> Write for PrintableJson<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(printable_json(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}\nINFO forged";

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_hostile_event() {
        tracing::info!(quoted = HOSTILE, plain = %HOSTILE, number = 7, "message {HOSTILE}");
    }

    #[test]
    fn readable_log_has_only_its_own_colours() {
        for has_colours in [false, true] {
            let memory = Memory::default();
            let writer = memory.clone();
            let lines = tracing_subscriber::fmt()
                .fmt_fields(PrintableFields)
                .with_writer(move || writer.clone())
                .with_ansi(has_colours)
                .finish();
            tracing::subscriber::with_default(lines, log_hostile_event);
            let text = memory.text();
            assert_eq!(text.contains('\u{1b}'), has_colours, "{text:?}");
            assert!(text.contains("message \\u{1b}[2J\\u{9b}31m\\u{202e}\\u{a}INFO"), "{text:?}");
            let raw = ["\u{1b}[2J", "\u{9b}", "\u{202e}", "\nINFO"];
            assert_eq!(raw.iter().find(|part| text.contains(**part)), None, "{text:?}");
            assert!(has_colours || text.contains("number=7"), "{text:?}");
        }
    }

    #[test]
    fn json_log_keeps_the_values() {
        let memory = Memory::default();
        let writer = memory.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || PrintableJson(writer.clone()))
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(lines, log_hostile_event);
        let text = memory.text();
        let is_raw = |c: char| c == '\u{202e}' || c.is_control();
        assert!(!text.trim_end_matches('\n').contains(is_raw), "{text:?}");
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["quoted"], HOSTILE);
        assert_eq!(event["plain"], HOSTILE);
        assert_eq!(event["message"], format!("message {HOSTILE}"));
    }
}
