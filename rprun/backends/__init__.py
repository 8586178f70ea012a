"""Who sees what: the observation backends, and the choice of one for each category."""
