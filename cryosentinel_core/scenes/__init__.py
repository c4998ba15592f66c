"""From archive items to a stack, in arrays: selection, radiometry, resampling, terrain, composites."""
