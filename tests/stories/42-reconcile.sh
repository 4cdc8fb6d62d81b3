#!/bin/bash
# Units and deployments that are not of one time: syscontainer-reconcile mends them, and only then does anything.
. "$(dirname "$0")/lib.sh"

ATTACHED=/etc/syscontainers/attached STUBS=/etc/systemd/system.attached
RECONCILE=/usr/libexec/syscontainers/syscontainer-reconcile
WANTS=/etc/systemd/system/multi-user.target.wants
hello_world
pull_image hello-world
install_hello_world one 8081
install_hello_world two 8082
snapshot >"$WORK/healthy"
# mend: as at boot.
mend() { systemctl restart syscontainers-reconcile.service; }
# second NAME: makes another deployment of it, as an update does, which listens on PORT + 100.
second() {
    cp -al "$CO/$1.0" "$CO/$1.1"
    local file
    for file in config.json info "$1.service"; do
        sed "s/80\([0-9][0-9]\)/81\1/; s/$1\.0/$1.1/g" "$CO/$1.0/$file" >"$CO/$1.1/$file.new"
        mv "$CO/$1.1/$file.new" "$CO/$1.1/$file"
    done
}

say 'the boot of this machine'
# There was nothing to look at.
expect 'inactive dead success' state syscontainers-reconcile
expect_like '\bsyscontainers-reconcile.service\b' unit_property sysinit.target Wants
mend
expect 'active exited success' state syscontainers-reconcile
expect '' systemd-analyze verify syscontainers-reconcile.service
expect_like 'syscontainers-reconcile.service' systemctl show --property=After --value one
systemd-analyze security --no-pager syscontainers-reconcile.service | tail -n1

say 'what is healthy costs one look'
strace -f -y -qq -o "$WORK/trace" $RECONCILE
unchanged "$WORK/healthy"
expect 1 bash -c "grep 'getdents64(.*<$CO>' '$WORK/trace' | grep -cv ' = 0$'"
refuse 'no deployment is opened' grep -E "open.*\"$CO/(one|two)" "$WORK/trace"
refuse 'nothing is run' grep -E '(execve|fork|clone3?)\(' <(tail -n +2 "$WORK/trace")
refuse 'nothing is written' grep -E 'O_(WRONLY|RDWR|CREAT)|rename|unlink|mkdir' "$WORK/trace"

# reloads: how often units were loaded.
reloads() { journalctl --sync; journalctl --boot --quiet --output=cat _PID=1 --grep='^Reloading\.+$' | wc -l; }
say 'it reloads only what it changed'
before=$(reloads)
mend
expect "$before" reloads

say 'a unit of another deployment'
second one
ln -sfn one.1 $CO/one
refuse 'such a container does not start' systemctl start one
remedy="repair the unit with 'systemctl restart syscontainers-reconcile.service'"
expect_like "its unit belongs to deployment one.0, but one.1 is current; $remedy" journal_of one
systemctl reset-failed one
mend
expect_like 'recreated the unit of one from its current deployment' journal_of syscontainers-reconcile
expect_like '"deployment": "one.1"' cat $ATTACHED/one.json
check 'now it starts' systemctl start one
wait_for 'and is the new one' http 8181
systemctl stop one

say 'the same name, but not the same deployment'
cp $CO/one.1/info $CO/one.1/info.new
mv $CO/one.1/info.new $CO/one.1/info
touch $CO/one.1/info
sed -i 's/8181/8101/; s/Hello/Another/' $CO/one.1/one.service
mend
expect_like 'Another' cat $ATTACHED/one.json

say 'the current deployment is gone'
rm -rf $CO/one.1
mend
expect one.0 readlink $CO/one
check 'the one before is started' systemctl start one
wait_for 'and answers' http 8081
systemctl stop one

say 'nothing in /etc'
rm -rf $ATTACHED $STUBS /etc/tmpfiles.d/{one,two}.conf
rm -f /etc/systemd/system/*.wants/{one,two}.service
systemctl daemon-reload
expect not-found unit_property one LoadState
mend
expect 'enabled enabled' enablement one two
# Modes, links and names are those of an installation; directories come with them.
unchanged "$WORK/healthy"
check 'they start' systemctl start one two
systemctl stop one two

say 'what was not enabled stays so'
install_hello_world three 8083
systemctl disable --quiet three
rm $ATTACHED/three.json
mend
expect disabled enablement three
forget three

say 'only a part of /etc'
for file in $ATTACHED/one.json $STUBS/one.service /etc/tmpfiles.d/one.conf; do
    cp "$file" "$WORK/file"
    rm "$file"
    mend
    check "$file is made again" diff "$file" "$WORK/file"
done
echo '{' >$ATTACHED/one.json
mend
say 'also what cannot be parsed'
unchanged "$WORK/healthy"
check 'it starts' systemctl start one
systemctl stop one

say 'a registration without deployments'
mkdir /var/lib/containers/away
mv $CO/two $CO/two.0 /var/lib/containers/away/
mend
expect active unit_property syscontainers-reconcile ActiveState
remedy="install image .*/hello-world:latest again, or remove what is left with 'syscontainer-remove two'"
expect_like "^two \(broken: $ATTACHED/two.json:5: deployment two.0 is not in $CO; $remedy\)" unit_property two Description
expect_like "two.json:5: deployment two.0 is not in $CO" bash -c 'systemctl status two || true'
refuse 'it does not start' systemctl start two
expect 'failed failed exit-code 78' state two
check 'nothing of it was removed' test -e $ATTACHED/two.json -a -e $STUBS/two.service -a -L $WANTS/two.service
check 'others are fine' systemctl start one
before=$(reloads)
mend
expect "$before" reloads
say 'and then they are back'
mv /var/lib/containers/away/* $CO/
rmdir /var/lib/containers/away
mend
systemctl reset-failed two
check 'it starts again' systemctl start two
wait_for 'and answers' http 8082
systemctl stop one two

say 'what killed programs leave'
mkdir $CO/.two.1.new $CO/.gone.0.new
cp -al $CO/two.0 $CO/half.0
cp -al $CO/two.0 $CO/.one.7.old
sed 's/"two/"half/g' $ATTACHED/two.json >$ATTACHED/half.json
mend
unchanged "$WORK/healthy"

say 'what cannot be mended hides nothing'
mkdir $CO/four $CO/four.0
echo '{' >$CO/two.0/info
rm $STUBS/one.service
refuse 'it fails' mend
expect_like "four is in the way" journal_of syscontainers-reconcile
expect_like "cannot recover two: cannot read $CO/two.0/info" journal_of syscontainers-reconcile
check 'but mends the others' test -e $STUBS/one.service
rm -r $CO/four $CO/four.0 $CO/two.0

say 'an unpacked tree'
unpacked_tree
syscontainer-pull --quiet --root="$tree" "$REGISTRY/hello-world" >/dev/null
checkout --root="$tree" "$REGISTRY/hello-world"
rm -r "${tree:?}/etc"
check 'is mended too' $RECONCILE --root="$tree"
expect enabled systemctl --root="$tree" is-enabled hello-world
for arguments in --nonsense NAME; do
    run_fails 2 "unexpected|invalid option" $RECONCILE $arguments
done
