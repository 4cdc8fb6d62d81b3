//! The rules: stable identifiers, how bad it is, and why.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The image cannot be installed, or does not do what it says.
    Error,
    /// It works, but here and now only, or not as well as it could.
    Warning,
}

impl Severity {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called, for ever.
    pub id: &'static str,
    /// How bad its findings are.
    pub severity: Severity,
    /// Why there is such a rule, and what to do.
    pub explanation: &'static str,
}

/// One static for each rule, and [`RULES`] of them all.
macro_rules! rules {
    ($($name:ident $severity:ident $id:literal $explanation:literal)*) => {
        $(
            #[doc = $explanation]
            pub static $name: Rule =
                Rule { id: $id, severity: Severity::$severity, explanation: $explanation };
        )*
        /// All of them.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    NO_DOCKERFILE Warning "no-dockerfile"
    "The directory has neither a Dockerfile nor a Containerfile, so nothing says how the image is made of these files."
    MAINTAINER Warning "maintainer"
    "The instruction MAINTAINER is deprecated. Write LABEL maintainer=NAME instead."
    EXPORT_TYPO Warning "export-typo"
    "Files are copied to /export. An installation looks for them in /exports, and ignores what is elsewhere."
    NODOCS Warning "nodocs"
    "Packages are installed with their documentation, which nobody reads in a service's image. Give dnf or yum the option --setopt=tsflags=nodocs."
    ADD_FOR_COPY Warning "add-for-copy"
    "A file of /exports is added with ADD, which also fetches and unpacks. COPY does what is meant."
    TRAILING_SLASH Warning "trailing-slash"
    "A file is copied to /exports without a slash behind it. Where there is no such directory yet, the file becomes /exports itself."
    NOT_COPIED Warning "not-copied"
    "A file for /exports is here, but no instruction copies it into the image."
    NO_GIT Warning "no-git"
    "The directory is in no git repository, so nobody can tell which sources an image was made of."
    UNSTAGED Warning "unstaged"
    "A file was changed and the change is not staged: the image will hold what the next commit does not."
    UNREADABLE Error "unreadable"
    "A file of /exports is no regular file or no UTF-8 text, which an installation refuses, or larger than what is checked."
    MANIFEST_MISSING Warning "manifest-missing"
    "There is no manifest.json, so no variable has a default value of the image's own."
    MANIFEST_INVALID Error "manifest-invalid"
    "The manifest is no JSON object, or one of its keys has a value of the wrong type. An installation refuses it."
    MANIFEST_KEY Warning "manifest-key"
    "The manifest has a key that means nothing, as a misspelt one does. Known are version, defaultValues, noContainerService, installedFilesTemplate, renameFiles and useLinks."
    FORCED_DEFAULT Warning "forced-default"
    "The manifest has a default for a variable that describes the installation, such as NAME. It is never used."
    NO_DEFAULT Warning "no-default"
    "A variable has neither a default in the manifest nor a built-in value: whoever installs the image must give one with --set."
    PLACEHOLDER Error "placeholder"
    "What follows a dollar sign is no variable. A dollar sign itself is written '$$'; for one that systemd is to leave alone, too, write '$$$$'."
    UNESCAPABLE Error "unescapable"
    "The default value of a variable cannot stand where the variable is used, whatever the escaping: a line break in a unit or in tmpfiles, or JSON that closes more than it opens."
    READABLE_VARIABLE Warning "readable-variable"
    "The unit uses a variable that the user sets. Every user of the host can read units (systemctl cat): this is no place for secrets. In config.json only root reads it."
    CONFIG_MISSING Warning "config-missing"
    "There is no config.json.template. A runtime configuration is made of the image's Entrypoint, Cmd, Env, User and WorkingDir."
    CONFIG_NOT_TEMPLATE Error "config-not-template"
    "There is a config.json. It is taken as it is, without variables, and wins over a template. Call it config.json.template."
    CONFIG_SYNTAX Error "config-syntax"
    "The runtime configuration is no JSON once its variables have their default values."
    CONFIG_INVALID Error "config-invalid"
    "The runtime configuration is not one: something has the wrong type, or there is nothing to run. An installation refuses it."
    RELATIVE_PATH Error "relative-path"
    "A path in the runtime configuration is relative where runtimes demand an absolute one: the working directory, or the destination of a mount."
    READONLY_ROOT Error "readonly-root"
    "root.readonly is not true. The files of a container are shared with the image store and must not change, so an installation refuses it. Only images with the label atomic.run=once may write, to a scratch copy."
    ROOT_PATH Error "root-path"
    "root.path is not \"rootfs\", which is where the image's files are."
    TERMINAL Error "terminal"
    "process.terminal is not false. A service has no terminal."
    SELINUX_LABEL Error "selinux-label"
    "linux.selinuxProcessLabel is of before OCI 1.0 and ignored by runtimes. It is process.selinuxLabel now."
    MOUNT_TYPE Error "mount-type"
    "A mount has the type rbind, or none. Runtimes know the type bind, and the option rbind."
    STATE_DIRECTORY Warning "state-directory"
    "A bind source is below /var/lib. Write ${STATE_DIRECTORY}, so that it can be elsewhere."
    RUN_DIRECTORY Warning "run-directory"
    "A bind source is below /run. Write ${RUN_DIRECTORY}, so that it can be elsewhere."
    CAPABILITY Error "capability"
    "A capability does not exist. crun refuses to start the container, runc goes on without it."
    CAPABILITY_LIST Warning "capability-list"
    "process.capabilities is a list, as before OCI 1.0. It is rewritten here, but other runtimes refuse it. It is an object now, with bounding, effective, permitted, inheritable and ambient."
    OCI_VERSION Warning "oci-version"
    "ociVersion is not a release 1.x. It is rewritten here, but runtimes refuse it."
    BIND_SOURCE Warning "bind-source"
    "Nothing makes the source of a bind mount: neither tmpfiles.template, nor hostfs, nor the unit; nor does every host have it. The container fails to start where it is missing. (Without a tmpfiles.template, missing directories are made.)"
    STOP_SIGNAL Warning "stop-signal"
    "Process 1 of the container is a shell that runs commands. As process 1 of a PID namespace it ignores the stop signal unless it has a trap for it, and what it runs never gets one: every stop is a kill. Begin the last command with exec, or set a trap."
    SERVICE_MISSING Warning "service-missing"
    "There is no service.template. The unit is a default one, which starts after nothing in particular."
    UNIT_SYNTAX Error "unit-syntax"
    "The unit is refused: by an installation, or by systemd once it is composed."
    UNIT_SETTING Warning "unit-setting"
    "systemd ignores a line of the composed unit: an unknown setting, or a value that it cannot read."
    EXEC_START Warning "exec-start"
    "ExecStart= does not use $EXEC_START, so it is the image's own affair how the container is started."
    EXEC_STOP Warning "exec-stop"
    "There is no ExecStop=, or it does not use $EXEC_STOP, which sends the stop signal, or kills at once where that would be ignored."
    WORKING_DIRECTORY Warning "working-directory"
    "There is no WorkingDirectory=, or it is not $DESTDIR, the directory of the container."
    DOUBLE_LIMIT Warning "double-limit"
    "The unit and linux.resources in the configuration both limit the same thing. Limits of the configuration become settings of the unit, and the unit's own line wins: keep one of them."
    HOSTFS Error "hostfs"
    "The files for the host cannot be laid out as the manifest says: a new name is no absolute path, two files get one name, or there are devices among them."
    IMAGE_CONFIG Error "image-config"
    "The image has no runtime configuration in /exports, and none can be made of its own: it has no Entrypoint and no Cmd, its user does not exist in it, or its working directory or a volume is relative."
}

/// The rule called `id`.
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
