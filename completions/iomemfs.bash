# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for iomemfs(8) and mount.iomemfs(8)

# The values that a mount option can have, as far as they are words.
_iomemfs_values() {
    case $1 in
    passthrough) echo auto on off ;;
    latency) echo auto low normal ;;
    huge) echo never always ;;
    xattr | acl) echo on off ;;
    ctl) echo off ;;
    socket) echo none ;;
    mode) echo 1777 0770 0755 ;;
    uid) compgen -u ;;
    gid) compgen -g ;;
    esac
}

# One of a list of mount options with commas, which the shell may have split at '='.
_iomemfs_mount_option() {
    local options='size= nr_inodes= mode= uid= gid= passthrough= socket= clients= waits=
        unfinished= unread= spin= latency= grace= huge= xattr= acl= ctl= remount allow_other
        ro rw nosuid nodev noexec noatime nosymfollow'
    local line=${COMP_LINE:0:COMP_POINT} last

    last=${line##*[[:space:]]}
    last=${last##*,}
    [[ $cur == = ]] && cur=
    if [[ $last == *=* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_iomemfs_values "${last%%=*}")" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -P "${cur%"$last"}" -W "$options" -- "$last")
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
    fi
}

_iomemfs() {
    local cur=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}

    COMPREPLY=()
    if [[ $line =~ [[:space:]]-o[[:space:]]*[^[:space:]]*$ ]]; then
        _iomemfs_mount_option
    elif [[ $cur == -* && ${1##*/} == mount.iomemfs ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-f -n -o -s -t -v' -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(
            compgen -W '-f -h -o -v -V --foreground --verbose --help --version --upgrade' -- "$cur"
        )
    elif [[ $line == *' --upgrade '* ]]; then
        mapfile -t COMPREPLY < <(
            compgen -W "$(findmnt -n -l -t fuse.iomemfs -o TARGET 2>/dev/null)" -- "$cur"
        )
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    fi
}

complete -F _iomemfs iomemfs mount.iomemfs
