# SPDX-License-Identifier: MIT
# fish completion for iomem(1)

# The words of the command line without iomem itself and its option -m.
function __iomem_words
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -m --mount
                set -e words[1]
                set -e words[1]
            case '--mount=*' '-m*'
                set -e words[1]
            case '*'
                break
        end
    end
    string join \n -- $words
end

# Whether no command has been given yet.
function __iomem_needs_command
    test (count (__iomem_words)) -eq 0
end

# Whether the command is one of these.
function __iomem_is
    set -l words (__iomem_words)
    set -q words[1]; and contains -- $words[1] $argv
end

# Whether so many arguments have been given to the command, options aside.
function __iomem_has_arguments
    set -l words (__iomem_words)
    set -e words[1]
    test (count (string match -v -- '-*' $words)) -eq $argv[1]
end

# Names of regions of the mount that the command line names.
function __iomem_regions
    set -l words (commandline -opc)
    set -l mount
    for i in (seq 2 (count $words))
        if contains -- $words[$i] -m --mount; and set -q words[(math $i + 1)]
            set mount -m $words[(math $i + 1)]
        end
    end
    iomem $mount ls -n -r -o NAME 2>/dev/null
end

complete -c iomem -f
complete -c iomem -s m -l mount -r -F -d 'Mount point or socket'
complete -c iomem -s h -l help -d 'Display help'
complete -c iomem -n __iomem_needs_command -s V -l version -d 'Display version'

complete -c iomem -n __iomem_needs_command -a ls -d 'List regions'
complete -c iomem -n __iomem_needs_command -a list -d 'List regions'
complete -c iomem -n __iomem_needs_command -a stat -d 'Show all there is to know of regions'
complete -c iomem -n __iomem_needs_command -a who -d 'Show who uses a region, or the whole mount'
complete -c iomem -n __iomem_needs_command -a df -d 'Show the space of the mount and of each limit'
complete -c iomem -n __iomem_needs_command -a create -d 'Make a region'
complete -c iomem -n __iomem_needs_command -a resize -d 'Change the size of a region'
complete -c iomem -n __iomem_needs_command -a seal -d 'Forbid for good to shrink, grow or write'
complete -c iomem -n __iomem_needs_command -a rm -d 'Remove regions'
complete -c iomem -n __iomem_needs_command -a remove -d 'Remove regions'
complete -c iomem -n __iomem_needs_command -a del -d 'Remove regions'
complete -c iomem -n __iomem_needs_command -a limit -d 'Limit the memory and the files of a directory'
complete -c iomem -n __iomem_needs_command -a wait -d 'Wait until regions exist'
complete -c iomem -n __iomem_needs_command -a events -d 'Show what happens, as it happens'
complete -c iomem -n __iomem_needs_command -a exec -d 'Run a command with the descriptor of a region'
complete -c iomem -n __iomem_needs_command -a top -d 'Show regions and what happens, live'
complete -c iomem -n __iomem_needs_command -a umount -d 'Unmount, or show who is in the way'
complete -c iomem -n __iomem_needs_command -a help -d 'Show how a command is used'

complete -c iomem -n '__iomem_is ls list stat who df' -s b -l bytes -d 'Print sizes in bytes'
complete -c iomem -n '__iomem_is ls list stat who df' -l color -a 'auto always never' -d 'Use colors'
complete -c iomem -n '__iomem_is ls list stat who df events' -s J -l json -d 'Use JSON output format'
complete -c iomem -n '__iomem_is ls list stat who df' -s n -l noheadings -d 'Don\'t print headings'
complete -c iomem -n '__iomem_is ls list stat' -s o -l output -x -d 'Columns to print' \
    -a '(__fish_append , NAME SIZE ALLOCATED MODE USER GROUP SEALS FLAGS REFS CREATED CREATOR INODE LINKS NAME_ESCAPED)'
complete -c iomem -n '__iomem_is who' -s o -l output -x -d 'Columns to print' \
    -a '(__fish_append , PID USER COMMAND FD ACCESS VIA NAME)'
complete -c iomem -n '__iomem_is df' -s o -l output -x -d 'Columns to print' \
    -a '(__fish_append , DIRECTORY SIZE USED AVAIL USE% FILES FUSED FAVAIL FUSE% OVERCOMMIT)'
complete -c iomem -n '__iomem_is ls list stat who df' -s r -l raw -d 'Use raw output format'

complete -c iomem -n '__iomem_is create' -s M -l mode -x -a '0600 0640 0644 0660 0666' -d Permissions
complete -c iomem -n '__iomem_is create' -l fixed -d 'Its size never changes'
complete -c iomem -n '__iomem_is create' -l ephemeral -d 'The name goes with the last reference'
complete -c iomem -n '__iomem_is create' -l owner -x -a 'service container' -d 'The name goes after the end of this owner'
complete -c iomem -n '__iomem_is create' -l populate -d 'All memory is there from the start'
complete -c iomem -n '__iomem_is create' -l huge -d 'Use huge pages'

complete -c iomem -n '__iomem_is resize' -s f -l force -d 'Shrink it although somebody uses it'
complete -c iomem -n '__iomem_is top' -s b -l batch -d 'Write text'
complete -c iomem -n '__iomem_is top' -s d -l delay -x -d 'Seconds between two looks'
complete -c iomem -n '__iomem_is top' -s F -l filter -x -d 'Show only names that contain this'
complete -c iomem -n '__iomem_is top' -s n -l iterations -x -d 'End after so many looks'
complete -c iomem -n '__iomem_is top' -s r -l reverse -d 'Reverse the order'
complete -c iomem -n '__iomem_is top' -s s -l sort -x -a 'size allocated growth users age name' -d Order
complete -c iomem -n '__iomem_is top' -s t -l tree -d 'Show directories, with their sums'
complete -c iomem -n '__iomem_is umount' -s l -l lazy -d 'Detach it now'
complete -c iomem -n '__iomem_is umount' -a '(__fish_complete_directories)'
complete -c iomem -n '__iomem_is wait' -s t -l timeout -x -d 'Give up after so many seconds'
complete -c iomem -n '__iomem_is exec' -s r -l read-only -d 'Hand on a descriptor for reading only'

complete -c iomem -n '__iomem_is stat rm remove del' -a '(__iomem_regions)' -d Region
complete -c iomem -n '__iomem_is who resize seal exec; and __iomem_has_arguments 0' \
    -a '(__iomem_regions)' -d Region
complete -c iomem -n '__iomem_is df limit; and __iomem_has_arguments 0' \
    -a '(__fish_complete_directories)'
complete -c iomem -n '__iomem_is limit; and not __iomem_has_arguments 0' -a 'size= nr_inodes= none'
complete -c iomem -n '__iomem_is seal; and __iomem_has_arguments 1' \
    -a '(__fish_append , shrink grow write)' -d Seal
complete -c iomem -n '__iomem_is exec; and not __iomem_has_arguments 0' \
    -a '(__fish_complete_subcommand)'
