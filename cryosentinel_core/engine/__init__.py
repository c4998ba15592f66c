"""Who computes what when: streams of windows, jobs, devices, precision."""
