#!/bin/bash
# Boots with an /etc and a /var that are not of one time: what is there is mended before it is started, and what cannot be says
# so.
# runs in: vm
. "$(dirname "$0")/lib.sh"

ATTACHED=/etc/syscontainers/attached STUBS=/etc/systemd/system.attached

# all_are_fine: containers and who needs them run, and no unit has failed.
all_are_fine() {
    for unit in one two three; do expect 'active running success' state $unit; done
    expect 'active exited success' state dependent
    expect '' bash -c 'systemctl --failed --no-legend --plain'
    expect running systemctl is-system-running
    journalctl --sync
    refuse 'and none had failed before' journalctl --boot --quiet --output=cat --grep='[Ff]ailed with result' _PID=1
}
# started_version NAME: what the container's payload was started with, as soon as it is executed.
started_version() { main_process "$1" environ | sed -n 's/^VERSION=//p'; }
# make_deployment NAME VERSION: another deployment, which is current from then on, as an update would.
make_deployment() {
    local name=$1 old new file
    old=$(readlink $CO/$name)
    new=$name.$((${old##*.} + 1))
    cp -al $CO/$old $CO/$new
    for file in config.json info $name.service; do
        sed "s/VERSION=[0-9]*/VERSION=$2/; s/$old/$new/g" $CO/$old/$file >$CO/$new/$file.new
        mv $CO/$new/$file.new $CO/$new/$file
    done
    ln -sfn $new $CO/$name.link
    mv -T $CO/$name.link $CO/$name
}

case $BOOT in
    1)
        exports image "$(until_stopped)" --env='"VERSION=1"'
        build_and_pull image
        for name in one two three; do checkout --name=$name "$REGISTRY/image"; done
        cat >/etc/systemd/system/dependent.service <<-'END'
			[Unit]
			Requires=one.service two.service three.service
			After=one.service two.service three.service
			[Service]
			Type=oneshot
			RemainAfterExit=yes
			ExecStart=/bin/true
			[Install]
			WantedBy=multi-user.target
		END
        systemctl --quiet enable dependent
        say 'a rollback of the host: /etc as before the last update'
        cp -a /etc/syscontainers $STUBS "$WORK/"
        make_deployment one 2
        make_deployment three 4
        systemctl restart syscontainers-reconcile
        systemctl start one
        expect_soon 2 started_version one
        say 'and a current deployment that is gone'
        rm -rf $CO/three.1
        rm -rf /etc/syscontainers $STUBS
        cp -a "$WORK/syscontainers" /etc/
        cp -a "$WORK/system.attached" /etc/systemd/
        expect_like 'one\.0' cat $ATTACHED/one.json
        say 'a registration of a deployment that is gone'
        make_deployment two 3
        rm -rf $CO/two.0
        expect_like 'two\.0' cat $ATTACHED/two.json
        reboot
        ;;
    2)
        all_are_fine
        expect_soon 2 started_version one
        expect_like 'one\.1' cat $ATTACHED/one.json
        expect_like 'recreated the unit of one from its current deployment' journal_of syscontainers-reconcile
        expect_soon 3 started_version two
        expect_soon 1 started_version three
        say 'nothing of ours in /etc'
        rm -rf /etc/syscontainers $STUBS
        reboot
        ;;
    3)
        all_are_fine
        for name in one two three; do expect enabled systemctl is-enabled $name; done
        say 'nothing in /etc, but for what this machine itself needs'
        cp /etc/systemd/system/{dependent,story,registry}.service /usr/lib/systemd/system/
        mkdir -p /usr/lib/systemd/system/multi-user.target.wants
        for unit in dependent story registry; do ln -sf ../$unit.service /usr/lib/systemd/system/multi-user.target.wants/; done
        mkdir /etc/.new
        cp -a /etc/{passwd,group,shadow,nsswitch.conf,fstab,ld.so.cache,ld.so.conf.d,machine-id,os-release} /etc/.new/
        cp -a /etc/{hostname,registry.yml,containers,alternatives} /etc/.new/
        mkdir -p /etc/.new/systemd/system
        cp -a /etc/systemd/{journald.conf.d,system-generators} /etc/.new/systemd/
        find /etc/systemd/system -maxdepth 1 -lname /dev/null -exec cp -a {} /etc/.new/systemd/system/ \;
        cp -a /etc/systemd/system/default.target /etc/.new/systemd/system/
        find /etc -mindepth 1 -maxdepth 1 ! -name .new -exec rm -rf {} +
        mv /etc/.new/* /etc/
        rmdir /etc/.new
        reboot
        ;;
    4)
        all_are_fine
        for name in one two three; do expect enabled systemctl is-enabled $name; done
        say 'a broken, an unreadable and a stale registration beside three good ones'
        printf '{"version": 1,\n "name": oops}\n' >$ATTACHED/broken.json
        mkdir $ATTACHED/unreadable.json
        sed 's/"one/"former/g; s,system.slice/one,former,' $ATTACHED/one.json >$ATTACHED/former.json
        for name in broken unreadable former; do
            printf '%s\n' '[Unit]' "X-Syscontainer=$name" '[Install]' 'WantedBy=multi-user.target' >$STUBS/$name.service
            systemctl --quiet enable $name
        done
        reboot
        ;;
    *)
        for unit in one two three; do expect 'active running success' state $unit; done
        expect 'active exited success' state dependent
        for case in "broken|broken.json:2: not a registration: expected value" \
            "unreadable|unreadable.json: it is not a regular file" \
            "former|former.json:5: deployment former.1 is not in $CO"; do
            name=${case%%|*}
            expect 'failed failed exit-code 78' state "$name"
            # At the top, and in its last messages.
            systemctl status --lines=5 "$name" >"$WORK/status" || true
            expect_like "^. $name.service - $name \(broken: $ATTACHED/${case#*|}" cat "$WORK/status"
            expect_like "cannot start $name: $ATTACHED/${case#*|}" cat "$WORK/status"
            refuse 'the generator says so too' /usr/lib/systemd/system-generators/syscontainer-generator --dry-run "$name"
        done
        check 'a good one has no problem' /usr/lib/systemd/system-generators/syscontainer-generator --dry-run one
        ;;
esac
