"""Descriptions of the served versions, as lines of text."""

from typing import Any

from models.aliases import CHAMPION
from models.serving_state import ModelState, ServingState
from models.text import counted

SHOWN = ("champion", "aliases", "traffic", "shadow", "served")


def describe_change(name: str, before: ServingState, after: ServingState) -> str:
    """A line with the differences between two states of a model."""
    old, new = describe_fields(before.model(name)), describe_fields(after.model(name))
    differing = [f"{field} {old[field]} -> {new[field]}" for field in SHOWN if old[field] != new[field]]
    if before.generation == after.generation:
        return f"{name}: {CHAMPION} {new[CHAMPION]}; nothing to change, generation {after.generation}"
    same = f"{CHAMPION} {new[CHAMPION]}, now chosen by a person"
    return f"{name}: {'; '.join(differing) or same}; generation {after.generation}"


def describe_model(name: str, model: ModelState, stored: list[int]) -> str:
    """A line with the served and the stored versions of a model."""
    fields = describe_fields(model)
    if model.champion is None and stored:
        fields[CHAMPION] = f"{max(stored)} (the newest)"
    if model.history:
        fields[CHAMPION] += f" (before it {model.history[-1]})"
    parts = [f"{field} {fields[field]}" for field in SHOWN[:-1] if fields[field] != "none"]
    parts += [] if model.served else ["not served"]
    numbers = ", ".join(map(str, stored)) or "none"
    return f"{name}: {'; '.join(parts)}; stored versions: {numbers}"


def describe_fields(model: ModelState) -> dict[str, str]:
    """Each field of a state as text, `none` if it is not set."""
    aliases = ", ".join(f"{alias} = {version}" for alias, version in model.aliases.items())
    traffic = ""
    if model.traffic is not None:
        traffic = ", ".join(f"{share:g} % {alias}" for alias, share in model.traffic.shares.items())
        rollback = model.traffic.rollback
        if rollback is not None:
            without = "" if rollback.feedback else ", not by feedback"
            traffic += f" (automatic rollback after {counted(rollback.after_rows, 'row')}{without})"
    shadow = "" if model.shadow is None else f"{100 * model.shadow.share:.4g} % of the rows to {model.shadow.alias}"
    champion = "" if model.champion is None else str(model.champion)
    texts = {CHAMPION: champion, "aliases": aliases, "traffic": traffic, "shadow": shadow}
    return {field: text or "none" for field, text in texts.items()} | {"served": "yes" if model.served else "no"}


def describe_entry(entry: dict[str, Any]) -> str:
    """An audit entry as a line of text."""
    names = {**entry["from"], **entry["to"]} if isinstance(entry["to"], dict) else {}
    shown = [name for name in names if name in SHOWN]
    changes = "; ".join(
        f"{name} {text_of(entry['from'].get(name))} -> {text_of(entry['to'].get(name))}" for name in shown
    )
    parts = [
        str(entry["time"]),
        f"generation {entry['generation']}",
        str(entry["actor"]),
        entry["action"],
        entry["model"],
    ]
    return "  ".join(filter(None, [*map(str, parts), changes, str(entry["reason"])]))


def text_of(value: Any) -> str:
    """A value of the audit as text; mappings as `challenger 5`."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {text_of(item)}" for name, item in value.items()) or "none"
    return "none" if value is None else str(value)
