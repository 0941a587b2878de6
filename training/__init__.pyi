"""The types of `training`: type checkers do not see what `__getattr__` returns."""

from training.importing.import_run import store_keras_model as store_keras_model
