# SPDX-License-Identifier: MIT
# bash completion for iomem(1)

_iomem_names() {
    local mount=()
    [[ -n $1 ]] && mount=(-m "$1")
    iomem "${mount[@]}" ls -n -r -o NAME 2>/dev/null
}

_iomem() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local commands='ls list stat who create resize seal rm remove del wait events exec umount help'
    local columns='NAME SIZE ALLOCATED MODE USER GROUP SEALS FLAGS REFS CREATED CREATOR INODE LINKS'
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
        *)
            command=$word
            break
            ;;
        esac
    done

    case $command in
    list) command=ls ;;
    remove | del) command=rm ;;
    esac
    COMPREPLY=()
    case $prev in
    -m | --mount)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    -o | --output)
        [[ $command == who ]] && columns='PID USER COMMAND FD ACCESS VIA NAME'
        mapfile -t COMPREPLY < <(compgen -W "$columns" -- "$cur")
        return
        ;;
    esac

    case $command:$cur in
    :-*) mapfile -t COMPREPLY < <(compgen -W '--mount --help --version' -- "$cur") ;;
    :*) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
    ls:-* | stat:-* | who:-*)
        mapfile -t COMPREPLY < <(compgen -W '--bytes --color --json --noheadings --output --raw --mount --help' -- "$cur")
        ;;
    create:-*)
        mapfile -t COMPREPLY < <(
            compgen -W '--mode --fixed --ephemeral --populate --huge --mount --help' -- "$cur"
        )
        ;;
    events:-*) mapfile -t COMPREPLY < <(compgen -W '--json --mount --help' -- "$cur") ;;
    wait:-*) mapfile -t COMPREPLY < <(compgen -W '--timeout --mount --help' -- "$cur") ;;
    resize:-*) mapfile -t COMPREPLY < <(compgen -W '--force --mount --help' -- "$cur") ;;
    seal:-* | rm:-*) mapfile -t COMPREPLY < <(compgen -W '--mount --help' -- "$cur") ;;
    help:*) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
    exec:-*) mapfile -t COMPREPLY < <(compgen -W '--read-only --mount --help' -- "$cur") ;;
    seal:*)
        if [[ $prev == seal ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_iomem_names "$where")" -- "$cur")
        else
            mapfile -t COMPREPLY < <(
                compgen -W 'shrink grow write shrink,grow shrink,grow,write' -- "$cur"
            )
        fi
        ;;
    umount:-*) mapfile -t COMPREPLY < <(compgen -W '--lazy --mount --help' -- "$cur") ;;
    umount:*) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    create:* | events:* | ls:*) ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$(_iomem_names "$where")" -- "$cur") ;;
    esac
}

complete -F _iomem iomem
