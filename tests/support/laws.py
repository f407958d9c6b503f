"""How many examples the laws are tried on; `make thorough` tries many more, drawn at random."""

from hypothesis import HealthCheck, settings

EVERYDAY, THOROUGH = 25, 1000
_ANY_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
"""A busy machine is no failure."""


def register_profiles() -> None:
    """Make both profiles known, and the everyday one the default; ``--hypothesis-profile=thorough`` picks the other."""
    settings.register_profile("synthgen", max_examples=EVERYDAY, derandomize=True, **_ANY_MACHINE)
    settings.register_profile("thorough", max_examples=THOROUGH, print_blob=True, **_ANY_MACHINE)
    settings.load_profile("synthgen")


def examples(everyday: int, *suppress: HealthCheck) -> settings:
    """Return the settings of a law that is tried on so many examples in the everyday profile.

    In the thorough profile the number grows in proportion, up to 1,000: a law whose examples are costly stays cheaper.
    """
    grown = everyday * settings().max_examples // EVERYDAY
    number = max(everyday, min(grown, THOROUGH))
    return settings(max_examples=number, suppress_health_check=[HealthCheck.too_slow, *suppress])
