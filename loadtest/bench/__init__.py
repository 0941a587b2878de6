"""Measurements inside one process: each target beside what one would use instead, told as ratios of one run."""
