//! The place in a file that the text rendered so far leads to, which decides how the next value is escaped.

use crate::image::json::JsonPlace;
use crate::unit::escape::{TmpfilesPlace, UnitPlace};

/// The format of a file, which decides how values are escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON: values are escaped inside strings. Elsewhere they are inserted verbatim, unless they would close or name
    /// something.
    Json,
    /// A unit file: specifiers, and in command lines quotes and variables, are taken literally.
    Unit,
    /// tmpfiles.d(5): one value stays within one field.
    Tmpfiles,
    /// Any other text: nothing is escaped.
    Text,
}

/// The text that is rendered, as far as it decides how the next value is escaped.
pub enum Place {
    Text,
    Json(JsonPlace),
    Unit(UnitPlace),
    Tmpfiles(TmpfilesPlace),
}

impl Place {
    /// The place at the beginning of a file.
    pub fn new(format: Format) -> Place {
        match format {
            Format::Text => Place::Text,
            Format::Json => Place::Json(JsonPlace::default()),
            Format::Unit => Place::Unit(UnitPlace::default()),
            Format::Tmpfiles => Place::Tmpfiles(TmpfilesPlace::default()),
        }
    }

    /// Goes on to the end of more text.
    pub fn push(&mut self, text: &str) {
        match self {
            Place::Text => {}
            Place::Json(place) => place.push(text),
            Place::Unit(place) => place.push(text),
            Place::Tmpfiles(place) => place.push(text),
        }
    }

    /// Escapes a value for this place; an error says why it cannot be used there.
    pub fn escape(&self, value: &str) -> Result<String, &'static str> {
        if value.contains('\0') {
            return Err("it contains a NUL character");
        }
        match self {
            Place::Text => Ok(value.to_owned()),
            Place::Json(place) => place.value(value),
            Place::Unit(place) => place.value(value),
            Place::Tmpfiles(place) => place.value(value),
        }
    }
}
