# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for iomem(1)

# _iomem_reply WORDS: those that the word under the cursor can become.
_iomem_reply() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# Names of regions, or the files of a path.
_iomem_names() {
    local mount=()
    if [[ $cur == /* || $cur == ./* || $cur == ../* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
    fi
    [[ -n $where ]] && mount=(-m "$where")
    _iomem_reply "$(iomem "${mount[@]}" ls -n -r -o NAME 2>/dev/null)"
}

_iomem_options() {
    case $command in
    '') _iomem_reply '--mount --help --version' ;;
    ls | stat | who | df) _iomem_reply '--bytes --color --json --noheadings --output --raw --mount --help' ;;
    create) _iomem_reply '--mode --fixed --ephemeral --owner --populate --huge --mount --help' ;;
    resize) _iomem_reply '--force --mount --help' ;;
    events) _iomem_reply '--json --mount --help' ;;
    wait) _iomem_reply '--timeout --mount --help' ;;
    exec) _iomem_reply '--read-only --mount --help' ;;
    top) _iomem_reply '--batch --delay --filter --iterations --reverse --sort --tree --mount --help' ;;
    umount) _iomem_reply '--lazy --mount --help' ;;
    *) _iomem_reply '--mount --help' ;;
    esac
}

# Values of an option; false if the word before the cursor takes none.
_iomem_values() {
    local columns='NAME SIZE ALLOCATED MODE USER GROUP SEALS FLAGS REFS CREATED CREATOR INODE LINKS NAME_ESCAPED'

    case $prev in
    -m | --mount)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    -o | --output)
        [[ $command == who ]] && columns='PID USER COMMAND FD ACCESS VIA NAME'
        [[ $command == df ]] && columns='DIRECTORY SIZE USED AVAIL USE% FILES FUSED FAVAIL FUSE% OVERCOMMIT'
        _iomem_reply "$columns"
        ;;
    -M | --mode) _iomem_reply '0600 0640 0644 0660 0666' ;;
    --owner) _iomem_reply 'service container' ;;
    --color) _iomem_reply 'auto always never' ;;
    -s | --sort) _iomem_reply 'size allocated growth users age name' ;;
    --timeout | --delay | --iterations | --filter) ;;
    -t) [[ $command == wait ]] ;;
    *) return 1 ;;
    esac
}

_iomem() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' where='' word
    local -i i

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        -m | --mount)
            where=${COMP_WORDS[i + 1]}
            i+=1
            ;;
        -*) ;;
        *) command=${command:-$word} ;;
        esac
    done

    case $command in
    list) command='ls' ;;
    remove | del) command='rm' ;;
    esac
    COMPREPLY=()
    _iomem_values && return
    case $command:$cur in
    *:-*) _iomem_options ;;
    :* | help:*) _iomem_reply 'ls list stat who df create resize seal rm remove del limit wait events exec top umount help' ;;
    umount:*) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    seal:*)
        if [[ $prev == seal ]]; then
            _iomem_names
        else
            _iomem_reply 'shrink grow write shrink,grow shrink,grow,write'
        fi
        ;;
    limit:*)
        if [[ $prev == limit ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        else
            compopt -o nospace 2>/dev/null
            _iomem_reply 'size= nr_inodes= none'
        fi
        ;;
    create:* | events:* | ls:* | df:* | top:*)
        if [[ $cur == /* || $cur == .* ]]; then
            _iomem_names
        fi
        ;;
    *) _iomem_names ;;
    esac
}

complete -F _iomem iomem
