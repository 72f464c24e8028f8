# SPDX-License-Identifier: MIT
"""What is measured: lines of cells, and the goals that some of them have."""

import dataclasses

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Columns, in the order of the tables.
LABELS = {
    "tmpfs": "tmpfs",
    "memfd": "memfd",
    "tmpfs-fallocate": "tmpfs, fallocate(2)",
    "hp": "passthrough_hp",
    "hp-short": "passthrough_hp, short wake-ups",
    "memfs": "memfs_ll",
    "memfs-short": "memfs_ll, short wake-ups",
    "iomemfs": "iomemfs",
    "normal": "iomemfs, latency=normal",
    "cache": "iomemfs, page cache",
    "pipe": "pipe",
    "socket": "Unix socket",
    "queue": "POSIX queue",
    "spin": "iomemfs, spinning",
    "same": "empty server, same CPU",
    "other": "empty server, spinning on another CPU",
    "other-short": "empty server, spinning, short wake-ups",
    "scm": "bare SCM_RIGHTS",
    "tmpfs-poll": "tmpfs, open in a loop",
    "tmpfs-sleep": "tmpfs, open every 1 ms",
    "iomemfs-poll": "iomemfs, open in a loop",
    "iomemfs-wait": "iomemfs, wait by the socket",
}


@dataclasses.dataclass
class Cell:
    """One number of a line: a column, the peer (None: no directory) and the arguments."""
    column: str
    peer: str | None
    arguments: list
    workload: str | None = None  # if it is not the line's
    short: bool = False  # short wake-ups are asked for meanwhile, whatever the peer does itself


@dataclasses.dataclass
class Line:
    """The same work for several peers."""
    id: str
    group: str
    title: str
    workload: str
    cells: list
    unit: str = "ns"  # or GB/s
    ratios: tuple = (("iomemfs", "tmpfs"),)
    placed: bool = False  # each round is as fast as where its pages lie: the best is compared


@dataclasses.dataclass
class Goal:
    """One side, (line, column), must be so many times as fast as the other."""
    title: str
    subject: tuple
    peer: tuple
    least: float


def arguments(**options):
    """As the measuring program takes them: name=None is left out, True is a flag."""
    result = []
    for name, value in options.items():
        if value is True:
            result.append(f"--{name}")
        elif value is not None:
            result += [f"--{name}", str(value)]
    return result


FILE_SYSTEMS = ("tmpfs", "hp", "memfs", "iomemfs", "cache")
ALL_RATIOS = (("iomemfs", "tmpfs"), ("iomemfs", "hp"), ("cache", "memfs"))
# Where the waking of callers counts: with and without short wake-ups.
NAMES_SYSTEMS = ("tmpfs", "hp", "hp-short", "memfs", "memfs-short", "iomemfs", "normal", "cache")
NAMES_RATIOS = (("iomemfs", "tmpfs"), ("iomemfs", "hp"), ("iomemfs", "hp-short"),
                ("normal", "hp"), ("iomemfs", "normal"), ("cache", "memfs-short"))
SHORT = "-short"


def on_file_systems(ctl=False, flags=None, subdirectory=None, only=FILE_SYSTEMS, **options):
    """A cell for each file system.  ctl: iomemfs makes the region by command."""
    cells = []
    for column in only:
        peer = column.removesuffix(SHORT)
        ours = peer in ("iomemfs", "normal", "cache")
        place = None if peer == "memfd" else f"@{peer}" + (f"/{subdirectory}" if subdirectory
                                                           else "")
        cells.append(Cell(column, None if peer == "memfd" else peer, arguments(
            dir=place, ctl=(ctl and ours) or None, flags=flags if ours else None, **options),
            short=column.endswith(SHORT)))
    return cells


def memory_lines(quick):
    size = 16 * MIB if quick else 256 * MIB
    wide = 64 * MIB if quick else GIB
    peers = ("tmpfs", "memfd", "hp", "memfs", "iomemfs", "cache")

    def line(workload, title, unit="ns", size=size, only=peers, flags=None, suffix="",
             ratios=ALL_RATIOS):
        return Line(f"memory/{workload}{suffix}", "memory", title, workload,
                    on_file_systems(ctl=True, only=only, flags=flags, size=size), unit, ratios,
                    placed=True)

    def populate(suffix, title, flags, only, ratios):
        made = line("populate", title, flags=flags, suffix=suffix, only=only, ratios=ratios)
        made.cells.append(Cell("tmpfs-fallocate", "tmpfs", arguments(
            dir="@tmpfs", via="fallocate", size=size)))
        return made

    return [
        line("store", f"store, {size // MIB} MiB in order", "GB/s"),
        line("load", f"load, {size // MIB} MiB in order", "GB/s"),
        line("random", f"8-byte access at random in {wide // MIB} MiB", size=wide),
        line("random", "access at random, made with `populate huge`", size=wide,
             flags="populate huge", suffix="-huge", only=("tmpfs", "iomemfs"),
             ratios=ALL_RATIOS[:1]),
        line("chase", f"8-byte load at random in {wide // MIB} MiB, each after the last",
             size=wide, only=("tmpfs", "memfd", "iomemfs"), ratios=ALL_RATIOS[:1]),
        line("chase", "each after the last, made with `populate huge`", size=wide,
             flags="populate huge", suffix="-huge", only=("tmpfs", "iomemfs"),
             ratios=ALL_RATIOS[:1]),
        line("touch", "first touch, a page"),
        line("touch", "the same, region made with `populate`", flags="populate",
             suffix="-populate", only=("tmpfs", "iomemfs"), ratios=ALL_RATIOS[:1]),
        line("touch", "the same, made with `populate huge`", flags="populate huge",
             suffix="-huge", only=("tmpfs", "iomemfs"), ratios=ALL_RATIOS[:1]),
        populate("", "create with all pages there, a page", "populate",
                 ("tmpfs", "memfd", "iomemfs"),
                 (("iomemfs", "tmpfs"), ("iomemfs", "tmpfs-fallocate"))),
        populate("-huge", "the same, `populate huge`", "populate huge", ("tmpfs", "iomemfs"),
                 (("iomemfs", "tmpfs"), ("iomemfs", "tmpfs-fallocate"))),
        line("fork-touch", "fork and touch, a page"),
        line("munmap", "munmap, a page"),
        line("bounce", "a cache line there and back", size=MIB),
    ]


def io_lines(quick):
    sizes = ((4 * KIB, "4 KiB"), (64 * KIB, "64 KiB"), (MIB, "1 MiB"))
    peers = ("tmpfs", "memfd", "hp", "memfs", "memfs-short", "iomemfs", "cache")
    ratios = (*ALL_RATIOS, ("cache", "memfs-short"))
    lines = []

    def line(workload, title, suffix, ctl=True, **options):
        lines.append(Line(f"io/{workload}-{suffix}", "io", f"{workload} {title}", workload,
                          on_file_systems(ctl=ctl, only=peers, size=16 * MIB, **options),
                          ratios=ratios))

    for workload in ("pread", "pwrite"):
        for block, name in sizes:
            suffix = name.replace(" ", "")
            line(workload, name, suffix, block=block)
            if not quick or block == 4 * KIB:
                line(workload, f"{name}, 13 bytes off", f"{suffix}-skew", block=block, skew=13)
        line(workload, "4 KiB, file made by open(2)", "4KiB-open", ctl=False, block=4 * KIB)
        for clients in (2, 8):
            line(workload, f"4 KiB, {clients} clients", f"4KiB-{clients}", block=4 * KIB,
                 clients=clients)
    lines.append(Line("io/append-4KiB", "io", "append 4 KiB", "append",
                      on_file_systems(block=4 * KIB, size=0), ratios=ALL_RATIOS))
    return lines


def populations(quick):
    return (1, 100, 1000) if quick else (1, 100, 1000, 15000)


# Directories that are looked at by name only: with many files, or with all that there may be.
MANY_WORKLOADS = ("create", "lookup", "stat", "unlink", "df")


def name_lines(quick, files):
    titles = {
        "open-close": "open + close",
        "open-map-close": "open, map, touch, unmap, close",
        "stat": "stat",
        "lookup": "stat of a name that is not there",
        "create": "create (open with O_CREAT, close)",
        "life": "create, size, unlink",
        "unlink": "unlink",
        "rename": "rename",
        "readdir": "readdir with attributes, an entry",
        "df": "statfs, as df(1)",
        "install": "a package of 10 files, as npm(1) unpacks them",
    }
    lines = []

    def line(workload, count, clients, suffix, note, only=NAMES_SYSTEMS):
        lines.append(Line(
            f"names/{workload}-{suffix}", "names", f"{titles[workload]}; {note}", workload,
            on_file_systems(subdirectory=f"n{count}", count=count, size=4 * KIB,
                            clients=clients, only=only),
            ratios=tuple(pair for pair in NAMES_RATIOS if set(pair) <= set(only))))

    for workload in titles:
        for count in populations(quick):
            if workload in ("df", "install") and count not in (100, 1000):
                continue
            if quick and count == 1 and workload not in ("create", "lookup"):
                continue
            line(workload, count, 1, count, f"{count} regions" if count > 1 else "1 region")
    if files:
        for workload in MANY_WORKLOADS:
            line(workload, files, 1, str(files), f"{files} regions", only=("tmpfs", "iomemfs"))
    for workload in ("open-close", "stat", "life", "install"):
        for clients in (2, 8):
            line(workload, 100, clients, f"100x{clients}", f"100 regions, {clients} clients")
    most = populations(quick)[-1]
    lines.append(Line(
        "names/life-ctl", "names", f"create by command, open, unlink; {most} regions", "life",
        on_file_systems(ctl=True, only=("tmpfs", "iomemfs", "cache"), subdirectory=f"n{most}",
                        size=4 * KIB)))
    return lines


def floor_lines(_quick):
    """What a request costs, beside the least that any FUSE file system must spend on one."""
    cells = [*on_file_systems(subdirectory="n100", only=NAMES_SYSTEMS[1:]),
             *(Cell(column, "tmpfs",
                    arguments(dir="@tmpfs/n100", via=column.removesuffix(SHORT)), "floor",
                    short=column.endswith(SHORT))
               for column in ("same", "other", "other-short"))]
    return [Line("request/lookup", "request", "stat of a name that is not there", "lookup", cells,
                 ratios=(("iomemfs", "other-short"), ("normal", "other"), ("normal", "same"),
                         ("iomemfs", "hp"), ("iomemfs", "hp-short")))]


# Of whole programs: what each is, and how many files it is about.
TREES = {
    "tar": "tar x of {files} files, {size}",
    "find": "find, all of them",
    "ls": "ls -lR, all of them",
    "cp": "cp -a of all of them",
    "git": "git status, {git} files",
    "rm": "rm -rf of both trees",
}


def tree_sizes(quick):
    """Directories, files in each, bytes of a file; and directories of them that are in git."""
    return (15, 20, 17733, 5) if quick else (150, 100, 17733, 30)


def tree_lines(quick):
    directories, each, size, in_git = tree_sizes(quick)
    words = {"files": f"{directories * each:,}", "git": f"{in_git * each:,}",
             "size": f"{directories * each * size / 1e6:.0f} MB"}
    return [Line(f"trees/{name}", "trees", title.format(**words), name,
                 [Cell(column, column.removesuffix(SHORT), [], short=column.endswith(SHORT))
                  for column in ("tmpfs", "hp", "hp-short", "iomemfs", "normal", "cache")],
                 ratios=NAMES_RATIOS[:-1])
            for name, title in TREES.items()]


def message_lines(quick):
    sizes = ((64, "64 B"), (4 * KIB, "4 KiB"), (64 * KIB, "64 KiB"), (MIB, "1 MiB"),
             (64 * MIB, "64 MiB"))
    lines = []
    for size, name in sizes[:4] if quick else sizes:
        cells = [
            Cell("iomemfs", "iomemfs", arguments(dir="@iomemfs", ctl=True, via="region",
                                                 size=size)),
            Cell("spin", "iomemfs", arguments(dir="@iomemfs", ctl=True, via="spin", size=size)),
            Cell("tmpfs", "tmpfs", arguments(dir="@tmpfs", via="region", size=size)),
            *(Cell(via, None, arguments(via=via, size=size))
              for via in ("pipe", "socket", "queue")),
        ]
        lines.append(Line(f"message/{name.replace(' ', '')}", "message",
                          f"one message of {name}", "message", cells,
                          ratios=tuple(("iomemfs", peer)
                                       for peer in ("tmpfs", "pipe", "socket", "queue"))))
    return lines


def handover_lines(_quick):
    by_socket = Cell("iomemfs", "iomemfs", arguments(dir="@iomemfs", ctl=True, size=4 * KIB))
    appear = [
        Cell(f"{peer}-{via}", peer,
             arguments(dir=f"@{peer}", ctl=(peer == "iomemfs") or None, via=via, size=4 * KIB))
        for peer, via in (("tmpfs", "poll"), ("tmpfs", "sleep"), ("iomemfs", "poll"),
                          ("iomemfs", "wait"))]
    return [
        Line("handover/descriptor", "handover", "a descriptor, asked for by name", "descriptor",
             [Cell("scm", None, []), by_socket], ratios=(("iomemfs", "scm"),)),
        Line("handover/appear", "handover", "from create to the other's mapping", "appear",
             appear, ratios=(("iomemfs-wait", "tmpfs-poll"), ("iomemfs-wait", "tmpfs-sleep"),
                             ("iomemfs-poll", "tmpfs-poll"))),
    ]


GROUPS = {
    "memory": "Memory",
    "io": "read(2) and write(2)",
    "names": "Names",
    "trees": "Whole programs",
    "request": "One request",
    "message": "Messages",
    "handover": "Hand-over",
}


# The pictures, for people who want to know what to expect: for each the name of its file, its title,
# the lines that it has, and the columns.
@dataclasses.dataclass
class Picture:
    name: str
    title: str
    lines: tuple  # (id, what people call it)
    columns: tuple
    relative: str | None = None  # times as fast as this column, instead of the time itself


def pictures(quick):
    files = populations(quick)[-1]
    return [
        Picture("memory", "Memory and data: times as fast as tmpfs (1: the same)", (
            ("memory/store", "store"), ("memory/load", "load"),
            ("memory/random", "access at random"), ("memory/touch", "first touch"),
            ("memory/touch-huge", "the same, populate huge"),
            ("io/pread-4KiB", "pread 4 KiB"), ("io/pwrite-4KiB", "pwrite 4 KiB"),
            ("io/pread-1MiB", "pread 1 MiB"), ("io/pwrite-1MiB", "pwrite 1 MiB")),
            ("iomemfs", "cache", "hp"), relative="tmpfs"),
        Picture("names", "Names: time for each", (
            ("names/open-close-100", "open + close"), ("names/create-100", "create"),
            ("names/unlink-100", "unlink"), ("names/rename-100", "rename"),
            ("names/lookup-100", "stat of no such name"), ("names/stat-100", "stat"),
            (f"names/readdir-{files}", "readdir, an entry"),
            ("trees/tar", "tar x, all files"), ("trees/find", "find, all files"),
            ("trees/rm", "rm -rf, all files")),
            ("tmpfs", "iomemfs", "normal", "hp", "hp-short")),
        Picture("messages", "Messages: time for each, from one process to another", (
            ("message/64B", "64 bytes"), ("message/4KiB", "4 KiB"), ("message/64KiB", "64 KiB"),
            ("message/1MiB", "1 MiB"), ("message/64MiB", "64 MiB")),
            ("iomemfs", "spin", "pipe", "socket", "queue")),
    ]


def all_lines(quick, files=0):
    """files: how many there are to be at the most; 0 leaves the lines about that out."""
    return [*memory_lines(quick), *io_lines(quick), *name_lines(quick, files),
            *tree_lines(quick), *floor_lines(quick), *message_lines(quick),
            *handover_lines(quick)]


def goals(quick, files=0):
    """What the project set out to reach."""
    most, least_files = files or populations(quick)[-1], 100 if quick else 1000

    def versus(title, line, least, peer="tmpfs", subject="iomemfs"):
        return Goal(title, (line, subject), (line, peer), least)

    def flat(title, workload):
        return Goal(f"{title} at {most:,} regions against {least_files:,}",
                    (f"names/{workload}-{most}", "iomemfs"),
                    (f"names/{workload}-{least_files}", "iomemfs"), 0.8)

    return [
        versus("mapped store", "memory/store", 0.98),
        versus("mapped load", "memory/load", 0.98),
        versus("mapped random access", "memory/random", 0.98),
        versus("first touch", "memory/touch", 0.98),
        Goal("first touch of a `populate huge` region", ("memory/touch-huge", "iomemfs"),
             ("memory/touch", "tmpfs"), 20),
        versus("making a region with `populate`", "memory/populate", 0.85, "tmpfs-fallocate"),
        versus("making a region with `populate huge`", "memory/populate-huge", 4),
        versus("pread 4 KiB", "io/pread-4KiB", 0.90),
        versus("pwrite 4 KiB", "io/pwrite-4KiB", 0.85),
        versus("pread 1 MiB", "io/pread-1MiB", 0.97),
        versus("pwrite 1 MiB", "io/pwrite-1MiB", 0.97),
        versus("open + close", "names/open-close-100", 8, "hp"),
        versus("create", "names/create-100", 5, "hp"),
        versus("unlink", "names/unlink-100", 4, "hp"),
        versus("rename", "names/rename-100", 4, "hp"),
        versus("stat of a name that is not there (LOOKUP)", "names/lookup-100", 4, "hp"),
        versus("tar x", "trees/tar", 6, "hp"),
        versus("tar x", "trees/tar", 0.2, "tmpfs"),
        versus("LOOKUP", "request/lookup", 0.9, "other-short"),
        *(flat(title, workload) for title, workload in (
            ("create", "create"), ("lookup", "lookup"), ("stat", "stat"), ("unlink", "unlink"),
            ("df", "df")) if files or workload != "df"),
    ]
