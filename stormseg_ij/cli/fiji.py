"""`stormseg install-fiji`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stormseg_ij.install_fiji import Report


def install(arguments: argparse.Namespace) -> int:
    """Put StormSeg into a Fiji, or take it out."""
    from stormseg_ij import install_fiji

    if arguments.uninstall:
        report = install_fiji.uninstall(arguments.folder, dry_run=arguments.dry_run)
        lines = _taken_out(report)
    else:
        report = install_fiji.install(arguments.folder, python=arguments.python, dry_run=arguments.dry_run)
        lines = _put_in(report)
    print(f"Fiji: {report.fiji}" + (" (dry run: nothing is changed)" if arguments.dry_run else ""))
    for text in lines:
        print(text)
    return 0


def _put_in(report: Report) -> list[str]:
    done = report.done
    lines = []
    for part in report.parts:
        count = "1 file" if len(part.files) == 1 else f"{len(part.files)} files"
        lines.append(f"{part.name}: {count} -> {part.folder} ({_changes(report, part.files)})")
    lines.append("jars: " + ", ".join(f"{name} {state}" for name, state in (report.jars or {}).items()))
    lines.append(f"Python: {report.python}")
    if done.removed:
        lines.append("removed, no longer part of StormSeg: " + ", ".join(done.removed))
    lines += _kept(report)
    if not done.changes:
        return [*lines, "Nothing to change: all is there. In Fiji: Plugins > StormSeg > Segment Nuclei"]
    return [*lines, f"{'Restart' if report.running else 'Start'} Fiji: Plugins > StormSeg > Segment Nuclei"]


def _taken_out(report: Report) -> list[str]:
    lines = [f"removed: {len(report.done.removed)} files"]
    if jars := [name for name in report.done.removed if name.endswith(".jar")]:
        lines.append(f"jars among them: {', '.join(jars)}")
    lines += [f"stays: {name} ({why})" for name, why in report.left.items()]
    lines += _kept(report)
    if report.strangers:
        lines.append("stay, not put there by StormSeg: " + ", ".join(report.strangers))
    if not report.done.changes:
        lines[0] = "Nothing of StormSeg is installed there."
    elif report.running:
        lines.append("Restart Fiji: until then its menu has the commands.")
    return lines


def _kept(report: Report) -> list[str]:
    return [f"not StormSeg's, or changed; kept: {name} -> {aside}" for name, aside in report.done.kept.items()]


def _changes(report: Report, files: tuple[str, ...]) -> str:
    done = report.done
    states = {"added": done.added, "replaced": done.replaced, "as they were": done.same}
    counts = {state: len({*names} & {*files}) for state, names in states.items()}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
