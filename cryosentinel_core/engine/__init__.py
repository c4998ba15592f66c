"""Order and place of the computing: streams of windows, jobs, devices, precision."""
