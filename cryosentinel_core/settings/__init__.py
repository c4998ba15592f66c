"""Settings of each workflow: frozen, checked once, handed in; no room reads flags, files or the environment."""
