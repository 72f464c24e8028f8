# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# chroot.sh: bare Debian systems below TMPDIR, made by debootstrap.  For steps that are contained, so
# that mounts and processes go with the step.
#
# Trees and packages that were fetched are kept in build/cache/, to be copied.

: "${MIRROR:=http://deb.debian.org/debian}"
chroot_age_days=7

# chroot_base SUITE: makes build/cache/SUITE, a tree as debootstrap leaves it, unless it is there.
chroot_base() {
    local suite=$1 base=build/cache/$1 script=
    if [[ -n $(find "$base" -maxdepth 0 -mtime -"$chroot_age_days" 2>/dev/null) ]]; then
        return 0
    fi
    say "debootstrap of $suite"
    rm -rf --one-file-system "$base" "$base.new"
    mkdir -p build/cache build/log
    # Suites that this debootstrap has not heard of are made like sid.
    [[ -e /usr/share/debootstrap/scripts/$suite ]] || script=/usr/share/debootstrap/scripts/sid
    if ! debootstrap --variant=minbase "$suite" "$base.new" "$MIRROR" ${script:+"$script"} \
        >"build/log/debootstrap-$suite" 2>&1; then
        tail -n 20 "build/log/debootstrap-$suite" >&2
        fail "debootstrap of $suite failed"
    fi
    touch "$base.new"
    mv "$base.new" "$base"
}

# chroot_make SUITE DIR: a copy of that tree in DIR, with /proc, /sys, /dev and a copy of the source
# in /src.
chroot_make() {
    local suite=$1 root=$2
    need debootstrap
    chroot_base "$suite"
    cp -a "build/cache/$suite" "$root"
    # A mount by itself, so that unshare(1) works inside of it.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mkdir -p "build/cache/packages-$suite" "$root/src"
    find "build/cache/packages-$suite" -name '*.deb' -exec cp -t "$root/var/cache/apt/archives" {} +
    echo "$suite" >"$root/etc/suite"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # The tests' clock may be ahead of a suite whose list of packages is meant for a week only.
    [[ $suite != sid ]] ||
        echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90no-date"
    tar --exclude=./build --exclude=./.git --exclude=__pycache__ -c . | tar -x -C "$root/src"
}

# chroot_run DIR COMMAND...: runs it in the chroot's /src, with nothing of our environment.
chroot_run() {
    local root=$1
    shift
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$root" sh -c 'cd /src && exec "$@"' sh "$@"
}

# chroot_keep_packages DIR: copies what was fetched to where the next one finds it.
chroot_keep_packages() {
    local root=$1 cache
    cache=build/cache/packages-$(cat "$root/etc/suite")
    find "$root/var/cache/apt/archives" -name '*.deb' -exec cp --no-clobber -t "$cache" {} +
}

# chroot_install DIR PACKAGE...
chroot_install() {
    local root=$1 log
    shift
    log=$TMPDIR/apt
    if ! { chroot_run "$root" apt-get -o Acquire::Retries=3 update &&
        chroot_run "$root" apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        fail "cannot install in the chroot: $*"
    fi
    chroot_keep_packages "$root"
}
