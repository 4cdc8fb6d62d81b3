//! All keys of quadlets of containers, and what becomes of each. The table in syscontainer-from-quadlet(8) is compared with
//! this one.

use crate::quadlet::key::{Convert, Fate, Key, OTHERS, Section};
use crate::quadlet::syntax::Entry;
use crate::quadlet::{environment, image, mounts, network, resources, sections, values};
use Fate::{Carried, Dropped, Refused, Translated};
use Section::{Container, Extension, Install, Quadlet, Service, Unit};

const fn row(section: Section, name: &'static str, fate: Fate, convert: Convert, note: &'static str) -> Key {
    Key { section, name, repeats: false, counts_empty: false, fate, note, convert }
}

/// A key of `[Container]` with one value.
const fn one(name: &'static str, fate: Fate, convert: Convert, note: &'static str) -> Key {
    row(Container, name, fate, convert, note)
}

/// A key of `[Container]` that collects its values.
const fn many(name: &'static str, fate: Fate, convert: Convert, note: &'static str) -> Key {
    Key { repeats: true, ..row(Container, name, fate, convert, note) }
}

const HEALTH: &str = "there are no health checks; see WatchdogSec= in systemd.service(5)";
const USERS: &str = "containers have the users of the host";
const NAMES: &str = "names are looked up as on the host";
const NO_NETWORK: &str = "there are no networks with names and addresses";
const LABELS: &str = "containers have the label that the host's policy gives them";
const PATHS: &str = "which paths of the kernel are hidden cannot be changed";
const PULLS: &str = "a pull that fails is tried again by syscontainer-pull@NAME.service";
const COMMAND: &str = "a declaration decides this itself";

/// All keys, by sections, each in the order of podman's manual.
pub const KEYS: &[Key] = &[
    many("AddCapability", Carried, values::word_list, ""),
    many("AddDevice", Carried, values::each_word, "but for devices of CDI, which are refused"),
    many("AddHost", Refused, values::refuse, NAMES),
    many(
        "Annotation",
        Dropped,
        environment::annotations,
        "nothing reads it; refused are those of runtimes and of podman",
    ),
    one("AppArmor", Refused, values::refuse, "containers have the profile that comes with syscontainers"),
    one("AutoUpdate", Translated, image::auto_update, "registry is AutoUpdate=yes; local is left out"),
    one("CgroupsMode", Dropped, values::leave_out, "the payload is in the cgroup of the unit"),
    one("ContainerName", Dropped, values::leave_out, "the container is called like its service"),
    many("ContainersConfModule", Refused, values::refuse, "no configuration of podman is read"),
    many("DNS", Refused, values::refuse, NAMES),
    many("DNSOption", Refused, values::refuse, NAMES),
    many("DNSSearch", Refused, values::refuse, NAMES),
    many("DropCapability", Carried, values::word_list, ""),
    Key {
        counts_empty: true,
        ..one("Entrypoint", Carried, values::entrypoint, "an empty one is written as a JSON array")
    },
    many("Environment", Carried, environment::variables, "but for names without a value, which are refused"),
    many("EnvironmentFile", Carried, environment::files, "relative paths become absolute"),
    one("EnvironmentHost", Refused, values::refuse_yes, "payloads get nothing of the environment of systemd"),
    one("Exec", Carried, values::command, ""),
    many("ExposeHostPort", Dropped, values::leave_out, "it is only there to be read"),
    many("GIDMap", Refused, values::refuse, USERS),
    many("GlobalArgs", Refused, values::refuse, "podman is not run"),
    one("Group", Carried, values::group, "with User="),
    many("GroupAdd", Refused, values::refuse, "a payload has the groups that the image says, and Group="),
    one("HealthCmd", Dropped, values::leave_out, HEALTH),
    one("HealthInterval", Dropped, values::leave_out, HEALTH),
    one("HealthLogDestination", Dropped, values::leave_out, HEALTH),
    one("HealthMaxLogCount", Dropped, values::leave_out, HEALTH),
    one("HealthMaxLogSize", Dropped, values::leave_out, HEALTH),
    one("HealthOnFailure", Refused, resources::on_failure, HEALTH),
    one("HealthRetries", Dropped, values::leave_out, HEALTH),
    one("HealthStartPeriod", Dropped, values::leave_out, HEALTH),
    one("HealthStartupCmd", Dropped, values::leave_out, HEALTH),
    one("HealthStartupInterval", Dropped, values::leave_out, HEALTH),
    one("HealthStartupRetries", Dropped, values::leave_out, HEALTH),
    one("HealthStartupSuccess", Dropped, values::leave_out, HEALTH),
    one("HealthStartupTimeout", Dropped, values::leave_out, HEALTH),
    one("HealthTimeout", Dropped, values::leave_out, HEALTH),
    one("HostName", Carried, values::text, ""),
    one(
        "HttpProxy",
        Dropped,
        resources::proxy,
        "payloads get nothing of the environment of systemd; set what they need with Environment=",
    ),
    one(
        "Image",
        Carried,
        image::image,
        "names of localhost are of podman's storage, containers-storage:; refused are short names, .image and .build",
    ),
    one("IP", Refused, values::refuse, NO_NETWORK),
    one("IP6", Refused, values::refuse, NO_NETWORK),
    many("Label", Carried, environment::labels, "with that of podman for updates, there is AutoUpdate=, too"),
    one(
        "LogDriver",
        Dropped,
        resources::log_driver,
        "what the payload prints goes to the journal; see StandardOutput= in systemd.exec(5)",
    ),
    many("LogOpt", Dropped, values::leave_out, "what the payload prints goes to the journal"),
    many("Mask", Refused, values::refuse, PATHS),
    one("Memory", Translated, resources::memory, "MemoryMax= and MemorySwapMax= in [Service]"),
    many("Mount", Carried, mounts::mount, "types bind, tmpfs and volume, as for Volume="),
    many(
        "Network",
        Translated,
        network::network,
        "host, none and ns:PATH; others are refused; without any, the host's is used, which is said",
    ),
    many("NetworkAlias", Refused, values::refuse, NO_NETWORK),
    one("NoNewPrivileges", Carried, values::yes_or_no, ""),
    one("Notify", Carried, values::notify, "but for healthy, which is refused"),
    one("PidsLimit", Translated, resources::tasks, "TasksMax= in [Service]"),
    one("Pod", Refused, values::refuse, "there are no pods"),
    many("PodmanArgs", Refused, values::refuse, "podman is not run"),
    many(
        "PublishPort",
        Refused,
        network::publish,
        "left out where it publishes a port as itself at all addresses, without Network=, or with that of the host",
    ),
    one("Pull", Translated, image::pull, "newer is always, which looks at every boot"),
    one("ReadOnly", Carried, values::yes_or_no, ""),
    one(
        "ReadOnlyTmpfs",
        Refused,
        mounts::read_only_tmpfs,
        "with ReadOnly=yes, /run, /tmp and /var/tmp are always in memory",
    ),
    one(
        "ReloadCmd",
        Refused,
        values::refuse,
        "no command is run in a container at a reload; use ReloadSignal=, or ExecReload= of systemd.service(5)",
    ),
    one("ReloadSignal", Translated, resources::reload_signal, "ExecReload= in [Service]"),
    one("RemapGid", Refused, values::refuse, USERS),
    one("RemapUid", Refused, values::refuse, USERS),
    one("RemapUidSize", Refused, values::refuse, USERS),
    one("RemapUsers", Refused, values::refuse, USERS),
    one("Retry", Dropped, values::leave_out, PULLS),
    one("RetryDelay", Dropped, values::leave_out, PULLS),
    one("Rootfs", Refused, values::refuse, "a declaration needs an image"),
    one("RunInit", Refused, values::refuse_yes, "no init is added to an image; use one that has its own"),
    one("SeccompProfile", Refused, values::refuse, "containers have podman's profile"),
    many(
        "Secret",
        Refused,
        values::refuse,
        "secrets of podman are not read; use EnvironmentFile= or Volume= with a file that only root can read",
    ),
    one("SecurityLabelDisable", Refused, values::refuse_yes, LABELS),
    one("SecurityLabelFileType", Refused, values::refuse, LABELS),
    one("SecurityLabelLevel", Refused, values::refuse, LABELS),
    one("SecurityLabelNested", Refused, values::refuse_yes, LABELS),
    one("SecurityLabelType", Refused, values::refuse, LABELS),
    one("ServiceName", Translated, values::elsewhere, "the name of the declaration"),
    one("ShmSize", Carried, values::text, ""),
    one("StartWithPod", Dropped, values::leave_out, "there are no pods"),
    one("StopSignal", Carried, values::text, ""),
    one("StopTimeout", Carried, values::text, ""),
    one("SubGIDMap", Refused, values::refuse, USERS),
    one("SubUIDMap", Refused, values::refuse, USERS),
    many(
        "Sysctl",
        Refused,
        values::refuse,
        "containers have the kernel parameters of the host, or its defaults",
    ),
    one("Timezone", Carried, values::text, ""),
    many("Tmpfs", Carried, values::line, ""),
    many("UIDMap", Refused, values::refuse, USERS),
    many("Ulimit", Carried, values::line, ""),
    many("Unmask", Refused, values::refuse, PATHS),
    one("User", Carried, values::text, ""),
    one("UserNS", Refused, values::user_namespace, USERS),
    one("VolatileTmp", Translated, mounts::volatile_tmp, "Tmpfs=/tmp"),
    many(
        "Volume",
        Carried,
        mounts::volume,
        "with paths of the host; a named volume becomes one of the container's own, which is said, unless it is mounted at several places or has options; z and Z are left out, which is said",
    ),
    one("WorkingDir", Carried, values::text, ""),
    row(
        Quadlet,
        "DefaultDependencies",
        Translated,
        values::elsewhere,
        "unless it is no, or Network=none, the unit has Wants= and After=network-online.target",
    ),
    row(Unit, "After", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "Before", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "BindsTo", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "Conflicts", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "PartOf", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "Requires", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "Requisite", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "Upholds", Translated, sections::dependency, DEPENDENCY),
    row(Unit, "Wants", Translated, sections::dependency, DEPENDENCY),
    row(Unit, OTHERS, Carried, sections::unit, ""),
    row(Service, "BusName", Refused, sections::refuse_set, COMMAND),
    row(Service, "DynamicUser", Refused, values::refuse_yes, "as by podman; use User= in [Container]"),
    row(Service, "ExecStart", Refused, sections::refuse_set, COMMAND),
    row(
        Service,
        "ExecStop",
        Refused,
        sections::refuse_set,
        "it would run when the container has been stopped; use ExecStopPost=",
    ),
    row(Service, "Group", Refused, sections::refuse_set, "as by podman; use Group= in [Container]"),
    row(Service, "KillMode", Carried, values::kill_mode, "mixed and control-group"),
    row(Service, "NotifyAccess", Dropped, values::leave_out, COMMAND),
    row(Service, "PIDFile", Refused, sections::refuse_set, COMMAND),
    row(Service, "RootDirectory", Refused, sections::refuse_set, COMMAND),
    row(Service, "RootImage", Refused, sections::refuse_set, COMMAND),
    row(
        Service,
        "Type",
        Refused,
        sections::service_type,
        "a container is a service that notifies systemd; only notify is left out",
    ),
    row(Service, "User", Refused, sections::refuse_set, "as by podman; use User= in [Container]"),
    row(
        Service,
        OTHERS,
        Carried,
        sections::service,
        "without Restart=, it is Restart=no, and without RestartSec= 100ms; commands that run podman are refused",
    ),
    row(Install, "Alias", Carried, sections::install, ""),
    row(
        Install,
        "DefaultInstance",
        Translated,
        sections::default_instance,
        "the link to the template of this instance, NAME@INSTANCE.conf",
    ),
    row(Install, "RequiredBy", Carried, sections::install, ""),
    row(Install, "UpheldBy", Carried, sections::install, ""),
    row(Install, "WantedBy", Carried, sections::install, "without any of these, there is Enable=no"),
    row(Install, OTHERS, Dropped, values::leave_out, "podman ignores it, too"),
    row(Extension, OTHERS, Carried, sections::extension, ""),
];

const DEPENDENCY: &str = "NAME.container is NAME.service; other quadlets are refused";

/// The row of a key.
pub fn find(section: Section, name: &str) -> Option<&'static Key> {
    let of_section = || KEYS.iter().filter(move |key| key.section == section);
    of_section().find(|key| key.name == name).or_else(|| of_section().find(|key| key.name == OTHERS))
}

/// Why a key is refused that podman does not have.
pub(super) fn unknown(entry: &Entry) -> String {
    let mut same_section = KEYS.iter().filter(|key| Some(key.section) == sections::of(&entry.section));
    let meant = same_section.find(|key| key.name.eq_ignore_ascii_case(&entry.key));
    let meant = meant.map_or_else(String::new, |key| format!("; did you mean {}=?", key.name));
    format!("there is no such key in [{}]{meant}", entry.section)
}
