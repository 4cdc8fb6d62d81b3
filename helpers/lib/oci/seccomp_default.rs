//! The seccomp profile for hosts that have no seccomp.json: which system calls the payload of a container may use.
//!
//! It allows what the profile of containers/common allows, since images are made for that. Whatever is not named does
//! not exist, as it were (ENOSYS), so that programs fall back to older calls.

use nix::libc;
use serde_json::{Value, json};

/// Allowed to every payload. Most of these check the payload's own rights in the kernel.
const ALWAYS: &[&str] = &[
    // Files and directories.
    "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2",
    "fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64",
    "fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents",
    "getdents64 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 link linkat _llseek",
    "lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv",
    "preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv rename renameat renameat2 rmdir",
    "sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee",
    "truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes write writev",
    // Extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr",
    "removexattr setxattr",
    // Mounts and name spaces, for payloads with the capability, and those in a user name space of their own.
    "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setns umount umount2 unshare",
    // Waiting for files.
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd",
    "eventfd2 io_cancel io_destroy io_getevents io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64",
    "pselect6 pselect6_time64 select",
    // Processes and threads.
    "capget capset clone clone3 execve execveat exit exit_group fork get_robust_list getpgid getpgrp getpid getppid",
    "getpriority getrlimit getrusage getsid gettid get_thread_area ioprio_get ioprio_set pidfd_getfd pidfd_open",
    "pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace restart_syscall rseq",
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler",
    "sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam",
    "sched_setscheduler sched_yield set_robust_list set_thread_area set_tid_address setpgid setpriority setrlimit setsid",
    "ugetrlimit vfork wait4 waitid waitpid",
    // Users and groups.
    "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid",
    "getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid",
    "setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    // Less for oneself.
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    // Signals.
    "kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait",
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask",
    "sigreturn sigsuspend tgkill tkill",
    // Memory.
    "brk get_mempolicy madvise mbind membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2",
    "mprotect mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages set_mempolicy",
    // Time. To set the clock takes a capability.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64",
    "clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete",
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd timerfd_create timerfd_gettime",
    "timerfd_gettime64 timerfd_settime timerfd_settime64 times",
    // Between processes.
    "futex futex_time64 ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend",
    "mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat",
    "shmctl shmdt shmget",
    // Sockets, but for making one.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg",
    "send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair",
    // The system.
    "getcpu getrandom reboot syscall sysinfo syslog uname",
];

/// Allowed on some architectures, by their names in conditions.
const ON: &[(&[&str], &str)] = &[
    (&["ppc64le"], "sync_file_range2"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    (&["amd64"], "arch_prctl modify_ldt"),
    (&["riscv64"], "riscv_flush_icache riscv_hwprobe"),
    (&["s390x"], "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
];

/// Allowed to payloads with a capability; otherwise the answer is EPERM, which is what the kernel says.
const WITH: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_SYS_ADMIN", "bpf fanotify_init lookup_dcookie perf_event_open quotactl setdomainname sethostname"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module query_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// What programs take a missing call as a reason to fail for: these are forbidden instead.
const FORBIDDEN: &str = "bdflush io_pgetevents kexec_file_load kexec_load migrate_pages move_pages nfsservctl nice \
                         sgetmask ssetmask swapoff swapon sysfs uselib userfaultfd ustat vm86 vm86old vmsplice";

/// Execution domains that a payload may ask for: Linux, with and without the flag of 16-bit version numbers, and what is
/// set already.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];

/// Other instruction sets that a processor of the first one runs.
const ARCHITECTURES: [(&str, &[&str]); 3] = [
    ("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
    ("SCMP_ARCH_S390X", &["SCMP_ARCH_S390"]),
];

/// The profile in the format of seccomp.json.
pub(super) fn profile() -> Value {
    let allow = "SCMP_ACT_ALLOW";
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let refuse =
        |names: &str| json!({"names": words(names), "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM});
    let mut rules = vec![json!({"names": words(&ALWAYS.join(" ")), "action": allow}), refuse(FORBIDDEN)];
    for (arches, names) in ON {
        rules.push(json!({"names": words(names), "action": allow, "includes": {"arches": arches}}));
    }
    for (capability, names) in WITH {
        let condition = json!({"caps": [capability]});
        rules.push(json!({"names": words(names), "action": allow, "includes": condition}));
        let mut otherwise = refuse(names);
        otherwise["excludes"] = condition;
        rules.push(otherwise);
    }
    for domain in PERSONALITIES {
        rules.push(
            json!({"names": ["personality"], "action": allow, "args": [argument(0, domain, "SCMP_CMP_EQ")]}),
        );
    }
    rules.extend(sockets());
    let architectures = ARCHITECTURES
        .map(|(name, others)| json!({"architecture": name, "subArchitectures": others}))
        .to_vec();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::ENOSYS,
        "archMap": architectures,
        "syscalls": rules,
    })
}

/// Every socket but that of the kernel's audit, which takes a capability: a rule is about one argument, and what differs
/// in either of two is another socket.
fn sockets() -> [Value; 4] {
    let (family, protocol) = (libc::AF_NETLINK as u32, libc::NETLINK_AUDIT as u32);
    let condition = json!({"caps": ["CAP_AUDIT_WRITE"]});
    let rule =
        |action: &str, arguments: Value| json!({"names": ["socket"], "action": action, "args": arguments});
    let mut audit = rule(
        "SCMP_ACT_ERRNO",
        json!([argument(0, family, "SCMP_CMP_EQ"), argument(2, protocol, "SCMP_CMP_EQ")]),
    );
    audit["errnoRet"] = json!(libc::EINVAL);
    let mut others = [
        audit,
        rule("SCMP_ACT_ALLOW", json!([argument(0, family, "SCMP_CMP_NE")])),
        rule("SCMP_ACT_ALLOW", json!([argument(2, protocol, "SCMP_CMP_NE")])),
        rule("SCMP_ACT_ALLOW", json!([])),
    ];
    for (position, rule) in others.iter_mut().enumerate() {
        let key = if position < 3 { "excludes" } else { "includes" };
        rule[key] = condition.clone();
    }
    others
}

fn argument(index: u32, value: u32, operator: &str) -> Value {
    json!({"index": index, "value": value, "valueTwo": 0, "op": operator})
}
