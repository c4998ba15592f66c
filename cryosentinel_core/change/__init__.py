"""From lakes of several years to what happened to each."""
