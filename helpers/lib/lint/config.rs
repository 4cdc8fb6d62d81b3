//! The runtime configuration that an installation would have, and where its values are in the image.

use serde_json::Value;

use super::finding::{LintReport, Place};
use super::inspection::{Inspection, NO_VALUE, is_broken};
use super::{json, keys, rules};
use crate::container::info::Values;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE};
use crate::image::generated_config;
use crate::image::positions::{JsonIndex, Positions};
use crate::image::render;
use crate::image::template::RenderedText;
use crate::oci::config::{self, Normalised};

/// A configuration that is JSON.
pub struct LintedConfig<'a> {
    /// The configuration as it was written.
    pub written: config::Config,
    /// The configuration in the form that today's runtimes accept.
    pub normalised: Normalised,
    /// The file that contains it, or the image that it was made from.
    pub file: String,
    text: Option<ConfigText<'a>>,
}

/// The text of a configuration, to find places in it.
struct ConfigText<'a> {
    /// What was parsed.
    parsed: &'a str,
    /// Where its values are; nowhere if it is not JSON.
    index: JsonIndex,
    /// The file that contains it, or that it is rendered from.
    file: Positions<'a>,
    /// How the file became the text; `None` if it is the text.
    rendered: Option<&'a RenderedText>,
}

impl<'a> ConfigText<'a> {
    fn new(parsed: &'a str, file: &'a str, rendered: Option<&'a RenderedText>) -> ConfigText<'a> {
        ConfigText { parsed, index: JsonIndex::default(), file: Positions::new(file), rendered }
    }

    fn place(&self, file: &str, at: usize) -> Place {
        let at = self.rendered.map_or(at, |rendered| rendered.origin(at));
        let (line, column) = self.file.find(at);
        Place::at(file, line, column)
    }
}

impl<'a> LintedConfig<'a> {
    fn new(written: config::Config, file: String, text: Option<ConfigText<'a>>) -> LintedConfig<'a> {
        LintedConfig { normalised: written.normalised(), written, file, text }
    }

    /// The place of the value at `pointer`, or of the innermost value around it.
    pub fn place(&self, pointer: &str) -> Place {
        match &self.text {
            Some(text) => text.place(&self.file, text.index.offset(pointer)),
            None => Place::file(&self.file),
        }
    }

    /// The value at `pointer` as it was written.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.written.value().pointer(pointer)
    }

    /// The elements of the array at `pointer` as they were written; none where there is no array.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.get(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// Loads the configuration; `None` if there is none that could be looked at.
pub fn load<'a>(inspection: &Inspection<'a>, report: &mut LintReport) -> Option<LintedConfig<'a>> {
    let texts = inspection.exports.texts();
    if let Some(text) = &texts.config {
        let file = inspection.target.shown(CONFIG);
        let message = "the file is taken as it is, without variables; rename it to config.json.template";
        report.add(&rules::CONFIG_NOT_TEMPLATE, Place::file(&file), message);
        return parse(file, ConfigText::new(text, text, None), report);
    }
    match &texts.config_template {
        Some(template) => from_template(inspection, template, report),
        None => generate(inspection, report),
    }
}

fn parse<'a>(file: String, mut text: ConfigText<'a>, report: &mut LintReport) -> Option<LintedConfig<'a>> {
    match config::Config::parse(text.parsed) {
        Ok(written) => {
            text.index = JsonIndex::new(text.parsed);
            Some(LintedConfig::new(written, file, Some(text)))
        }
        Err(error) => {
            let place = text.place(&file, json::error_offset(text.parsed, &error));
            report.add(&rules::CONFIG_SYNTAX, place, format!("{}, after substitution", json::reason(&error)));
            None
        }
    }
}

/// Renders a template. A missing value may be anything: if none of a few gives JSON, there is no finding.
fn from_template<'a>(
    inspection: &Inspection<'a>,
    template: &'a str,
    report: &mut LintReport,
) -> Option<LintedConfig<'a>> {
    let file = inspection.target.shown(CONFIG_TEMPLATE);
    let rendered = inspection.rendered.config.as_ref().filter(|rendered| !is_broken(rendered))?;
    if rendered.problems.is_empty() || config::Config::parse(&rendered.text).is_ok() {
        let text = ConfigText::new(&rendered.text, template, Some(rendered));
        return parse(file, text, report);
    }
    let texts = ["", "0"].into_iter().filter_map(|other| render(inspection, inspection.values, other));
    let written = texts.into_iter().find_map(|text| config::Config::parse(&text).ok())?;
    // The places would be those of another text.
    Some(LintedConfig::new(written, file, None))
}

fn render(inspection: &Inspection, values: &Values, stand_in: &str) -> Option<String> {
    let rendered = render::config(inspection.exports, inspection.installation, values, Some(stand_in));
    rendered.map(|rendered| rendered.text)
}

/// Returns the configuration that the template becomes with other values; `None` if that is not JSON, or not a
/// template.
pub fn with_values(inspection: &Inspection, values: &Values) -> Option<config::Config> {
    config::Config::parse(&render(inspection, values, NO_VALUE)?).ok()
}

/// Makes the configuration of an image that brings none. For sources, the image's own configuration is unknown.
fn generate<'a>(inspection: &Inspection<'a>, report: &mut LintReport) -> Option<LintedConfig<'a>> {
    let files = [CONFIG_TEMPLATE, CONFIG].map(|file| inspection.target.shown(file));
    if !inspection.exports.runs_payload() || files.iter().any(|file| report.mentions(file)) {
        return None;
    }
    if inspection.expects_files {
        let message = "there is no config.json.template; a configuration is made from the image's own";
        report.add(&rules::CONFIG_MISSING, Place::file(&files[0]), message);
    }
    let image = inspection.target.image()?;
    let (tree, none) = (inspection.target.tree(), Values::new());
    let installation = inspection.installation;
    match generated_config::generate(&*tree, image, installation, &none) {
        Ok(made) => {
            let written = config::Config::parse(&made.text).expect("what is made is JSON");
            Some(LintedConfig::new(written, image.name.clone(), None))
        }
        Err(error) => {
            match keys::are_to_blame(inspection, image) {
                true => keys::add(inspection, &error, report),
                false => report.add(&rules::IMAGE_CONFIG, Place::file(&image.name), error.to_string()),
            }
            None
        }
    }
}
