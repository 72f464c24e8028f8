# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# common.sh: what every step begins with.  A step sources it first:
#
#     . "$(dirname "$0")/../lib/common.sh"
#
# The step is then in the tree's top folder, without input, with Debian's own programs first in PATH
# (another python3 would not find Debian's pytest, nor meson its modules).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec </dev/null
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONDONTWRITEBYTECODE=1

say() {
    printf '\n== %s\n' "$*"
}

# fail TEXT...: ends the step with a reason.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# need PACKAGE...: installs those Debian packages that are missing.
need() {
    local missing=() package
    for package; do
        if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing+=("$package")
        fi
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    "${apt[@]}" update
    # What apt-get says is of interest only if it fails.
    mkdir -p build/log
    if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >build/log/apt 2>&1; then
        tail -n 30 build/log/apt >&2
        fail "cannot install ${missing[*]}"
    fi
}
