"""What a Hugging Face token permits, according to the Hub."""

from collections.abc import Iterable, Mapping
from typing import Any

from synthgen.remote.address import Address

_WRITE = "repo.write"


def write_fault(told: Mapping[str, Any], address: Address) -> str | None:
    """Return why a token does not permit writing to a repository, by the Hub's response to ``whoami``; None if it does.

    If the response leaves it open, the Hub decides later.
    """
    name = str(told.get("name"))
    orgs = {str(org.get("name")).lower(): org for org in told.get("orgs") or ()}
    owner = address.owner.lower()
    if owner not in {name.lower(), *orgs}:
        return f"it belongs to {name}, who is neither {address.owner} nor a member of an organization of that name"
    if orgs.get(owner, {}).get("roleInOrg") == "read":
        return f"{name} has only read access to {address.owner}"
    token = (told.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        return f"the token of {name} is read-only"
    if token.get("role") == "fineGrained" and not _may_write(token.get("fineGrained") or {}, address):
        return f"the token of {name} has no write access to {address.repo}"
    return None


def _may_write(rights: Mapping[str, Any], address: Address) -> bool:
    places = {address.owner.lower(), address.repo.lower()}
    scoped: Iterable[Mapping[str, Any]] = rights.get("scoped") or ()
    return any(
        _WRITE in (scope.get("permissions") or ()) and str((scope.get("entity") or {}).get("name")).lower() in places
        for scope in scoped
    )
