"""Checks the settings of capture before a server starts."""

from collections.abc import Sequence

from models.file_destination import open_destination
from models.tabular_model import TabularModel
from models.text import did_you_mean
from service.settings import Settings, SettingsError


def check_capture(settings: Settings, models: Sequence[TabularModel]) -> None:
    """Raises SettingsError if the folder cannot be used, or if a redacted column does not occur in any model."""
    assert settings.capture is not None
    try:
        open_destination(settings.capture)
    except Exception as error:  # the library of a destination may raise any exception
        raise SettingsError(f"TABSERVE_CAPTURE={settings.capture!r}: {' '.join(str(error).split())}") from None
    known = {feature.name for model in models for feature in model.schema.features}
    for name in settings.capture_redact:
        if name not in known:
            raise SettingsError(
                f"TABSERVE_CAPTURE_REDACT: no served model has a column {name!r}{did_you_mean(name, known)}"
            )
