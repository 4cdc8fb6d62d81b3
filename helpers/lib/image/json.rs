//! Values in JSON text that is being rendered, and the scanner that knows where strings are in it.

use crate::steps;

/// What a byte of JSON text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Not to a string.
    Outside,
    /// It is the quote that opens a string.
    Open,
    /// To a string.
    Inside,
    /// It is the quote that closes a string.
    Close,
}

/// Follows JSON text byte by byte, which need not be valid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    is_inside: bool,
    is_escaped: bool,
}

impl Scanner {
    /// Takes the next byte.
    pub fn step(&mut self, byte: u8) -> Token {
        match (self.is_inside, byte) {
            (true, _) if self.is_escaped => self.is_escaped = false,
            (true, b'\\') => self.is_escaped = true,
            (true, b'"') => {
                self.is_inside = false;
                return Token::Close;
            }
            (true, _) => {}
            (false, b'"') => {
                self.is_inside = true;
                return Token::Open;
            }
            (false, _) => return Token::Outside,
        }
        Token::Inside
    }

    /// Returns whether the text so far breaks off inside a string.
    pub fn is_inside(self) -> bool {
        self.is_inside
    }
}

/// The place in JSON text that the text so far leads to.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonPlace(Scanner);

impl JsonPlace {
    /// Goes on to the end of more text.
    pub fn push(&mut self, text: &str) {
        steps::count(text.len());
        for byte in text.bytes() {
            self.0.step(byte);
        }
    }

    /// Escapes a value for this place. Inside a string, any value is allowed; elsewhere it is inserted verbatim, if it
    /// can neither close nor name anything.
    pub fn value(self, value: &str) -> Result<String, &'static str> {
        if self.0.is_inside() {
            let quoted = serde_json::Value::from(value).to_string();
            return Ok(quoted[1..quoted.len() - 1].to_owned());
        }
        check_splice(value)?;
        Ok(value.to_owned())
    }
}

/// Outside of strings, a value may add elements (`,{…}`), but may neither close what it is in, nor add a key to it.
fn check_splice(value: &str) -> Result<(), &'static str> {
    let (mut scanner, mut open) = (Scanner::default(), Vec::new());
    for byte in value.bytes() {
        if scanner.step(byte) != Token::Outside {
            continue;
        }
        match byte {
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' if open.pop() != Some(byte) => {
                return Err("outside of a JSON string it closes more than it opens");
            }
            b':' if open.is_empty() => return Err("outside of a JSON string it would add a key"),
            _ => {}
        }
    }
    if scanner.is_inside() || !open.is_empty() {
        return Err("outside of a JSON string it leaves a string, array or object open");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(before: &str, value: &str) -> Result<String, &'static str> {
        let mut place = JsonPlace::default();
        place.push(before);
        place.value(value)
    }

    #[test]
    fn strings_are_escaped_and_splices_are_closed() {
        assert_eq!(value(r#"{"a\""#, "a\"b\\c\nd").as_deref(), Ok("a\\\"b\\\\c\\nd"));
        for good in [",{\"type\":\"bind\"}", "", "5", "\"a:]\"", "[{\"a\": 1}]"] {
            assert_eq!(value("[1 ", good).as_deref(), Ok(good));
        }
        for bad in ["}], \"x\": [{", "1,\"evil\":2", "{", "\"a", "[}", "]"] {
            assert!(value("{\"port\": ", bad).is_err(), "{bad}");
        }
    }
}
