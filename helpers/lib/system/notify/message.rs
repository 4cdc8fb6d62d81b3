//! What a payload says of its start, and what of that is passed on.
//!
//! Nothing of a message is copied: what is understood is written anew, so that no line of it can be taken for another
//! one, or do anything to the terminal that it is shown on.

use std::time::Duration;

use crate::program::text;

/// Maximum length of a status in bytes.
const STATUS: usize = 256;

/// What a payload may say of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Whether it is ready.
    pub is_ready: bool,
    /// How it describes itself.
    status: Option<String>,
    /// How many microseconds more it asks for.
    extension: Option<u64>,
}

impl Message {
    /// Understands the assignments that concern nothing but the payload's own start; the last of each kind counts.
    pub fn parse(datagram: &[u8]) -> Message {
        let mut message = Message::default();
        for line in String::from_utf8_lossy(datagram).split('\n') {
            match line.split_once('=') {
                Some(("READY", "1")) => message.is_ready = true,
                Some(("STATUS", text)) => message.status = Some(clean(text)),
                Some(("EXTEND_TIMEOUT_USEC", number)) => message.extension = parse_number(number),
                _ => {}
            }
        }
        message
    }

    /// Lets it ask for no more time than is left. With readiness it asks for none: what begins then is not the start.
    pub fn limit(&mut self, left: Duration) {
        let left = if self.is_ready { 0 } else { u64::try_from(left.as_micros()).unwrap_or(u64::MAX) };
        self.extension = self.extension.map(|asked| asked.min(left)).filter(|time| *time > 0);
    }

    /// The message for systemd; `None` if there is nothing to say.
    pub fn to_state(&self) -> Option<String> {
        let mut lines = Vec::new();
        if self.is_ready {
            lines.push("READY=1".to_owned());
        }
        lines.extend(self.status.as_ref().map(|text| format!("STATUS={text}")));
        lines.extend(self.extension.map(|number| format!("EXTEND_TIMEOUT_USEC={number}")));
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Digits only: `parse` would take a sign, too.
fn parse_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn clean(text: &str) -> String {
    let text = text::replaced(text);
    let mut end = text.len().min(STATUS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_on(datagram: &[u8]) -> String {
        Message::parse(datagram).to_state().unwrap_or_default()
    }

    #[test]
    fn payloads_speak_of_their_start_only() {
        let message = b"MAINPID=1\nREADY=1\nSTATUS=up\nFDSTORE=1\nBARRIER=1\nEXTEND_TIMEOUT_USEC=5\nSTOPPING=1\nWATCHDOG=1\n\
                        ERRNO=2\nRELOADING=1\nNOTIFYACCESS=all\nMONOTONIC_USEC=1";
        assert_eq!(passed_on(message), "READY=1\nSTATUS=up\nEXTEND_TIMEOUT_USEC=5");
        for nothing in ["", "\u{0}", "READY=10", "READY=0", " READY=1", "READY", "STATUS", "ready=1", "\r\n"]
        {
            assert_eq!(passed_on(nothing.as_bytes()), "", "{nothing}");
        }
        assert_eq!(passed_on(b"\xff\nREADY=1"), "READY=1");
    }

    #[test]
    fn a_status_is_one_line_of_text() {
        for (written, shown) in [
            ("a\u{1b}[2Jb", "a\u{fffd}[2Jb"),
            ("a\rREADY=1", "a\u{fffd}READY=1"),
            ("\u{9b}31m\u{7f}\t", "\u{fffd}31m\u{fffd}\u{fffd}"),
            ("safe\u{202e}gnp.exe\u{2066}\u{200b}", "safe\u{fffd}gnp.exe\u{fffd}\u{fffd}"),
            ("a\u{2028}b\u{e0041}", "a\u{fffd}b\u{fffd}"),
            ("Zeichen äöü 日本 = ok", "Zeichen äöü 日本 = ok"),
        ] {
            assert_eq!(passed_on(format!("STATUS={written}").as_bytes()), format!("STATUS={shown}"));
        }
        let long = passed_on(format!("STATUS={}", "ä".repeat(5000)).as_bytes());
        assert_eq!(long, format!("STATUS={}", "ä".repeat(128)));
    }

    #[test]
    fn no_message_extends_a_timeout_beyond_what_is_left() {
        let limited = |datagram: &str, left| {
            let mut message = Message::parse(datagram.as_bytes());
            message.limit(left);
            message.to_state().unwrap_or_default()
        };
        let second = Duration::from_secs(1);
        assert_eq!(limited("EXTEND_TIMEOUT_USEC=999999", second), "EXTEND_TIMEOUT_USEC=999999");
        assert_eq!(limited("EXTEND_TIMEOUT_USEC=3600000000", second), "EXTEND_TIMEOUT_USEC=1000000");
        assert_eq!(limited("STATUS=x\nEXTEND_TIMEOUT_USEC=5", Duration::ZERO), "STATUS=x");
        assert_eq!(limited("EXTEND_TIMEOUT_USEC=0", second), "");
        assert_eq!(limited("EXTEND_TIMEOUT_USEC=5\nREADY=1", second), "READY=1");
        assert_eq!(
            limited("EXTEND_TIMEOUT_USEC=18446744073709551615", Duration::MAX),
            format!("EXTEND_TIMEOUT_USEC={}", u64::MAX)
        );
    }

    #[test]
    fn a_timeout_is_a_number() {
        assert_eq!(passed_on(b"EXTEND_TIMEOUT_USEC=007"), "EXTEND_TIMEOUT_USEC=7");
        for nonsense in ["", "x", "-1", "+1", "1 ", "1\rREADY=1", "18446744073709551616", "0x1", "1s"] {
            assert_eq!(passed_on(format!("EXTEND_TIMEOUT_USEC={nonsense}").as_bytes()), "", "{nonsense}");
        }
    }
}
