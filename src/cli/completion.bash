# SPDX-License-Identifier: MIT
# bash completion for iomem(1)

_iomem_names() {
    local mount=()
    [[ -n $1 ]] && mount=(-m "$1")
    iomem "${mount[@]}" ls -n -r -o NAME 2>/dev/null
}

_iomem() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local commands='ls stat who create resize seal rm wait events exec'
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

    COMPREPLY=()
    case $prev in
    -m | --mount)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    -o | --output)
        [[ $command == who ]] && columns='PID USER COMMAND FD ACCESS VIA'
        mapfile -t COMPREPLY < <(compgen -W "$columns" -- "$cur")
        return
        ;;
    esac

    case $command:$cur in
    :-*) mapfile -t COMPREPLY < <(compgen -W '--mount --help --version' -- "$cur") ;;
    :*) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
    ls:-* | stat:-* | who:-*)
        mapfile -t COMPREPLY < <(compgen -W '--bytes --json --noheadings --output --raw --help' -- "$cur")
        ;;
    create:-*)
        mapfile -t COMPREPLY < <(
            compgen -W '--mode --fixed --ephemeral --owner --populate --huge --help' -- "$cur"
        )
        ;;
    events:-*) mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur") ;;
    wait:-*) mapfile -t COMPREPLY < <(compgen -W '--timeout --help' -- "$cur") ;;
    resize:-* | seal:-* | rm:-*) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$cur") ;;
    exec:-*) mapfile -t COMPREPLY < <(compgen -W '--read-only --help' -- "$cur") ;;
    create:*) [[ $prev == --owner ]] && mapfile -t COMPREPLY < <(compgen -W 'service container' -- "$cur") ;;
    seal:*)
        if [[ $prev == seal ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_iomem_names "$where")" -- "$cur")
        else
            mapfile -t COMPREPLY < <(
                compgen -W 'shrink grow write shrink,grow shrink,grow,write' -- "$cur"
            )
        fi
        ;;
    events:* | ls:*) ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$(_iomem_names "$where")" -- "$cur") ;;
    esac
}

complete -F _iomem iomem
