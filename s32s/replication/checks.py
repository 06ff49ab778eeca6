"""What a source must be before it is compared with anything."""

from __future__ import annotations

from s32s.core import guards
from s32s.core.errors import EntryFailed
from s32s.core.item import Kind
from s32s.core.paths import some
from s32s.replication.job import Job
from s32s.stores.base import Snapshot, StoreCapabilities


def check_source(wanted: Snapshot, job: Job, fits: StoreCapabilities, *, location: str, target: str = "") -> None:
    """Refuse a source that the target could not hold, or that lacks what the job names.

    Args:
        location, target: of the two stores.

    Raises:
        Refused: by the job's own check, or because no directory could hold it.
        EntryFailed: listed files are missing.
    """
    job.check_source(wanted)
    if fits.is_directory:
        guards.check_shape(wanted.tree, what=location)
        what = f"the manifest of {location}" if wanted.position.manifest else location
        guards.check_links(wanted.tree, what=what, root=target, allow=job.allow_links)
    items = ((path, wanted.tree.get(path)) for path in job.files or ())
    missing = [path for path, item in items if item is None or item.kind is Kind.DIR]
    if job.files and missing:
        raise EntryFailed(
            f"{len(missing):,} of the {len(job.files):,} listed files are missing at the source: {some(missing)}",
            hint='bring them there or take them out of "files"; nothing was changed',
            paths=tuple(missing),
        )
