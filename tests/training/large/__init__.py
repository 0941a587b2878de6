"""Large random tables: trained with bounded memory, beside LightGBM (`make large-tables`)."""
