"""What a comparison is told as: a table for terminals and Markdown, and a chart."""

FLOOR = "relay"


def best_peer(rows):
    """The least processor time of those that are not ours."""
    others = [row["cpu_us"]["median"] for name, row in rows.items() if name != FLOOR and not name.startswith("ringway")]
    return min(others, default=None)


def table(record, workloads):
    lines = [machine_line(record), ""]
    titles = {workload.name: workload.title for workload in workloads}
    for name, rows in record["workloads"].items():
        if rows:
            lines += [f"### {titles[name]}", "", *workload_table(rows), ""]
    for key, kind in (("idle", "idle connections"), ("idle_tls", "idle TLS connections")):
        if record.get(key):
            title = f"### {record[key + '_connections']:,} {kind} that served a request"
            lines += [title, "", *idle_table(record[key]), ""]
    for note in record["notes"]:
        lines.append(f"- {note}")
    return "\n".join(lines)


def machine_line(record):
    machine = record["machine"]
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}; {record['rounds']} rounds of "
        f"{record['seconds']} s; {record['took_s']} s in all; load average before: {machine['load_average']:.1f}"
    )


def workload_table(rows):
    best = best_peer(rows)
    head = ["", "CPU us/request", "to best peer", "requests/s", "p50 us", "p99 us", "p99.9 us", "proxy busy", "load busy"]
    cells = [head]
    for name, row in rows.items():
        cpu = row["cpu_us"]
        cells.append(
            [
                name,
                f"{cpu['median']:.1f} ({cpu['min']:.1f} to {cpu['max']:.1f})",
                f"{cpu['median'] / best:.2f}" if best else "-",
                f"{row['per_second']['median']:.0f}",
                f"{row['p50_us']['median']:.0f}",
                f"{row['p99_us']['median']:.0f}",
                f"{row['p99_9_us']['median']:.0f}",
                f"{row['proxy_busy']['median']:.0%}",
                f"{row['load_busy']['median']:.0%}",
            ]
        )
    return markdown(cells)


def idle_table(rows):
    cells = [["", "bytes/idle connection", "resident MB", "CPU while idle"]]
    for name, row in rows.items():
        cells.append(
            [
                name,
                f"{row['bytes_per_connection']:.0f}",
                f"{row['resident_bytes'] / 1e6:.1f}",
                f"{row['idle_cpu_share']:.2%}",
            ]
        )
    return markdown(cells)


def markdown(cells):
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]

    def line(row):
        padded = [text.ljust(width) if index == 0 else text.rjust(width) for index, (text, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) if index == 0 else "-" * (width + 1) + ":" for index, width in enumerate(widths)) + "|"
    return [line(cells[0]), rule, *map(line, cells[1:])]


# The chart: a group of bars for each workload, each bar's length relative to the best peer's processor time.

COLORS = {
    "ringway": "#e5732a",
    "nginx": "#2a9d6f",
    "haproxy": "#2f6fde",
    "h2o": "#9b51c9",
    "envoy": "#b1275b",
    "relay": "#9aa1a9",
}
WIDTH, LABEL, BAR, GAP, SCALE_MAX = 860, 210, 11, 14, 4.0

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #33383d; } .soft { fill: #6d747b; } .rule { stroke: #d9dcdf; }
@media (prefers-color-scheme: dark) { text { fill: #e4e6e9; } .soft { fill: #a3aab1; } .rule { stroke: #3a3f45; } }
"""


def svg(record, workloads):
    titles = {workload.name: workload.title for workload in workloads}
    names = [name for name in COLORS if any(name in rows for rows in record["workloads"].values())]
    parts, y = [], 64
    span = WIDTH - LABEL - 90
    for name, rows in record["workloads"].items():
        best = best_peer(rows) if rows else None
        if not best:
            continue
        shown = [peer for peer in names if peer in rows]
        height = len(shown) * BAR
        parts.append(f'<text x="{LABEL - 12}" y="{y + height / 2 + 4:.0f}" text-anchor="end">{titles[name]}</text>')
        for index, peer in enumerate(shown):
            cpu = rows[peer]["cpu_us"]["median"]
            length = min(cpu / best, SCALE_MAX) / SCALE_MAX * span
            top = y + index * BAR
            parts.append(
                f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR - 2}" rx="2" fill="{COLORS[peer]}">'
                f"<title>{peer}: {cpu:.1f} us</title></rect>"
                f'<text class="soft" x="{LABEL + length + 5:.1f}" y="{top + BAR - 2}" style="font-size:10px">{cpu:.1f} µs</text>'
            )
        y += height + GAP
    bottom = y
    at_best = LABEL + span / SCALE_MAX
    parts.insert(0, f'<line class="rule" x1="{at_best:.1f}" x2="{at_best:.1f}" y1="56" y2="{bottom}" stroke-dasharray="3 3"/>')
    legend, x = [], LABEL
    for name in names:
        legend.append(f'<rect x="{x}" y="32" width="11" height="11" rx="2" fill="{COLORS[name]}"/><text x="{x + 16}" y="42">{name}</text>')
        x += 30 + 8 * len(name)
    heading = "Processor time of the proxy for each request, relative to the best peer (dashed); shorter is better"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 6}" role="img" aria-label="{heading}">'
        f"<style>{STYLE}</style>"
        f'<text x="16" y="20" style="font-weight:600">{heading}</text>'
        + "".join(legend)
        + "".join(parts)
        + "</svg>\n"
    )
