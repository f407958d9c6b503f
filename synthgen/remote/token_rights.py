"""What a token of the Hugging Face Hub may do, by what the Hub tells of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from synthgen.remote.address import Address

_WRITE = "repo.write"


def write_fault(told: Mapping[str, Any], address: Address) -> str | None:
    """Return why a token may not write to a repository, by the Hub's answer to ``whoami``; None where it may.

    Whatever the answer does not tell is left to the Hub to refuse.
    """
    name = str(told.get("name"))
    orgs = {str(org.get("name")).lower(): org for org in told.get("orgs") or ()}
    owner = address.owner.lower()
    if owner not in {name.lower(), *orgs}:
        return f"it belongs to {name}, who is not {address.owner} nor in an organization of that name"
    if orgs.get(owner, {}).get("roleInOrg") == "read":
        return f"{name} may only read in {address.owner}"
    token = (told.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        return f"that of {name} may only read"
    if token.get("role") == "fineGrained" and not _may_write(token.get("fineGrained") or {}, address):
        return f"that of {name} has no right to write to {address.repo}"
    return None


def _may_write(rights: Mapping[str, Any], address: Address) -> bool:
    places = {address.owner.lower(), address.repo.lower()}
    scoped: Iterable[Mapping[str, Any]] = rights.get("scoped") or ()
    return any(
        _WRITE in (scope.get("permissions") or ()) and str((scope.get("entity") or {}).get("name")).lower() in places
        for scope in scoped
    )
