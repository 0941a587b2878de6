"""The document `serving.json` and the changes to it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from models import serving_changes as changes
from models.serving_state import (
    AutomaticRollback,
    ChangeRefused,
    InvalidServingState,
    ModelState,
    ServingState,
    Shadow,
    Traffic,
)

FULL: dict[str, Any] = {
    "champion": 4,
    "history": [2, 3],
    "rolled_back": None,
    "chosen_by_person": True,
    "aliases": {"challenger": 5},
    "traffic": {"champion": 95, "challenger": 5, "rollback": {"after_rows": 500}},
    "shadow": {"alias": "challenger", "share": 0.1},
    "served": True,
}


def document(**model: Any) -> str:
    return json.dumps({"format": 1, "generation": 12, "models": {"housing": FULL | model}})


def test_serving_document_is_written_back_unchanged() -> None:
    state = ServingState.from_json(document())
    assert json.loads(state.to_json()) == json.loads(document())
    assert state.model("housing").aliases_of(4) == ["champion"]
    assert state.model("housing").aliases_of(5) == ["challenger"]
    assert state.model("other") == ModelState()


def test_rollback_that_ignores_feedback_is_marked_in_the_document() -> None:
    rollback = {"after_rows": 500, "feedback": False}
    text = document(traffic={"champion": 95, "challenger": 5, "rollback": rollback})
    state = ServingState.from_json(text)
    traffic = state.model("housing").traffic
    assert traffic is not None
    assert traffic.rollback == AutomaticRollback(after_rows=500, feedback=False)
    assert json.loads(state.to_json()) == json.loads(text)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"champion": 0}, "models.housing.champion: Input should be greater than or equal to 1"),
        ({"champion": "4"}, "models.housing.champion: Input should be a valid integer"),
        ({"aliases": {"Best!": 1}}, "models.housing.aliases.Best!.[key]: String should match pattern"),
        ({"aliases": {"champion": 1}}, "models.housing: aliases: the champion is written as the field `champion`"),
        ({"traffic": {"champion": 95}}, "models.housing.traffic: the shares add up to 95, expected 100"),
        ({"traffic": {"challenger": 100}}, "models.housing.traffic: the share of the champion is missing"),
        ({"traffic": {"champion": 101, "challenger": -1}}, "models.housing.traffic.shares.champion: Input should be"),
        ({"traffic": {"champion": 50, "beta": 50}}, "models.housing: traffic: there is no alias 'beta'"),
        ({"shadow": {"alias": "beta", "share": 0.5}}, "models.housing: shadow: there is no alias 'beta'"),
        ({"shadow": {"alias": "challenger", "share": 1.5}}, "models.housing.shadow.share: Input should be less than"),
        ({"sered": False}, "models.housing.sered: Extra inputs are not permitted"),
    ],
)
def test_first_error_of_a_document_is_named_with_its_place(model: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidServingState) as caught:
        ServingState.from_json(document(**model))
    assert str(caught.value).startswith(message)


def test_share_of_any_alias_is_read_back_unchanged() -> None:
    model = changes.set_alias(ModelState(champion=4), "shares", 5)
    for shares in ({"champion": 95, "shares": 5}, {"shares": {"champion": 95, "shares": 5}}):
        split = changes.set_traffic(model, Traffic.model_validate(shares))
        state = ServingState().with_model("housing", split, 1)
        assert ServingState.from_json(state.to_json()) == state


def test_alias_with_the_name_of_a_field_has_no_share() -> None:
    with pytest.raises(ValidationError, match="the alias 'rollback' cannot have a share"):
        Traffic.model_validate({"shares": {"champion": 95, "rollback": 5}})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff", '{"format": 2}', "[]", '{"models": {"../x": {}}}'])
def test_invalid_documents_are_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidServingState):
        ServingState.from_json(text)


def test_promote_and_rollback_change_the_champion() -> None:
    model = changes.promote(ModelState(), 2, by_person=False, before=1)
    assert (model.champion, model.history, model.chosen_by_person) == (2, (1,), False)
    model = changes.promote(model, 3, by_person=True)
    assert (model.champion, model.history, model.chosen_by_person) == (3, (1, 2), True)
    model = changes.rollback(model)
    assert (model.champion, model.history, model.rolled_back) == (2, (1,), 3)
    assert changes.rollback(model) == model, "a repeated request does not go back further"
    model = changes.promote(model, 4, by_person=False)
    assert (model.history, model.rolled_back, model.chosen_by_person) == ((1, 2), None, True)
    with pytest.raises(ChangeRefused, match="no previous champion"):
        changes.rollback(ModelState(champion=3))


def test_promotion_ends_the_canary_and_the_shadow_of_the_promoted_version() -> None:
    model = changes.start_shadow(changes.start_canary(ModelState(champion=1), 2, 5, AutomaticRollback()), 2, 0.5)
    assert None not in (model.traffic, model.shadow)
    other = changes.promote(model, 3, by_person=True)
    assert (other.traffic, other.shadow) == (None, model.shadow)
    promoted = changes.promote(model, 2, by_person=True)
    assert (promoted.traffic, promoted.shadow, promoted.aliases) == (None, None, {"challenger": 2})


CANARY = changes.start_canary(ModelState(champion=4), 5, 5, None)
SHADOW = changes.start_shadow(ModelState(champion=4), 5, 0.1)
SPLIT = Traffic.model_validate({"champion": 60, "challenger": 40})
REPEATED: list[Callable[[ModelState], ModelState]] = [
    lambda model: changes.promote(model, 5, by_person=True),
    lambda model: changes.rollback(changes.promote(model, 5, by_person=True) if not model.rolled_back else model),
    lambda model: changes.set_alias(model, "beta", 2),
    lambda model: changes.delete_alias(changes.set_traffic(model, None), "challenger"),
    lambda model: changes.set_traffic(model, SPLIT),
    lambda model: changes.set_traffic(model, None),
    lambda model: changes.set_shadow(model, Shadow(alias="challenger", share=0.5)),
    lambda model: changes.set_served(model, False),
    lambda model: changes.start_canary(model, 6, 10, AutomaticRollback(after_rows=7, feedback=False)),
    lambda model: changes.start_shadow(model, 6, 0.2),
]


@pytest.mark.parametrize("change", REPEATED)
def test_repeating_a_change_changes_nothing(change: Callable[[ModelState], ModelState]) -> None:
    once = change(CANARY)
    assert once != CANARY
    assert change(once) == once


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: changes.set_alias(CANARY, "champion", 2), "set by promoting"),
        (lambda: changes.set_alias(CANARY, "Not an alias", 2), "aliases"),
        (lambda: changes.delete_alias(CANARY, "champion"), "cannot be deleted"),
        (lambda: changes.delete_alias(CANARY, "challenger"), "receives 5 % of the requests"),
        (lambda: changes.delete_alias(SHADOW, "challenger"), "receives shadow requests"),
        (lambda: changes.set_traffic(ModelState(), SPLIT), "no alias 'challenger'"),
        (lambda: changes.start_canary(ModelState(champion=4), 4, 5, None), "is the champion"),
        (lambda: changes.start_shadow(ModelState(champion=4), 4, 0.1), "is the champion"),
        (lambda: changes.start_canary(ModelState(champion=4), 5, 101, None), "traffic"),
        (lambda: changes.forget_version(CANARY, 4), "version 4 is champion and cannot be deleted"),
        (lambda: changes.forget_version(CANARY, 5), "version 5 is challenger and cannot be deleted"),
    ],
)
def test_contradictory_changes_are_refused(change: Callable[[], ModelState], message: str) -> None:
    with pytest.raises(ChangeRefused, match=message):
        change()


def test_alias_without_requests_is_deleted_with_its_share() -> None:
    dark = changes.start_canary(ModelState(champion=4), 5, 0, None)
    assert changes.delete_alias(dark, "challenger") == ModelState(champion=4)


def test_deleted_version_is_removed_from_the_history() -> None:
    model = ModelState(champion=4, history=(2, 3, 2))
    assert changes.forget_version(model, 2).history == (3,)
