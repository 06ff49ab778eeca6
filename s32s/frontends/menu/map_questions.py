"""The questions that make a first entry of a map, each checked as it is answered."""

from __future__ import annotations

from s32s.agent.map_upload import file_name
from s32s.config.map_files import problem_of
from s32s.config.maps import Entry
from s32s.core.location import S3Path, parse_place
from s32s.core.role import Role
from s32s.frontends.menu.prompter import Prompter

_PLACES = (
    (Role.MASTER, "Directory with the originals, on the master"),
    (Role.SLAVE, "Directory on the servers"),
)


def ask_entry(prompter: Prompter, maps: S3Path | None, given: dict[str, str]) -> Entry:
    """Ask for what an entry needs, and make it.

    Args:
        maps: where the map files are; no data may be there.
        given: properties that are known already, and not asked for.

    Raises:
        Left: the person has gone.
    """
    known = dict(given)
    if "name" not in known:
        known["name"] = prompter.ask("Name of the entry, such as WEBSITE", check=lambda text: problem_of("name", text))
    if not any(role.value in known for role in Role):
        for role, question in _PLACES:
            known[role.value] = prompter.ask(
                f"{question} (- for none yet)",
                check=lambda text, role=role: None if text == "-" else problem_of(role.value, text),  # type: ignore[misc] # bound now
            )
    if "s3" not in known:
        proposal = f"{maps.bucket}/data/{file_name(known['name'])}" if maps else ""
        known["s3"] = prompter.ask(
            "S3 path of the data, bucket/prefix",
            default="" if _s3_problem(proposal, maps) else proposal,
            check=lambda text: _s3_problem(text, maps),
        )
    return Entry.model_validate({name: value for name, value in known.items() if value != "-"})


def _s3_problem(text: str, maps: S3Path | None) -> str | None:
    if problem := problem_of("s3", text):
        return problem
    place = parse_place(text)
    if maps is not None and isinstance(place, S3Path) and place.overlaps(maps):
        return f"the maps are at {maps}; data needs a place of its own, such as {maps.bucket}/data"
    return None
