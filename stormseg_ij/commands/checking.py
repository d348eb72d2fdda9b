"""StormSeg Doctor: what is there to run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormseg_ij.doctor import examine

if TYPE_CHECKING:
    from stormseg_ij.commands.job import Job


def doctor(job: Job) -> None:
    """Look at what is installed, and show it."""
    job.say("looks at Java, ImageJ, TensorFlow, the models ...")
    findings = examine(job.desk.fiji or "none")
    lines = [f"ok     This ImageJ: {job.desk.ij.version} runs the commands"]
    for finding in findings:
        lines.append(f"{'ok' if finding.ok else 'FAULT':7}{finding.part}: {finding.what}")
        if not finding.ok:
            lines.append(f"       to do: {finding.remedy}")
    job.desk.show_text("StormSeg Doctor", "\n".join(lines))
    faults = sum(not finding.ok for finding in findings)
    job.say("all is well" if not faults else f"{faults} of {len(findings)} parts have a fault")
