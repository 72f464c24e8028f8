# SPDX-License-Identifier: MIT
"""What is measured: lines of cells, and the goals that some of them have."""

import dataclasses

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Columns, in the order of the tables.
LABELS = {
    "tmpfs": "tmpfs",
    "memfd": "memfd",
    "hp": "passthrough_hp",
    "memfs": "memfs_ll",
    "iomemfs": "iomemfs",
    "cache": "iomemfs, page cache",
    "pipe": "pipe",
    "socket": "Unix socket",
    "queue": "POSIX queue",
    "spin": "iomemfs, spinning",
    "same": "empty server, same CPU",
    "other": "empty server, spinning on another CPU",
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


def on_file_systems(ctl=False, flags=None, subdirectory=None, only=FILE_SYSTEMS, **options):
    """A cell for each file system.  ctl: iomemfs makes the region by command."""
    cells = []
    for peer in only:
        ours = peer in ("iomemfs", "cache")
        place = None if peer == "memfd" else f"@{peer}" + (f"/{subdirectory}" if subdirectory
                                                           else "")
        cells.append(Cell(peer, None if peer == "memfd" else peer, arguments(
            dir=place, ctl=(ctl and ours) or None, flags=flags if ours else None, **options)))
    return cells


def memory_lines(quick):
    size = 16 * MIB if quick else 256 * MIB
    wide = 64 * MIB if quick else GIB
    peers = ("tmpfs", "memfd", "hp", "memfs", "iomemfs", "cache")

    def line(workload, title, unit="ns", size=size, only=peers, flags=None, suffix="",
             ratios=ALL_RATIOS):
        return Line(f"memory/{workload}{suffix}", "memory", title, workload,
                    on_file_systems(ctl=True, only=only, flags=flags, size=size), unit, ratios)

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
        line("populate", "create with all pages there, a page", flags="populate",
             only=("tmpfs", "memfd", "iomemfs"), ratios=ALL_RATIOS[:1]),
        line("populate", "the same, `populate huge`", flags="populate huge", suffix="-huge",
             only=("tmpfs", "iomemfs"), ratios=ALL_RATIOS[:1]),
        line("fork-touch", "fork and touch, a page"),
        line("munmap", "munmap, a page"),
        line("bounce", "a cache line there and back", size=MIB),
    ]


def io_lines(quick):
    sizes = ((4 * KIB, "4 KiB"), (64 * KIB, "64 KiB"), (MIB, "1 MiB"))
    peers = ("tmpfs", "memfd", "hp", "memfs", "iomemfs", "cache")
    lines = []

    def line(workload, title, suffix, ctl=True, **options):
        lines.append(Line(f"io/{workload}-{suffix}", "io", f"{workload} {title}", workload,
                          on_file_systems(ctl=ctl, only=peers, size=16 * MIB, **options),
                          ratios=ALL_RATIOS))

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


def name_lines(quick):
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
    }
    lines = []

    def line(workload, count, clients, suffix, note):
        lines.append(Line(
            f"names/{workload}-{suffix}", "names", f"{titles[workload]}; {note}", workload,
            on_file_systems(subdirectory=f"n{count}", count=count, size=4 * KIB,
                            clients=clients),
            ratios=ALL_RATIOS))

    for workload in titles:
        for count in populations(quick):
            if quick and count == 1 and workload not in ("create", "lookup"):
                continue
            line(workload, count, 1, count, f"{count} regions" if count > 1 else "1 region")
    for workload in ("open-close", "stat", "life"):
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
    cells = [*on_file_systems(subdirectory="n100", only=("hp", "memfs", "iomemfs", "cache")),
             *(Cell(via, "tmpfs", arguments(dir="@tmpfs/n100", via=via), "floor")
               for via in ("same", "other"))]
    return [Line("request/lookup", "request", "stat of a name that is not there", "lookup", cells,
                 ratios=tuple(("iomemfs", peer) for peer in ("same", "other", "hp", "memfs")))]


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
    "request": "One request",
    "message": "Messages",
    "handover": "Hand-over",
}


# The lines that the picture has: one of each kind.
PICTURED = (r"memory/(store|load|random|touch|touch-huge|fork-touch|munmap|bounce)"
            r"|io/(pread|pwrite)-(4KiB|64KiB|1MiB)|io/append-4KiB|names/.*-100"
            r"|message/.*")


def all_lines(quick):
    makers = (memory_lines, io_lines, name_lines, floor_lines, message_lines, handover_lines)
    return [line for make in makers for line in make(quick)]


def goals(quick):
    """What the project set out to reach."""
    most = populations(quick)[-1]

    def versus(title, line, least, peer="tmpfs", subject="iomemfs"):
        return Goal(title, (line, subject), (line, peer), least)

    def flat(title, workload):
        return Goal(f"{title} at {most} regions against 1", (f"names/{workload}-{most}", "iomemfs"),
                    (f"names/{workload}-1", "iomemfs"), 0.8)

    return [
        versus("mapped store", "memory/store", 0.98),
        versus("mapped load", "memory/load", 0.98),
        versus("mapped random access", "memory/random", 0.98),
        versus("random access to a `populate huge` region", "memory/random-huge", 1.2),
        versus("the same, each load after the last", "memory/chase-huge", 1.2),
        versus("first touch", "memory/touch", 0.97),
        Goal("first touch of a `populate huge` region", ("memory/touch-huge", "iomemfs"),
             ("memory/touch", "tmpfs"), 20),
        versus("pread 4 KiB", "io/pread-4KiB", 0.85),
        versus("pwrite 4 KiB", "io/pwrite-4KiB", 0.75),
        versus("pread 1 MiB", "io/pread-1MiB", 0.95),
        versus("pwrite 1 MiB", "io/pwrite-1MiB", 0.95),
        versus("open + close", "names/open-close-100", 4, "hp"),
        versus("create", "names/create-100", 3, "hp"),
        versus("stat of a name that is not there (LOOKUP)", "names/lookup-100", 3, "hp"),
        versus("rename", "names/rename-100", 3, "hp"),
        versus("unlink", "names/unlink-100", 3, "hp"),
        flat("create", "create"),
        flat("lookup", "lookup"),
    ]
