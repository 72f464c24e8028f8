# SPDX-License-Identifier: MIT
"""The results as a table for people, as JSON, and as a picture."""

import html
import math
import re
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

    def ratios(self, subject, peer):
        """How many times as fast the subject, (line, column), was in each round."""
        if subject[0] not in self.lines or peer[0] not in self.lines:
            return []
        bandwidth = self.lines[subject[0]].unit == "GB/s"
        pairs = zip(self.values[subject[0]].get(subject[1], ()),
                    self.values[peer[0]].get(peer[1], ()))
        return [(s / p if bandwidth else p / s) for s, p in pairs if s and p]


def ratio_text(ratios):
    if not ratios:
        return "–"
    low, middle, high = min(ratios), median(ratios), max(ratios)

    def digits(value):
        return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}" if value >= 1 else f"{value:.2f}"
    return f"{digits(middle)} ({digits(low)}–{digits(high)})"


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
                     *(ratio_text(results.ratios((line.id, s), (line.id, p)))
                       if (s, p) in line.ratios else "" for s, p in pairs)])
    return rows_as_markdown(rows)


def goal_rows(results, goals):
    rows = [["", "peer", "to reach", "measured", ""]]
    for goal in goals:
        if goal.subject[0] not in results.lines or goal.peer[0] not in results.lines:
            continue
        ratios = results.ratios(goal.subject, goal.peer)
        verdict = "not measured" if not ratios else (
            "reached" if median(ratios) >= goal.least else "not reached")
        peer = "itself" if goal.peer[1] == goal.subject[1] else plan.LABELS[goal.peer[1]]
        rows.append([goal.title, peer, f"≥ {goal.least:g}", ratio_text(ratios),
                     verdict])
    return rows


def check_rows(checks):
    rows = [["", "measured"]]
    for name, check in checks.items():
        if name == "requests":
            rows.append([f"requests to the daemon during {check['calls']} reads, writes and stores",
                         f"{check['data_requests']} of READ and WRITE, "
                         f"{check['other_requests']} of other kinds"])
        elif name == "idle":
            rows.append([f"processor time of the daemon in {check['seconds']} s without a request",
                         f"{check['processor_seconds'] * 1000:.0f} ms"])
        elif name.startswith("memory "):
            label = plan.LABELS[name.split()[1]]
            rows.append([f"memory per region beside its pages, {label}",
                         f"daemon {check['daemon_bytes']:.0f} bytes, "
                         f"kernel {check['kernel_bytes']:.0f} bytes"])
        elif name == "restarts":
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
             "times as fast, with the least and the greatest of the rounds.",
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


# The picture: for each line a bar from 1 to the median ratio on a logarithmic axis, and a thin
# line from the least to the greatest.

WIDTH, LEFT, RIGHT, ROW, TOP = 960, 330, 190, 18, 46
COLOURS = {"tmpfs": "#2b6cb0", "hp": "#b7791f", "memfs": "#2f855a", "pipe": "#6b46c1",
           "socket": "#97266d", "queue": "#4a5568"}


def bars_of(results):
    bars = []
    for line in results.lines.values():
        if not re.fullmatch(plan.PICTURED, line.id):
            continue
        for subject, peer in line.ratios:
            ratios = results.ratios((line.id, subject), (line.id, peer))
            if ratios:
                bars.append((line.title, subject, peer, ratios))
    return bars


def as_svg(results):
    bars = bars_of(results)
    if not bars:
        return None
    lowest = min(0.5, min(min(ratios) for *_, ratios in bars))
    highest = max(2, max(max(ratios) for *_, ratios in bars))
    low, high = math.log10(lowest), math.log10(highest)

    def x(value):
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = TOP + ROW * len(bars) + 14
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="11">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
           f'<text x="{LEFT}" y="16" font-size="13">How many times as fast as the peer '
           '(logarithmic; thin line: all rounds)</text>']
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = x(10 ** power)
        out.append(f'<path d="M{at:.1f} {TOP - 8}V{height - 10}" '
                   f'stroke="{"#333" if power == 0 else "#ddd"}"/>'
                   f'<text x="{at:.1f}" y="{TOP - 12}" text-anchor="middle">'
                   f'{10 ** power:g}</text>')
    previous = None
    for i, (title, subject, peer, ratios) in enumerate(bars):
        y, middle = TOP + ROW * i, median(ratios)
        start, end = sorted((x(1), x(middle)))
        if title != previous:
            out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">'
                       f'{html.escape(title.replace("`", ""))}</text>')
        previous = title
        out.append(f'<rect x="{start:.1f}" y="{y + 3}" width="{end - start:.1f}" height="11" '
                   f'fill="{COLOURS[peer]}"/>'
                   f'<path d="M{x(min(ratios)):.1f} {y + 8.5}H{x(max(ratios)):.1f}" '
                   'stroke="#000"/>'
                   f'<text x="{WIDTH - RIGHT + 8}" y="{y + 12}" fill="{COLOURS[peer]}">'
                   f'{middle:.3g} × {html.escape(plan.LABELS[peer])}'
                   f'{" (page cache)" if subject == "cache" else ""}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
