# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# build.sh: configuring and building in folders below build/.
# shellcheck disable=SC2034

build_packages=(
    gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 uthash-dev libsodium-dev
    libsmartcols-dev libncurses-dev libmicrohttpd-dev libjson-c-dev libcmocka-dev
)

# configure DIR MESON-OPTION...: sets up a build folder, or changes the options of one.
configure() {
    local dir=$1
    shift
    if [[ -f $dir/build.ninja ]]; then
        meson configure "$dir" "$@"
    else
        meson setup "$dir" "$@" >/dev/null
    fi
}
