//! The rules: stable identifiers, severities and explanations.

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The image cannot be installed, or will not do what it says.
    Error,
    /// The image works, but not everywhere, or not as well as it could.
    Warning,
}

impl Severity {
    /// The name of the severity as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// Something that images should comply with.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Identifier; it never changes, since users pass it to `--skip=`.
    pub id: &'static str,
    pub severity: Severity,
    /// Why the rule exists, and how to comply with it.
    pub explanation: &'static str,
}

/// Defines a static for each rule, and [`RULES`] with all of them.
macro_rules! rules {
    ($($name:ident $severity:ident $id:literal $explanation:literal)*) => {
        $(
            #[doc = $explanation]
            pub static $name: Rule =
                Rule { id: $id, severity: Severity::$severity, explanation: $explanation };
        )*
        /// All rules.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    NO_DOCKERFILE Warning "no-dockerfile"
    "The directory has neither a Dockerfile nor a Containerfile, so nothing says how the image is built from these files."
    MAINTAINER Warning "maintainer"
    "The instruction MAINTAINER is deprecated. Write LABEL maintainer=NAME instead."
    EXPORT_TYPO Warning "export-typo"
    "Files are copied to /export. An installation looks for them in /exports only."
    NODOCS Warning "nodocs"
    "Packages are installed with their documentation, which the image of a service does not need. Pass --setopt=tsflags=nodocs to dnf or yum."
    ADD_FOR_COPY Warning "add-for-copy"
    "A file for /exports is added with ADD, which can also download and unpack. Use COPY, which only copies."
    TRAILING_SLASH Warning "trailing-slash"
    "A file is copied to /exports without a trailing slash. If that directory does not exist yet, the file becomes /exports itself."
    NOT_COPIED Warning "not-copied"
    "There is a file for /exports, but no instruction copies it into the image."
    NO_GIT Warning "no-git"
    "The directory is not in a git repository, so nobody can tell which sources an image was built from."
    UNSTAGED Warning "unstaged"
    "A file has changes that are not staged: the image will contain what the next commit does not."
    UNREADABLE Error "unreadable"
    "A file of /exports is not a regular file or not UTF-8 text, which an installation refuses."
    TOO_LARGE Error "too-large"
    "A text of /exports, what it becomes with its variables replaced, or the mounts of the configuration are more than an installation allows: see Limits in syscontainers(7)."
    MANIFEST_MISSING Warning "manifest-missing"
    "There is no manifest.json, so the image gives no variable a default value."
    MANIFEST_INVALID Error "manifest-invalid"
    "The manifest is not a JSON object, or one of its keys has a value of the wrong type. An installation refuses it."
    MANIFEST_KEY Warning "manifest-key"
    "The manifest has an unknown key, perhaps because it is misspelt. The keys are version, defaultValues, secretValues, noContainerService, installedFilesTemplate, renameFiles and useLinks."
    FORCED_DEFAULT Warning "forced-default"
    "The manifest has a default for a variable that describes the installation, such as NAME. It is never used."
    NO_DEFAULT Warning "no-default"
    "A variable has neither a default in the manifest nor a built-in value: whoever installs the image must set it with --set."
    PLACEHOLDER Error "placeholder"
    "A dollar sign is not followed by a variable. Write '$$' for a dollar sign, and '$$$$' for one that systemd must not expand either."
    UNESCAPABLE Error "unescapable"
    "The default value of a variable cannot be used where the variable is, however it is escaped: it contains a line break in a unit or in tmpfiles, or JSON that closes more than it opens."
    READABLE_VARIABLE Warning "readable-variable"
    "The unit uses a variable that the user sets. Every user of the host can read units (systemctl cat), so it must not hold a secret. Only root can read config.json."
    READABLE_SECRET Error "readable-secret"
    "A variable of the manifest's secretValues is used where every user of the host can read it: in the unit, in tmpfiles, in the name of a host file, or in one whose mode lets others read it. Such an image cannot be installed."
    CONFIG_MISSING Warning "config-missing"
    "There is no config.json.template. A runtime configuration is made from the image's Entrypoint, Cmd, Env, User and WorkingDir."
    CONFIG_NOT_TEMPLATE Error "config-not-template"
    "There is a config.json. It is used as it is, without variables, and takes precedence over a template. Rename it to config.json.template."
    CONFIG_SYNTAX Error "config-syntax"
    "The runtime configuration is not JSON once its variables have their default values."
    CONFIG_INVALID Error "config-invalid"
    "The runtime configuration is invalid: a value has the wrong type, or there is nothing to run. An installation refuses it."
    RELATIVE_PATH Error "relative-path"
    "A path in the runtime configuration is relative where runtimes require an absolute one: the working directory, or the destination of a mount."
    READONLY_ROOT Error "readonly-root"
    "root.readonly is not true. The files of a container are shared with the image store and must not change, so an installation refuses it. Only images with the label atomic.run=once may write to theirs, which is a scratch copy."
    ROOT_PATH Error "root-path"
    "root.path is not \"rootfs\", where the files of the image are."
    TERMINAL Error "terminal"
    "process.terminal is not false. A service has no terminal."
    SELINUX_LABEL Error "selinux-label"
    "linux.selinuxProcessLabel predates OCI 1.0 and is ignored by runtimes. Use process.selinuxLabel."
    MOUNT_TYPE Error "mount-type"
    "A mount has the type rbind, which does not exist, or no type. Use the type bind with the option rbind."
    STATE_DIRECTORY Warning "state-directory"
    "A bind source is below /var/lib. Write ${STATE_DIRECTORY}, so that users can move it."
    WRITABLE_FILES Error "writable-files"
    "A bind source is in the deployment or the image store, and the mount is not read-only. Containers share these files, so an installation refuses it. Add the option ro, or use a directory below ${STATE_DIRECTORY}."
    RUN_DIRECTORY Warning "run-directory"
    "A bind source is below /run. Write ${RUN_DIRECTORY}, so that users can move it."
    CAPABILITY Error "capability"
    "A capability does not exist. crun refuses to start the container, runc starts it without the capability."
    CAPABILITY_LIST Warning "capability-list"
    "process.capabilities is a list, as it was before OCI 1.0. The list is converted here, but runtimes elsewhere refuse it. Write an object with bounding, effective, permitted, inheritable and ambient."
    OCI_VERSION Warning "oci-version"
    "ociVersion is not a release 1.x. It is replaced here, but runtimes elsewhere refuse it."
    BIND_SOURCE Warning "bind-source"
    "Nothing creates the source of a bind mount: neither tmpfiles.template, nor hostfs, nor the unit; nor does every host have it. Where it is missing, the container fails to start. (Without a tmpfiles.template, missing directories are created.)"
    STOP_SIGNAL Warning "stop-signal"
    "Process 1 of the container is a shell, or a script of one. As process 1 of a PID namespace it ignores the stop signal unless it sets a trap, and the commands that it runs never receive the signal: every stop takes all of TimeoutStopSec= and ends in a kill. Start the last command with exec, or set a trap."
    SERVICE_MISSING Warning "service-missing"
    "There is no service.template. The unit is a default one, which is ordered after network.target only."
    UNIT_SYNTAX Error "unit-syntax"
    "The unit is refused by an installation, or by systemd once it is composed."
    UNREACHABLE_COMMAND Error "unreachable-command"
    "A command that runs as another user (User=, Group=, DynamicUser=) is a file of the deployment, which only root can enter. Set RootDirectory=$DESTDIR/rootfs, which systemd opens as root, and write the path as it is in the image."
    UNIT_SETTING Warning "unit-setting"
    "systemd ignores a line of the composed unit: the setting is unknown, or its value cannot be parsed."
    EXEC_START Warning "exec-start"
    "ExecStart= does not use $EXEC_START, so the image has to start the container on its own."
    EXEC_STOP Warning "exec-stop"
    "There is no ExecStop=, or it does not use $EXEC_STOP, which sends the stop signal and waits for the container to end."
    WORKING_DIRECTORY Warning "working-directory"
    "There is no WorkingDirectory=, or it is not $DESTDIR, the directory of the container."
    FORKING Error "forking"
    "The unit has Type=forking and starts the container. A container ends with its first process, so a program that forks and exits would take its daemon along, and an installation refuses it. Have it stay in the foreground, and write Type=simple, or Type=notify if it notifies."
    WATCHDOG Warning "watchdog"
    "WatchdogSec= is not kept: keep-alive messages cannot leave the PID namespace of the payload, so nothing would notice that it hangs."
    SERVICE_USER Warning "service-user"
    "User=, Group= or DynamicUser= is for other commands of the unit, and there are none. The payload runs as process.user of the configuration says, or the User of the image."
    DOUBLE_LIMIT Warning "double-limit"
    "The unit and linux.resources in the configuration both limit the same resource. Limits of the configuration become settings of the unit, over which the unit's own lines take precedence. Keep only one of them."
    HOSTFS Error "hostfs"
    "The files for the host cannot be laid out as the manifest says: a new name is not an absolute path, two files get the same name, or there are device nodes among them."
    EXPOSED_PORT Warning "exposed-port"
    "The image exposes ports. A container without a runtime configuration of its own shares the network of the host: whatever it listens on is open on all addresses of the host, unless it is told to listen on one, or its network is private (-o Network=private)."
    IMPOSSIBLE_PORT Warning "impossible-port"
    "The image exposes what is neither a port from 1 to 65535 nor a range of such ports, with tcp, udp or sctp as the protocol. An installation ignores it."
    COMMAND Error "command"
    "The command of the image cannot be run: it is missing in the image, is a directory or not executable, or its interpreter or dynamic loader is missing, which may be because the first line of a script ends in CR LF. What is mounted in the container may provide any command, so commands there are not checked."
    HEALTHCHECK Warning "healthcheck"
    "The image has a HEALTHCHECK, which is not run here: a container counts as healthy as long as it runs. Have the payload exit when it no longer works."
    OPTION Error "option"
    "An option that was given with -o does not go with the image: a runtime configuration of the image's own decides what it is about, or it contradicts the image or another option. An installation refuses it."
    REFUSED Error "refused"
    "An installation refuses the image, for a reason that no other rule is about: the PID file would be in a directory that the payload can write to, for example."
    IMAGE_CONFIG Error "image-config"
    "The image has no runtime configuration in /exports, and none can be made from its own: it has no Entrypoint and no Cmd, its user does not exist in it, a volume would be the whole root file system, or is in /dev, /proc or /sys."
    DECLARATION Error "declaration"
    "A declaration is broken: a value is not one of its key, a specifier does not exist, a setting of [Service] is not a declaration's to say, there is no Image=, or a file cannot be read or is too large. Nothing is installed by it, and a container that is installed stays as it is."
    DECLARATION_KEY Warning "declaration-key"
    "A declaration has a key of [Container], or a section, that this version does not know. It is ignored, as in unit files: another version may know it. Keys and sections are case-sensitive."
}

/// Finds a rule by its identifier.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(rule.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", rule.id);
            assert!(RULES[index + 1..].iter().all(|other| other.id != rule.id), "{}", rule.id);
            assert!(rule.explanation.ends_with(['.', ')']), "{}", rule.id);
        }
    }
}
