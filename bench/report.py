# SPDX-License-Identifier: MIT
"""The results as a table for people, as JSON, and as a picture."""

import html
import math
import statistics

import plan

SCALES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


def median(values):
    return statistics.median(values) if values else None


def amount(value, unit):
    if value is None:
        return "–"
    if unit == "GB/s":
        return f"{value:.3g} GB/s"
    scale, name = next((s for s in SCALES if value >= s[0]), SCALES[-1])
    digits = f"{value / scale:.3g}" if value / scale < 999.5 else f"{value / scale:.0f}"
    return f"{digits} {name}"


def amount_of_bytes(number):
    return f"{number / 2**30:.3g} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


class Results:
    """values[line id][column]: one number a round, None where it failed."""

    def __init__(self, lines):
        self.lines = {line.id: line for line in lines}
        self.values = {line.id: {cell.column: [] for cell in line.cells} for line in lines}
        self.failures = {}

    def median(self, line_id, column):
        return median([v for v in self.values[line_id].get(column, ()) if v is not None])

    def best(self, line_id, column):
        values = [v for v in self.values[line_id].get(column, ()) if v is not None]
        if not values:
            return None
        return max(values) if self.lines[line_id].unit == "GB/s" else min(values)

    def ratio(self, subject, peer):
        """How many times as fast in all: the median of the rounds, or best against best."""
        ratios = self.ratios(subject, peer)
        if not ratios or not self.lines[subject[0]].placed:
            return median(ratios)
        one, other = self.best(*subject), self.best(*peer)
        return one / other if self.lines[subject[0]].unit == "GB/s" else other / one

    def ratios(self, subject, peer):
        """How many times as fast the subject, (line, column), was in each round."""
        if subject[0] not in self.lines or peer[0] not in self.lines:
            return []
        bandwidth = self.lines[subject[0]].unit == "GB/s"
        pairs = zip(self.values[subject[0]].get(subject[1], ()),
                    self.values[peer[0]].get(peer[1], ()))
        return [(s / p if bandwidth else p / s) for s, p in pairs if s and p]


def ratio_text(results, subject, peer):
    ratios = results.ratios(subject, peer)
    if not ratios:
        return "–"

    def digits(value):
        return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}" if value >= 1 else f"{value:.2f}"
    return (f"{digits(results.ratio(subject, peer))} "
            f"({digits(min(ratios))}–{digits(max(ratios))})")


def rows_as_markdown(rows):
    """The first row is the header; columns are padded so that the text reads well, too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def show(row):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([show(rows[0]), rule, *map(show, rows[1:])])


def group_table(results, group):
    lines = [line for line in results.lines.values() if line.group == group]
    used = {cell.column for line in lines for cell in line.cells}
    columns = [column for column in plan.LABELS if column in used]
    pairs = list(dict.fromkeys(pair for line in lines for pair in line.ratios))
    header = ["", *(plan.LABELS[c] for c in columns),
              *(f"{plan.LABELS[s]} : {plan.LABELS[p]}" for s, p in pairs)]
    rows = [header]
    for line in lines:
        rows.append([line.title,
                     *(amount(results.median(line.id, c), line.unit) for c in columns),
                     *(ratio_text(results, (line.id, s), (line.id, p))
                       if (s, p) in line.ratios else "" for s, p in pairs)])
    return rows_as_markdown(rows)


def goal_rows(results, goals):
    rows = [["", "peer", "to reach", "measured", ""]]
    for goal in goals:
        if goal.subject[0] not in results.lines or goal.peer[0] not in results.lines:
            continue
        ratio = results.ratio(goal.subject, goal.peer)
        verdict = "not measured" if ratio is None else (
            "reached" if ratio >= goal.least else "not reached")
        peer = "itself" if goal.peer[1] == goal.subject[1] else plan.LABELS[goal.peer[1]]
        rows.append([goal.title, peer, f"≥ {goal.least:g}",
                     ratio_text(results, goal.subject, goal.peer), verdict])
    return rows


def check_rows(checks):
    rows = [["", "measured"]]
    for name, check in checks.items():
        if name == "requests":
            rows.append([f"requests to the daemon during {check['calls']} reads, writes and stores",
                         f"{check['data_requests']} of READ and WRITE, "
                         f"{check['other_requests']} of other kinds"])
        elif name == "files":
            for program, verb in (("tar", "makes"), ("rm", "removes")):
                kinds = sorted(check[program].items(), key=lambda kind: -kind[1])
                rows.append([f"requests for each of {check['files']:,} files that {program}(1) {verb}",
                             f"{sum(value for _, value in kinds):.1f}: " +
                             ", ".join(f"{kind.upper()} {value:.1f}" for kind, value in kinds)])
        elif name == "idle":
            rows.append([f"the daemon in {check['seconds']} s without a request",
                         f"{check['processor_seconds'] * 1000:.0f} ms of processor time, "
                         f"{check['wakeups']} wake-ups; short wake-ups asked for during "
                         f"{check['short_seconds'] * 1000:.1f} ms, most of them of the measuring"])
        elif name.startswith("memory "):
            label = plan.LABELS[name.split()[1]]
            rows.append([f"memory of an empty file that nobody uses, {label}",
                         f"daemon {check['daemon_bytes']:.0f} bytes, "
                         f"kernel {check['kernel_bytes']:.0f} bytes"])
        elif name in ("restarts", "restarts, empty"):
            rows.append([f"from SIGKILL of the worker to the next answer, {check['regions']} regions",
                         f"{check['calls']} kills, median {check['median_us'] / 1000:.2f} ms, "
                         f"99th percentile {check['p99_us'] / 1000:.2f} ms, "
                         f"longest {check['max_us'] / 1000:.2f} ms"])
        elif name == "populating":
            size = amount_of_bytes(check["bytes"])
            for key, when in (("without", "with nothing else to do"),
                              ("during", f"while it populates a region of {size}")):
                times = check[key]
                rows.append([f"stat, open + close, create, {when}",
                             f"{times['calls']} calls, median {times['median_us']:.0f} µs, "
                             f"99th percentile {times['p99_us']:.0f} µs, "
                             f"longest {times['max_us'] / 1000:.1f} ms"])
        else:
            title = "worker killed every 20 ms" if name == "killed" else "worker left alone"
            rows.append([f"{title}, {check['seconds']:g} s of open, write, read, close, stat",
                         f"{check['kills']} kills, {check['calls']} calls, "
                         f"{check['failed']} failed, {check['lost']} lost, "
                         f"longest call {check['worst_ms']:.1f} ms"])
    return rows


def as_markdown(results, goals, checks, machine, rounds, command):
    parts = [f"Measured by `{command}`: {rounds} interleaved rounds; medians; a ratio is how many "
             "times as fast, with the least and the greatest of the rounds. Where it counts where "
             "pages happen to lie, the ratio is that of the best rounds.",
             "\n".join(f"- {line}" for line in machine)]
    rows = goal_rows(results, goals)
    if len(rows) > 1:
        parts += ["### Goals", rows_as_markdown(rows)]
    if checks:
        parts += ["### The daemon", rows_as_markdown(check_rows(checks))]
    for group, title in plan.GROUPS.items():
        if any(line.group == group for line in results.lines.values()):
            parts += [f"### {title}", group_table(results, group)]
    if results.failures:
        parts += ["### Not measured", "\n".join(f"- {what}: {why}"
                                               for what, why in results.failures.items())]
    return "\n\n".join(parts) + "\n"


def as_json(results, checks, machine, rounds, command):
    return {
        "command": command, "machine": machine, "rounds": rounds, "checks": checks,
        "failures": results.failures,
        "lines": [{"id": line.id, "title": line.title,
                   "unit": line.unit if line.unit == "GB/s" else "ns",
                   "values": {plan.LABELS[column]: values
                              for column, values in results.values[line.id].items()}}
                  for line in results.lines.values()],
    }


# The pictures: for each line a group of bars, one for each column, on a logarithmic axis.

WIDTH, LEFT, RIGHT, ROW, GAP, TOP = 860, 190, 90, 13, 9, 74
COLOURS = {"tmpfs": "#718096", "iomemfs": "#2b6cb0", "normal": "#90cdf4", "cache": "#2f855a",
           "hp": "#b7791f", "hp-short": "#f6ad55", "spin": "#63b3ed", "pipe": "#6b46c1",
           "socket": "#97266d", "queue": "#4a5568"}


class Axis:
    """Logarithmic, from a power of ten to another."""

    def __init__(self, values):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)

    def x(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def marks(self, height, text):
        for power in range(self.low, self.high + 1):
            at = self.x(10 ** power)
            yield (f'<path d="M{at:.1f} {TOP - 10}V{height - 8}" stroke="#ddd"/>'
                   f'<text x="{at:.1f}" y="{TOP - 14}" text-anchor="middle" fill="#555">'
                   f'{text(10 ** power)}</text>')


def picture_groups(results, picture):
    """(label, [(column, value, text)]) for each line that was measured."""
    groups = []
    for line_id, label in picture.lines:
        bars = []
        for column in picture.columns if line_id in results.lines else ():
            if picture.relative:
                value = results.ratio((line_id, column), (line_id, picture.relative))
                bars.append((column, value, f"{value:.3g}" if value else ""))
            else:
                value = results.median(line_id, column)
                bars.append((column, value, amount(value, "ns")))
        if any(value for _, value, _ in bars):
            groups.append((label, [bar for bar in bars if bar[1]]))
    return groups


def picture_legend(columns):
    at, out = LEFT, []
    for column in columns:
        label = html.escape(plan.LABELS[column])
        out.append(f'<rect x="{at}" y="28" width="11" height="11" fill="{COLOURS[column]}"/>'
                   f'<text x="{at + 15}" y="38">{label}</text>')
        at += 30 + 6.4 * len(plan.LABELS[column])
    return out


def as_picture(results, picture):
    groups = picture_groups(results, picture)
    if not groups:
        return None
    axis = Axis([value for _, bars in groups for _, value, _ in bars])
    height = TOP + sum(ROW * len(bars) + GAP for _, bars in groups) + 8
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="11">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
           f'<text x="{LEFT}" y="18" font-size="14">{html.escape(picture.title)}</text>',
           *picture_legend([column for column in picture.columns
                            if any(column == bar[0] for _, bars in groups for bar in bars)]),
           *axis.marks(height, (lambda v: f"{v:g}") if picture.relative else
                       (lambda v: amount(v, "ns")))]
    y = TOP
    for label, bars in groups:
        middle = y + ROW * len(bars) / 2 + 4
        out.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">'
                   f'{html.escape(label)}</text>')
        for column, value, text in bars:
            end = axis.x(value)
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" '
                       f'height="{ROW - 2}" fill="{COLOURS[column]}"/>'
                       f'<text x="{end + 4:.1f}" y="{y + 9}" font-size="9.5">{text}</text>')
            y += ROW
        y += GAP
    if picture.relative:
        out.append(f'<path d="M{axis.x(1):.1f} {TOP - 10}V{height - 8}" stroke="#333"/>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def as_pictures(results, pictures):
    """By name; what was not measured at all has none."""
    drawn = {picture.name: as_picture(results, picture) for picture in pictures}
    return {name: text for name, text in drawn.items() if text}


def as_summary(results, pictures, machine, command):
    """The numbers of the pictures, for docs/performance.md."""
    parts = ["\n".join(f"- {line}" for line in machine)]
    for picture in pictures:
        groups = picture_groups(results, picture)
        if not groups:
            continue
        rows = [[picture.title, *(plan.LABELS[column] for column in picture.columns)]]
        for label, bars in groups:
            texts = {column: text for column, _, text in bars}
            rows.append([label, *(texts.get(column, "–") for column in picture.columns)])
        parts.append(rows_as_markdown(rows))
    parts.append(f"Measured by `{command}`.")
    return "\n\n".join(parts) + "\n"
