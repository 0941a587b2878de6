"""Changes of the served versions of a model, as pure functions. Repeating a change has no effect."""

from typing import Any

from pydantic import ValidationError

from models.aliases import CHALLENGER, CHAMPION
from models.serving_state import AutomaticRollback, ChangeRefused, ModelState, Shadow, Traffic
from models.validation_problem import first_problem

HISTORY = 50
"""The maximum number of earlier champions in the history of a model."""


def promote(model: ModelState, version: int, *, by_person: bool, before: int | None = None) -> ModelState:
    """Make a version the champion, which ends a canary.

    before: the version that is served now if the state has no champion, so that a rollback can return to it.
    """
    chosen = model.chosen_by_person or by_person
    if model.champion == version:
        return with_changes(model, chosen_by_person=chosen)
    previous = before if model.champion is None else model.champion
    earlier = [] if previous in (None, version) else [previous]
    history = (*model.history, *earlier)[-HISTORY:]
    return _with_champion(model, version, history=history, rolled_back=None, chosen_by_person=chosen)


def rollback(model: ModelState) -> ModelState:
    """Make the previous champion the champion again, which ends a canary.

    This undoes the last promotion. A second rollback has no effect until the next promotion, so that a repeated request
    does not return to an even older champion. Raises ChangeRefused if there is no previous champion.
    """
    if model.rolled_back is not None:
        return model
    if not model.history:
        raise ChangeRefused("there is no previous champion; promote the version to return to")
    *history, version = model.history
    return _with_champion(model, version, history=tuple(history), rolled_back=model.champion, chosen_by_person=True)


def _with_champion(model: ModelState, version: int, **values: Any) -> ModelState:
    shadowed = model.shadow is not None and model.aliases[model.shadow.alias] == version
    shadow = None if shadowed else model.shadow
    return with_changes(model, champion=version, traffic=None, shadow=shadow, **values)


def set_alias(model: ModelState, alias: str, version: int) -> ModelState:
    """Set the version of an alias. Raises ChangeRefused for the champion, which `promote` sets."""
    if alias == CHAMPION:
        raise ChangeRefused("the champion is set by promoting a version")
    return with_changes(model, aliases={**model.aliases, alias: version})


def delete_alias(model: ModelState, alias: str) -> ModelState:
    """Delete an alias. Raises ChangeRefused for the champion and for an alias that receives requests."""
    if alias == CHAMPION:
        raise ChangeRefused("the champion cannot be deleted; promote another version instead")
    if model.shadow and model.shadow.alias == alias:
        raise ChangeRefused(f"the alias {alias!r} receives shadow requests; end the shadow first")
    traffic = model.traffic
    if traffic and traffic.shares.get(alias, 0) > 0:
        raise ChangeRefused(f"the alias {alias!r} receives {traffic.shares[alias]:g} % of the requests; end that first")
    if traffic and alias in traffic.shares:
        shares = {name: share for name, share in traffic.shares.items() if name != alias}
        traffic = with_shares(traffic, shares)
    return with_changes(
        model, aliases={name: number for name, number in model.aliases.items() if name != alias}, traffic=traffic
    )


def with_shares(traffic: Traffic, shares: dict[str, int | float]) -> Traffic | None:
    """The same traffic with other shares; None if only the champion has a share."""
    return Traffic(shares=shares, rollback=traffic.rollback) if shares.keys() - {CHAMPION} else None


def set_traffic(model: ModelState, traffic: Traffic | None) -> ModelState:
    """Split the requests between the champion and other aliases; None sends all requests to the champion."""
    return with_changes(model, traffic=traffic)


def set_shadow(model: ModelState, shadow: Shadow | None) -> ModelState:
    """Send a copy of a share of the rows to a second version; None ends the shadow."""
    return with_changes(model, shadow=shadow)


def set_served(model: ModelState, served: bool) -> ModelState:
    """Set whether a model is served. Requests for a model that is not served are answered with 404."""
    return with_changes(model, served=served)


def start_canary(
    model: ModelState, version: int, percent: int | float, rollback: AutomaticRollback | None
) -> ModelState:
    """Make a version the challenger and send it this share of the requests."""
    if version == model.champion:
        raise ChangeRefused(f"version {version} is the champion; a canary needs another version")
    flat: dict[str, Any] = {CHAMPION: 100 - percent, CHALLENGER: percent}
    if rollback is not None:
        flat["rollback"] = rollback
    return with_changes(set_alias(model, CHALLENGER, version), traffic=flat)


def start_shadow(model: ModelState, version: int, share: float) -> ModelState:
    """Make a version the challenger and send it a copy of this share of the rows; 0 ends the shadow."""
    if share == 0:
        return set_shadow(model, None)
    if version == model.champion:
        raise ChangeRefused(f"version {version} is the champion; a shadow needs another version")
    return with_changes(set_alias(model, CHALLENGER, version), shadow={"alias": CHALLENGER, "share": share})


def forget_version(model: ModelState, version: int) -> ModelState:
    """The state after a version was deleted from the store. Raises ChangeRefused if it has an alias."""
    if aliases := model.aliases_of(version):
        raise ChangeRefused(f"version {version} is {' and '.join(aliases)} and cannot be deleted")
    return with_changes(model, history=tuple(number for number in model.history if number != version))


def with_changes(model: ModelState, **values: Any) -> ModelState:
    """A validated state with changed values. Raises ChangeRefused if they contradict each other."""
    fields: dict[str, Any] = {name: getattr(model, name) for name in ModelState.model_fields}
    try:
        return ModelState.model_validate(fields | values)
    except ValidationError as error:
        raise ChangeRefused(first_problem(error)) from error
