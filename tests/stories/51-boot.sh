#!/bin/bash
# Containers are part of the first transaction of a boot, though /var is mounted later and there is no network at all.
# runs in: vm
. "$(dirname "$0")/lib.sh"

# The disk's, or the machine's own for what containers have in /var.
var=$(systemd-escape --path --suffix=mount "$(findmnt --noheadings --output=TARGET --target=/var/lib/containers)")

case $BOOT in
    1)
        exports plain "$(until_stopped)"
        exports early "$(until_stopped)"
        sed -i 's/^\[Unit\]/&\nDefaultDependencies=no\nBefore=sysinit.target/; s/^WantedBy=.*/WantedBy=sysinit.target/' \
            "$WORK/early/exports/service.template"
        install_image plain --runtime=/usr/bin/runc
        install_image early --runtime=/usr/bin/crun
        hello_world
        pull_image hello-world
        checkout "$REGISTRY/hello-world"
        say 'units that need them'
        cat >"$WORK/wait-for-it" <<-'END'
			#!/bin/bash
			# If it was started, it answers.
			until ! systemctl is-active --quiet hello-world || (exec 3<>/dev/tcp/127.0.0.1/8081); do sleep 0.3; done
		END
        chmod +x "$WORK/wait-for-it"
        cat >/etc/systemd/system/dependent.service <<-END
			[Unit]
			Requires=hello-world.service plain.service
			After=hello-world.service plain.service
			[Service]
			Type=oneshot
			RemainAfterExit=yes
			ExecStart=$WORK/wait-for-it
			[Install]
			WantedBy=multi-user.target
		END
        cat >/etc/systemd/system/early-dependent.service <<-'END'
			[Unit]
			DefaultDependencies=no
			Requires=early.service
			After=early.service
			Before=sysinit.target
			[Service]
			Type=oneshot
			RemainAfterExit=yes
			ExecStart=/bin/true
			[Install]
			WantedBy=sysinit.target
		END
        systemctl --quiet enable dependent early-dependent
        # A container is to be there without it.
        systemctl --quiet disable registry
        # Reloads are counted, the stories' own too.
        reboot
        ;;
    2)
        say 'no network but loopback, and /var is another disk'
        expect lo names_in /sys/class/net
        check '/var/lib/containers is not of the root file system' test "$var" != -.mount
        expect active unit_property "$var" ActiveState
        for unit in early plain hello-world; do
            expect 'active running success' state $unit
            earlier "$(systemctl show --property=GeneratorsFinishTimestampMonotonic --value)" \
                "$(monotonic "$var" ActiveEnterTimestamp)" 'generators ran before /var was mounted'
            earlier "$(monotonic "$var" ActiveEnterTimestamp)" \
                "$(monotonic syscontainers-reconcile ExecMainStartTimestamp)" '/var was mounted before reconcile'
            earlier "$(monotonic syscontainers-reconcile ExecMainExitTimestamp)" \
                "$(monotonic $unit ExecMainStartTimestamp)" "reconcile ended before $unit was started"
        done
        expect running systemctl is-system-running
        journalctl --boot --quiet --output=cat _PID=1 >"$WORK/manager"
        refuse 'nothing was loaded again' grep '^Reloading' "$WORK/manager"
        say 'those that need them'
        for unit in dependent early-dependent; do expect 'active exited success' state $unit; done
        earlier "$(monotonic early ActiveEnterTimestamp)" \
            "$(monotonic sysinit.target ActiveEnterTimestamp)" 'the early one is ready before sysinit.target'
        earlier "$(monotonic early ActiveEnterTimestamp)" \
            "$(monotonic early-dependent ExecMainStartTimestamp)" 'and before who waits for it'
        earlier "$(monotonic hello-world ActiveEnterTimestamp)" \
            "$(monotonic dependent ExecMainStartTimestamp)" 'as is the other'
        expect_like '/var/lib/containers/atomic/early' unit_property early RequiresMountsFor
        refuse 'the early one waits for no other target' \
            grep -E '(sysinit|basic|local-fs)\.target' <(unit_property early After | tr ' ' '\n')
        say 'and they are stopped at shutdown'
        for unit in early plain; do expect_like 'shutdown.target' unit_property $unit Conflicts; done
        echo syscontainers=0 >/run/cmdline
        reboot
        ;;
    3)
        say 'syscontainers=0'
        # In a container, systemd's own command line is the kernel's.
        expect_like 'syscontainers=0' cat /proc/cmdline /proc/1/cmdline
        for unit in early plain hello-world syscontainers-reconcile; do
            expect 'inactive dead success' state $unit
            expect no unit_property $unit ConditionResult
        done
        expect_like 'ConditionKernelCommandLine=!syscontainers=0' bash -c 'systemctl status plain || true'
        expect '' bash -c 'systemctl --failed --no-legend --plain'
        expect '' bash -c 'pgrep -a crun; pgrep -a runc; true'
        expect_like 'Stopped.*plain' journalctl --boot=-1 --unit=plain --output=cat
        # Its end is later than that of the journal.
        expect_like 'Stopping.*early' journalctl --boot=-1 --unit=early --output=cat
        reboot
        ;;
    *) for unit in early plain hello-world dependent; do expect_like '^active' state $unit; done ;;
esac
