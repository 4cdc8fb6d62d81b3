# What every story begins with: . "$(dirname "$0")/lib.sh"
# shellcheck shell=bash
#
# A story runs as root in the machine, see tests/machine. It ends at the first thing that is not as expected. Variables:
#
#   BOOT        how often the machine was booted: 1, and 2 after 'reboot' or 'cut_off', which run the story anew
#   REGISTRY    the registry, host:port
#   WORK        a directory for the story's files, kept over a reboot
#   CO          the directory of deployments
#   STORE       the image store
#
# What more than one story needs is in lib/, by subject: a function there has one meaning, which no story gives another.
# Stories judge no times, and nothing that is on its way: what comes sooner or later is waited for (wait_for, expect_soon).
#
set -Eeuo pipefail

REGISTRY=127.0.0.1:5000
WORK=/var/lib/story
TESTS=/src/tests
CO=/var/lib/containers/atomic
# shellcheck disable=SC2034 # for stories
STORE=$CO/.storage/ostree
mkdir -p "$WORK"
trap 'echo "not ok - ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND: exit status $?"' ERR

# shellcheck source=tests/stories/lib/expect.sh
. "${BASH_SOURCE[0]%/*}/lib/expect.sh"
# shellcheck source=tests/stories/lib/files.sh
. "${BASH_SOURCE[0]%/*}/lib/files.sh"
# shellcheck source=tests/stories/lib/images.sh
. "${BASH_SOURCE[0]%/*}/lib/images.sh"
# shellcheck source=tests/stories/lib/podman.sh
. "${BASH_SOURCE[0]%/*}/lib/podman.sh"
# shellcheck source=tests/stories/lib/containers.sh
. "${BASH_SOURCE[0]%/*}/lib/containers.sh"
# shellcheck source=tests/stories/lib/corpus.sh
. "${BASH_SOURCE[0]%/*}/lib/corpus.sh"
# shellcheck source=tests/stories/lib/host_users.sh
. "${BASH_SOURCE[0]%/*}/lib/host_users.sh"
# shellcheck source=tests/stories/lib/machine.sh
. "${BASH_SOURCE[0]%/*}/lib/machine.sh"

if [ -z "${STORY-}" ]; then
    # Not for shells that a story starts.
    export STORY=$$
    # Whose directories in /var/lib are not ours.
    [ -e "$WORK/.others" ] ||
        find /var/lib -mindepth 1 -maxdepth 1 ! -name containers ! -name syscontainers ! -name story -printf '%P\n' >"$WORK/.others"
    [ -e "$WORK/.ours" ] || ours | sort >"$WORK/.ours"
    trap '[ $? != 0 ] || leave_nothing' EXIT
fi
