# SPDX-License-Identifier: MIT
# fish completion for iomemfs(8)

function __iomemfs_mount_options
    printf '%s\t%s\n' \
        size= 'Limit on memory' \
        nr_inodes= 'Limit on files and directories' \
        mode= 'Permissions of the root directory' \
        uid= 'Owner of the root directory' \
        gid= 'Group of the root directory' \
        passthrough=auto 'The kernel reaches the memory directly if it can' \
        passthrough=on 'Fail if the kernel cannot reach the memory directly' \
        passthrough=off 'The kernel never reaches the memory directly' \
        socket= 'Path of the socket that gives out descriptors' \
        socket=none 'No socket' \
        clients= 'Connections for each user of the socket' \
        waits= 'Pending waits for each user of the socket' \
        unfinished= 'Bytes of unfinished lines for each user of the socket' \
        unread= 'Bytes of replies not read for each user of the socket' \
        spin= 'Microseconds to poll for the next request' \
        latency=auto 'Make idle processors wake up fast where it gains much' \
        latency=low 'Make idle processors wake up fast' \
        latency=normal 'Let idle processors sleep' \
        grace= 'Seconds an ephemeral region waits for its first use' \
        huge=never 'No huge pages by default' \
        huge=always 'Huge pages for all new regions' \
        xattr=on 'Extended attributes' \
        xattr=off 'No extended attributes' \
        acl=on 'Access control lists' \
        acl=off 'No access control lists' \
        ctl= 'Name of the directory of control files' \
        ctl=off 'No control files' \
        remount 'Change the limits of an existing mount' \
        allow_other 'Let other users access the mount' \
        ro Read-only rw Writable \
        nosuid 'Ignore set-user-ID bits' \
        nodev 'No devices' \
        noexec 'Run no programs' \
        noatime 'Keep no access times' \
        nosymfollow 'Follow no symbolic links'
end

complete -c iomemfs -s f -l foreground -d 'Stay in the foreground'
complete -c iomemfs -s v -l verbose -d 'Log more'
complete -c iomemfs -s h -l help -d 'Show help and exit'
complete -c iomemfs -s V -l version -d 'Show the version and exit'
complete -c iomemfs -s o -x -d 'Mount options' -a '(__fish_complete_list , __iomemfs_mount_options)'
complete -c iomemfs -l upgrade -x -d 'Let the program now installed serve a mount' \
    -a '(findmnt -n -l -t fuse.iomemfs -o TARGET)'
complete -c iomemfs -f -a '(__fish_complete_directories)'
