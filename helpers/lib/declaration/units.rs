//! What a declaration says of units: the placeholder of a container that is not installed, lines for one that is, and what
//! its installation waits for.

use crate::container::broken;
use crate::container::settings::boolean;
use crate::container::units::{HEADER, RECONCILE, SWITCHED_ON};
use crate::declaration::declared::Declaration;
use crate::error::Result;
use crate::name::Name;
use crate::unit::syntax::{UnitFile, Value, Writer};

/// What waits for a network waits for this.
const NETWORK: &str = "network-online.target";

/// Without what this stands for, a unit may start before anything else.
const DEFAULT_DEPENDENCIES: &str = "DefaultDependencies";

/// The unit that installs a container, and applies what has changed.
pub fn install_unit(name: &Name) -> String {
    format!("syscontainer-install@{name}.service")
}

/// The template of that unit.
pub const INSTALL_TEMPLATE: &str = "syscontainer-install@.service";

/// The unit that pulls its image.
pub fn pull_unit(name: &Name) -> String {
    format!("syscontainer-pull@{name}.service")
}

/// The unit of a container that is not installed yet: it says what to start. A job for it waits while it is being installed,
/// and then starts the container's own.
pub fn placeholder(declaration: &Declaration) -> Result<String> {
    let name = &declaration.name;
    let (install, command) = (install_unit(name), format!("systemctl start syscontainer-install@{name}"));
    let mut writer = Writer::new(HEADER);
    writer.set("Unit", "SourcePath", Value::Path(declaration.source.path.as_path()))?;
    writer.set("Unit", "Description", Value::Text(&format!("{name} (not installed: {command})")))?;
    writer.set("Unit", "Documentation", Value::Raw("man:syscontainer.conf(5)"))?;
    // What is in /var may say that it is to be installed, or that it is installed.
    writer.set("Unit", "After", Value::Raw(&format!("{RECONCILE} {install}")))?;
    writer.set("Unit", "ConditionKernelCommandLine", Value::Raw(SWITCHED_ON))?;
    writer.set("Service", "Type", Value::Raw("oneshot"))?;
    broken::fail(&mut writer, &format!("cannot start {name}: it is not installed; run '{command}'"))?;
    Ok(writer.finish())
}

/// Whether a container whose unit this is may start before what applies declarations can: then it cannot wait for that.
pub fn is_early(unit: &str, declaration: &Declaration) -> bool {
    let of_image = UnitFile::parse(unit).ok();
    let of_image = of_image.as_ref().and_then(|unit| unit.last("Unit", DEFAULT_DEPENDENCIES));
    let own = declaration
        .unit
        .iter()
        .filter(|(section, key, _)| &**section == "Unit" && key == DEFAULT_DEPENDENCIES);
    let own = own.map(|(_, _, value)| value.as_str()).next_back();
    own.or(of_image).and_then(boolean) == Some(false)
}

/// The drop-in of a container that is installed, if there is something to say. If it `waits`, what the declaration has
/// changed is applied before the container starts.
pub fn drop_in(declaration: &Declaration, waits: bool) -> Result<Option<String>> {
    if declaration.unit.is_empty() && !waits {
        return Ok(None);
    }
    let mut writer = Writer::new(&format!("{HEADER} from {}", declaration.source.path));
    if waits {
        let install = install_unit(&declaration.name);
        writer.set("Unit", "Wants", Value::Raw(&install))?;
        writer.set("Unit", "After", Value::Raw(&install))?;
    }
    for (section, key, value) in &declaration.unit {
        writer.set(section, key, Value::Raw(value))?;
    }
    Ok(Some(writer.finish()))
}

/// The drop-in of the unit that pulls an image over a network.
pub fn network() -> Result<String> {
    let mut writer = Writer::new(HEADER);
    writer.set("Unit", "Wants", Value::Raw(NETWORK))?;
    writer.set("Unit", "After", Value::Raw(NETWORK))?;
    Ok(writer.finish())
}
