"""Large random tables: trained with bounded memory and compared with LightGBM (`make large-tables`)."""
