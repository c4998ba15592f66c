"""Lakes: from logits to components, outlines, areas and their uncertainty."""
