#!/bin/bash
# Templates of the kinds that real images have, with stand-ins for their payloads, with crun and runc.
# Rows of tests/atomic.md: 1.13, 2.08, 2.A1, 2.A12, 8.01, 8.03, 8.04, 8.06, 8.07, 8.10, 8.11, 8.14, 8.15, 8.16, 8.17, 8.18,
#   rows 8.20, 8.21, 8.22, 8.23, 8.24, b, c, v.
. "$(dirname "$0")/lib.sh"

mkdir -p /lib/modules /etc/sysconfig
# Libraries of this host for payloads that notify.
usr='{"destination":"/usr","type":"bind","source":"/usr","options":["rbind","ro","mode=755"]},
    {"destination":"/lib","type":"bind","source":"/usr/lib","options":["bind","ro"]},
    {"destination":"/lib64","type":"bind","source":"/usr/lib64","options":["bind","ro"]}'
all_capabilities='"CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_KILL","CAP_NET_ADMIN","CAP_SYS_ADMIN",
   "CAP_SYS_RESOURCE","CAP_AUDIT_READ","CAP_BLOCK_SUSPEND"'

# templates NAME: the files of an image; config.json.template and service.template come from the standard input, apart by a line
# of dashes.
templates() {
    local to=$WORK/$1/exports
    mkdir -p "$to"
    cat >"$WORK/.in"
    sed '/^---$/,$d' "$WORK/.in" >"$to/config.json.template"
    sed '1,/^---$/d' "$WORK/.in" >"$to/service.template"
}
# both NAME [OPTION…]: installs it for each runtime, as NAME-crun and NAME-runc.
both() {
    local name=$1 runtime
    shift
    build_and_pull "$name"
    for runtime in crun runc; do
        checkout --name="$name-$runtime" --runtime=/usr/bin/$runtime "$@" "$REGISTRY/$name"
    done
}
# inside UNIT COMMAND…: the command in the namespaces of its payload.
inside() {
    local pid
    pid=$(unit_property "$1" MainPID)
    shift
    nsenter --target="$pid" --all "$@"
}

say 'one that prepares others: flannel'
# It writes a drop-in for another unit before it is ready, and takes it away when it ends.
templates network <<END
{"ociVersion": "1.0.0", "platform": {"os": "linux", "arch": "amd64"},
 "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "noNewPrivileges": false,
  "args": ["/bin/sh", "-c", "trap 'exit 0' TERM; sh /prepare.sh \$NETWORK \$NAME; systemd-notify --ready; sleep 1000 & wait"],
  "env": ["PATH=/usr/bin:/bin", "TERM=xterm", "NAME=\$NAME"],
  "capabilities": {
   "bounding": [$all_capabilities],
   "permitted": [$all_capabilities],
   "inheritable": [$all_capabilities],
   "effective": [$all_capabilities],
   "ambient": [$all_capabilities]},
  "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},
 "root": {"path": "rootfs", "readonly": true}, "hostname": "network",
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
  {"type": "bind", "source": "/dev", "destination": "/dev", "options": ["rbind", "rw", "mode=755"]},
  {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
   "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
  {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
  {"type": "bind", "source": "/etc/systemd/system/engine.service.d", "destination": "/etc/systemd/system/engine.service.d",
   "options": ["rbind", "rw", "mode=755"]},
  {"source": "\${RUN_DIRECTORY}/\${NAME}", "destination": "/run/network", "type": "bind", "options": ["rw", "rbind", "rprivate"]},
  {"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/sysconfig/network.conf", "options": ["ro", "rbind"]},
  $usr],
 "linux": {"rootfsPropagation": "rslave", "resources": {"devices": [{"allow": true, "access": "rwm"}]},
  "namespaces": [{"type": "mount"}, {"type": "uts"}], "devices": null, "apparmorProfile": ""}}
---
[Unit]
Description=Network of containers
After=\$AFTER
Before=engine.service
Wants=network-online.target
[Service]
Type=notify
NotifyAccess=all
ExecStartPre=\$EXEC_STARTPRE
ExecStart=\$EXEC_START
ExecStop=\$EXEC_STOP
ExecStopPost=\$EXEC_STOPPOST
ExecStopPost=/bin/rm /etc/systemd/system/engine.service.d/\$NAME.conf
Restart=on-failure
WorkingDirectory=\$DESTDIR
PIDFile=\$PIDFILE
[Install]
WantedBy=multi-user.target
RequiredBy=\$REQUIRED_BY
END
cat >"$WORK/network/prepare.sh" <<'END'
printf '[Service]\nEnvironment=NETWORK=%s\n' "$1" >"/etc/systemd/system/engine.service.d/$2.conf"
END
cat >"$WORK/network/exports/tmpfiles.template" <<'END'
D    $RUN_DIRECTORY/$NAME   0700 - - - -
d    /etc/systemd/system/engine.service.d   - - - - -
r    /etc/systemd/system/engine.service.d/$NAME.conf
END
mkdir -p "$WORK/network/exports/hostfs/etc/sysconfig"
echo x >"$WORK/network/exports/hostfs/etc/sysconfig/network.conf"
cat >"$WORK/network/exports/manifest.json" <<'END'
{"version": "1.0", "defaultValues": {"AFTER": "network.target", "REQUIRED_BY": "engine.service", "NETWORK": "10.0.0.0/16"}}
END
cat >/etc/systemd/system/engine.service <<'END'
[Service]
ExecStart=/bin/sh -c "echo engine in $$NETWORK; exec sleep 1000"
END
# engine_says LINE: since it was started last.
engine_says() {
    journalctl --sync
    journalctl --output=cat _SYSTEMD_INVOCATION_ID="$(unit_property engine InvocationID)" | grep -x -- "$1" >/dev/null
}
both network --set NETWORK=10.1.0.0/16
for runtime in crun runc; do
    check 'another unit requires it' systemctl --quiet disable network-crun network-runc
    check 'as a variable says' systemctl --quiet enable network-$runtime
    systemctl daemon-reload
    expect_like "network-$runtime.service" systemctl show --property=Requires --value engine
    check 'its drop-in is there when it is ready' systemctl start engine
    expect 'active running success' state network-$runtime
    systemctl daemon-reload
    systemctl restart engine
    wait_for 'the engine runs in that network' engine_says 'engine in 10.1.0.0/16'
    systemctl stop engine network-$runtime
    expect 'inactive dead success' state network-$runtime
    refuse 'it takes the drop-in away' test -e /etc/systemd/system/engine.service.d/network-$runtime.conf
done

say 'one that is an engine: docker'
templates engine <<END
{"ociVersion": "1.0.0",
 "process": {"selinuxLabel": "system_u:system_r:container_runtime_t:s0", "terminal": false, "user": {}, "cwd": "/",
  "noNewPrivileges": false,
  "args": ["/bin/sh", "-c",
   "trap 'exit 0' TERM; grep -q ADDED= /host/run/\$NAME-env; ls /added; systemd-notify --ready; sleep 1000 & wait"],
  "env": ["PATH=/usr/bin:/bin"],
  "capabilities": {
   "bounding": [\${ALL_PROCESS_CAPABILITIES}],
   "permitted": [\${ALL_PROCESS_CAPABILITIES}],
   "effective": [\${ALL_PROCESS_CAPABILITIES}]}},
 "root": {"path": "rootfs", "readonly": true},
 "mounts": [
  {"source": "/tmp", "destination": "/tmp", "type": "bind", "options": ["private", "bind", "rw", "mode=755"]},
  {"type": "bind", "source": "/lib/modules", "destination": "/srv/modules", "options": ["rbind", "rprivate", "rw", "mode=755"]},
  {"type": "bind", "source": "\${RUN_DIRECTORY}", "destination": "/run", "options": ["rshared", "rbind", "rw", "mode=755"]},
  {"type": "bind", "source": "\${RUN_DIRECTORY}/systemd", "destination": "/run/systemd", "options": ["rslave", "bind", "rw"]},
  {"source": "/dev", "destination": "/dev", "type": "bind", "options": ["rprivate", "rbind", "rw", "mode=755"]},
  {"destination": "/host", "options": ["rbind", "rshared", "rw"], "source": "/", "type": "bind"},
  {"source": "/sys", "destination": "/sys", "type": "bind", "options": ["rprivate", "rbind", "rw"]},
  {"source": "/proc", "destination": "/proc", "type": "proc", "options": ["private"]},
  $usr
  \$ADDTL_MOUNTS],
 "hooks": {},
 "linux": {"rootfsPropagation": "rslave", "resources": {"devices": [{"allow": true, "access": "rwm"}]},
  "namespaces": [{"type": "mount"}]}}
---
[Unit]
Description=Engine
After=network.target
[Service]
EnvironmentFile=-/etc/sysconfig/engine-storage
Environment=ADDED=yes
SELinuxContext=system_u:system_r:container_runtime_t:s0
ExecStartPre=/bin/bash -c 'export -p > /run/\$NAME-env'
ExecStartPre=/bin/sh \$DESTDIR/rootfs/prepare.sh \$NAME
ExecStart=\$EXEC_START
ExecStop=-\$EXEC_STOP
Restart=on-failure
RuntimeDirectory=engine
WorkingDirectory=\$DESTDIR
LimitNOFILE=4096
LimitCORE=infinity
TimeoutStartSec=0
Type=notify
NotifyAccess=all
[Install]
WantedBy=multi-user.target
END
# A script of the image that runs on the host.
echo 'echo "$0 $1" >/run/prepared-$1' >"$WORK/engine/prepare.sh"
: >"$WORK/engine/exports/tmpfiles.template"
echo '{"defaultValues": {"ADDTL_MOUNTS": ""}}' >"$WORK/engine/exports/manifest.json"
mkdir -p /srv/added
both engine --set \
    ADDTL_MOUNTS=',{"type":"bind","source":"/srv/added","destination":"/added","options":["rbind","rw","rslave"]}'
for runtime in crun runc; do
    start_and_stop engine-$runtime
    expect "$CO/engine-$runtime/rootfs/prepare.sh engine-$runtime" cat /run/prepared-engine-$runtime
    expect_like 'this host does not support process.selinuxLabel, starting engine-.* without it' journal_of engine-$runtime
done

say 'agents, of before OCI 1.0'
# capabilities_of UNIT: sets of its payload, as soon as that is executed.
capabilities_of() {
    main_process "$1" status |
        sed -n 's/^CapEff:\t0*/Eff /p; s/^CapPrm:\t0*/Prm /p; s/^CapBnd:\t0*/Bnd /p' | sort -r | paste -sd' '
}
has_files_limit() { main_process "$1" limits | grep -E 'Max open files +66 +77 '; }
for kind in list moved; do
    # Capabilities were a list, and those of the first drafts stood elsewhere.
    capabilities='"capabilities": ["CAP_KILL", "CAP_CHOWN"],'
    if [ $kind = list ]; then
        version=1.0.0-rc3 process=$capabilities linux=''
        dev_first='{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},'
        dev_last=',{"type": "bind", "source": "/dev", "destination": "/dev", "options": ["rbind", "rw", "mode=755"]}'
    else
        version=0.6.0-dev process='' dev_first='' dev_last=''
        linux=$capabilities'"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 77, "soft": 66}],'
    fi
    templates agent-$kind <<-END
		{"ociVersion": "$version", "platform": {"os": "linux", "arch": "amd64"},
		 "process": {$process "terminal": true, "consoleSize": {"height": 0, "width": 0}, "user": {}, "cwd": "/",
		  "args": ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"],
		  "env": ["PATH=/bin", "NAME=hard-coded"], "rlimits": null},
		 "root": {"path": "rootfs", "readonly": true}, "hostname": null,
		 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
		  $dev_first
		  {"type": "rbind", "source": "/etc/passwd", "destination": "/etc-passwd", "options": ["ro"]},
		  {"type": "none", "source": "/etc/hostname", "destination": "/etc-hostname", "options": ["rbind", "ro"]},
		  {"type": "bind", "source": "/dev/null", "destination": "/dev/rtc", "options": ["bind", "rw"]},
		  {"destination": "/sys/fs/cgroup", "type": "bind", "source": "/sys/fs/cgroup",
		   "options": ["nosuid", "rw", "relatime", "rbind", "ro"]},
		  {"type": "bind", "source": "/run", "destination": "/var/run/", "options": ["rbind", "rw", "mode=755"]}
		  $dev_last],
		 "linux": {$linux "namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "pid"}], "devices": null,
		  "seccomp": {"defaultAction": "", "architectures": null}}}
		---
		[Unit]
		Description=Agent
		Documentation=https://example.com
		[Service]
		# \$EXEC_START is what runs it.
		ExecStart=/bin/false
		ExecStart=
		ExecStart=\\
		# It goes on:
		  \$EXEC_START
		ExecStop=\$EXEC_STOP
		Restart=on-crash
		StartLimitInterval=0
		RestartSec=10
		WorkingDirectory=\${DESTDIR}
		[Install]
		WantedBy=multi-user.target
	END
    both agent-$kind
    for runtime in crun runc; do
        name=agent-$kind-$runtime
        check "$name starts" systemctl start $name
        expect 'active running success' state $name
        # CAP_CHOWN is bit 0, CAP_KILL bit 5.
        expect_soon 'Prm 21 Eff 21 Bnd 21' capabilities_of $name
        [ $kind = list ] || wait_for 'it has its limit' has_files_limit $name
        check 'binds of type rbind are binds' inside $name /bin/grep -q root /etc-passwd
        check 'in their order' inside $name /bin/sh -c 'test -c /dev/null'
        systemctl stop $name
        expect 'inactive dead success' state $name
        expect_like "$version" cat $CO/$name/config.json
    done
done

say 'one without a runtime'
mkdir -p "$WORK/bare/exports" "$WORK/bare/usr/share"
echo 'of the image' >"$WORK/bare/usr/share/file"
cat >"$WORK/bare/exports/service.template" <<'END'
[Unit]
Description=Runs on the host
[Service]
Type=simple
ExecStart=/bin/sh -c 'cat usr/share/file; exec sleep 1000'
WorkingDirectory=${DESTDIR}/rootfs
Restart=always
RestartSec=5
RuntimeDirectory=${NAME}
[Install]
WantedBy=multi-user.target
END
install_image bare
systemctl start bare
wait_for 'it finds its file' journal_has bare '^of the image$'
start_and_stop bare
refuse 'there is no configuration' test -e $CO/bare.0/config.json

say 'an installer: once, with files of the user'
templates installer <<'END'
{"ociVersion": "1.0.0",
 "process": {"terminal": false, "consoleSize": {"height": 0, "width": 0}, "user": {"uid": 0, "gid": 0}, "cwd": "/",
  "noNewPrivileges": true, "env": ["PATH=/bin"],
  "args": ["/bin/sh", "-c", "echo x >/root/tmp/y; cat /inventory; echo options=$OPTS; exit $STATUS"]},
 "root": {"path": "rootfs", "readonly": true},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
  {"type": "bind", "source": "$INVENTORY_FILE", "destination": "/inventory", "options": ["bind", "rslave", "ro"]},
  {"type": "bind", "source": "$HOME_ROOT", "destination": "/root", "options": ["bind", "rw"]},
  {"type": "tmpfs", "source": "tmpfs", "destination": "/root/tmp", "options": ["mode=755", "size=65536k"]}],
 "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}}
---
[Service]
Type=oneshot
Restart=no
ExecStart=$EXEC_START
ExecStop=-$EXEC_STOP
END
echo 'f $LOG - - - -' >"$WORK/installer/exports/tmpfiles.template"
mkdir -p "$WORK/installer/root" /srv/home
cat >"$WORK/installer/exports/manifest.json" <<'END'
{"defaultValues": {"OPTS": "", "STATUS": 0, "INVENTORY_FILE": "/dev/null", "HOME_ROOT": "/root", "LOG": "/var/log/installer"}}
END
echo hosts >/srv/inventory
build_and_pull installer --label=atomic.run=once
for runtime in crun runc; do
    mkdir -p /srv/home/tmp
    checkout --name=installer-$runtime --runtime=/usr/bin/$runtime \
        --set INVENTORY_FILE=/srv/inventory --set HOME_ROOT=/srv/home --set OPTS='a "b"' --set STATUS=3 "$REGISTRY/installer"
    refuse 'it runs' systemctl start installer-$runtime
    expect 'failed failed exit-code 3' state installer-$runtime
    expect_like '^hosts$' journal_of installer-$runtime
    expect_like '^options=a "?b"?$' journal_of installer-$runtime
    check 'with its log' test -f /var/log/installer
    refuse 'and what it wrote is gone' test -e /srv/home/tmp/y
done
