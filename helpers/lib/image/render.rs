//! Third step from an image to a deployment: templates and values become files.
//!
//! Problems with placeholders in all of them are collected and reported as one error.

use std::collections::BTreeSet;

use crate::container::info::Values;
use crate::error::{Error, Result};
use crate::image::config_secrets;
use crate::image::exports::{CONFIG_TEMPLATE, Exports, SERVICE_TEMPLATE, TMPFILES_TEMPLATE};
use crate::image::installation::Installation;
use crate::image::layout::{self, Layout};
use crate::image::problems::Problems;
use crate::image::secrets;
use crate::image::template::{self, Format, PlaceholderFault, Problem, RenderedText};
use crate::image::tree::Tree;
use crate::image::variables;

/// How many problems an error names.
const SHOWN: usize = 20;

/// What the templates of an image become.
pub struct Rendered {
    /// The unit; `None` if the image is not a service.
    pub unit: Option<RenderedText>,
    /// The tmpfiles; `None` if the image brings none.
    pub tmpfiles: Option<RenderedText>,
    /// The configuration; `None` if it is not a template.
    pub config: Option<RenderedText>,
    /// The files for the host, or why they cannot be laid out.
    pub layout: Result<Layout>,
    /// Problems with names and contents of the files for the host.
    pub layout_problems: Problems,
    /// Names of all variables that are used.
    pub used: BTreeSet<String>,
    /// Names of variables that are used where every user of the host can read them.
    pub readable: BTreeSet<String>,
    /// Names of all variables whose values are secret.
    pub secrets: BTreeSet<String>,
}

/// Renders everything; `stand_in` replaces missing values, which are problems nevertheless.
pub fn render(
    exports: &Exports,
    tree: &dyn Tree,
    installation: &Installation,
    values: &Values,
    stand_in: Option<&str>,
) -> Rendered {
    let linked = variables::with_destdir(values, &installation.link);
    let mut layout_problems = Problems::default();
    let mut secrets = installation.user_secrets.clone();
    secrets.extend(exports.manifest().secret_values.iter().cloned());
    let context = layout::Substitution { values: &linked, secrets: &secrets };
    let layout = Layout::read(tree, exports.manifest(), &context, &mut layout_problems);
    let mut used = exports.used();
    used.extend(layout.iter().flat_map(Layout::used).cloned());
    let tmpfiles = exports.texts().tmpfiles.as_deref();
    let mut readable: BTreeSet<String> = layout.iter().flat_map(Layout::readable).cloned().collect();
    let mut fill = |file, text: &str, format| {
        readable.extend(template::variables(text));
        let mut rendered = template::render(file, text, format, &linked, stand_in);
        rendered.problems.extend(secrets::uses(file, text, &secrets));
        rendered
    };
    let unit = exports.service().map(|text| fill(SERVICE_TEMPLATE, text, Format::Unit));
    let tmpfiles = tmpfiles.map(|text| fill(TMPFILES_TEMPLATE, text, Format::Tmpfiles));
    let mut config = config(exports, installation, values, stand_in);
    if let (Some(config), Some(text)) = (&mut config, exports.config_template()) {
        config.problems.extend(config_secrets::misplaced(text, values, &secrets, stand_in));
    }
    Rendered { unit, tmpfiles, config, layout, layout_problems, used, readable, secrets }
}

/// Renders only the configuration; `None` if it is not a template.
pub fn config(
    exports: &Exports,
    installation: &Installation,
    values: &Values,
    stand_in: Option<&str>,
) -> Option<RenderedText> {
    let values = variables::with_destdir(values, &installation.deployment);
    let text = exports.config_template()?;
    Some(template::render(CONFIG_TEMPLATE, text, Format::Json, &values, stand_in))
}

impl Rendered {
    /// Fails with all problems of all files, if there is any.
    pub fn check_problems(&self, image: &str) -> Result<()> {
        let texts = [&self.unit, &self.tmpfiles, &self.config].into_iter().flatten();
        let problems: Vec<&Problem> =
            texts.flat_map(|text| &text.problems).chain(&self.layout_problems.listed).collect();
        if problems.is_empty() {
            return Ok(());
        }
        let shown = problems.iter().take(SHOWN).map(|problem| problem.to_string());
        let more = problems.len().saturating_sub(SHOWN) + self.layout_problems.omitted;
        let more = (more > 0).then(|| format!("and {more} more problems"));
        let list = shown.chain(more).collect::<Vec<_>>().join("; ");
        let is_missing = problems.iter().any(|problem| matches!(problem.fault, PlaceholderFault::NoValue(_)));
        let remedy = if is_missing { "; give each missing value with --set VARIABLE=VALUE" } else { "" };
        Err(Error::new(format!("cannot render {image}: {list}{remedy}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_for_all_problems() {
        let text = |file, text| Some(template::render(file, text, Format::Text, &Values::new(), None));
        let mut rendered = Rendered {
            unit: text("exports/a", "x\n $A"),
            tmpfiles: text("exports/b", "${B}"),
            config: None,
            layout: Ok(Layout::default()),
            layout_problems: Problems::default(),
            used: BTreeSet::new(),
            readable: BTreeSet::new(),
            secrets: BTreeSet::new(),
        };
        assert_eq!(
            rendered.check_problems("i:1").unwrap_err().to_string(),
            "cannot render i:1: exports/a:2:2: no value for A; exports/b:1:1: no value for B; give each missing value with --set VARIABLE=VALUE"
        );
        rendered.unit = None;
        rendered.tmpfiles = text("exports/b", "$1");
        assert_eq!(
            rendered.check_problems("i:1").unwrap_err().to_string(),
            "cannot render i:1: exports/b:1:1: invalid placeholder; write '$$' for a dollar sign"
        );
    }
}
