"""Change of lakes: from outlines of several years to what happened to each."""
